"""The module that is exported: one `tf.function` per signature of the contract."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, Final

import tensorflow as tf

from styleserve import contract
from styleserve.contract import Field, Limits, LossScale

from .architecture import CONV_LAYERS, layers_up_to, min_side
from .canvas import canvas_tensor_specs, plain_canvas
from .checks import checked_batch, checked_controls, checked_image, checked_partner, checked_work
from .describe import describe
from .minimise import Minimiser
from .objective import Objective, painter_loss, tutorial_loss
from .optimisers import OPTIMISERS
from .paint import Painter
from .terms.term import TermWeights
from .vgg19 import Precision, Vgg19
from .weights import Weights

Outputs = dict[str, tf.Tensor]

_SMALLEST_OCTAVE: Final = 128
"""Below this side, in pixels, a run loses the content."""


@dataclass(frozen=True)
class ModelSettings:
    """What is fixed when a model is built.

    Attributes:
        style_layers: layers whose Gram matrices are matched.
        content_layer: layer whose features are matched by the tutorial's loss.
        painter_content_layer: layer whose features are matched by the painter's loss.
        loss_scale: "tutorial" for ImageNet weights, "relative" for untrained ones.
        trained: whether the weights are trained: for others the painter's loss is that of `loss_scale` "relative", and
            runs are not coarse to fine.
        precision: of the convolutions; everything else is float32.
        limits: bounds on requests.

    Raises:
        ValueError: a layer that VGG-19 does not have, or no or repeated style layers.
    """

    style_layers: tuple[str, ...] = contract.STYLE_LAYERS
    content_layer: str = contract.CONTENT_LAYER
    painter_content_layer: str = contract.PAINTER_CONTENT_LAYER
    loss_scale: LossScale = "tutorial"
    trained: bool = True
    precision: Precision = "float32"
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        layers_up_to([*self.style_layers, self.content_layer, self.painter_content_layer])
        if not self.style_layers or len(set(self.style_layers)) < len(self.style_layers):
            raise ValueError(f"style layers must be named, each once; got {', '.join(self.style_layers) or 'none'}")

    @property
    def layers(self) -> tuple[str, ...]:
        """Style layers and the tutorial's content layer, each once, in network order."""
        named = {*self.style_layers, self.content_layer}
        return tuple(layer.name for layer in CONV_LAYERS if layer.name in named)


class StyleTransfer(tf.Module):
    """Neural style transfer, with one `tf.function` per signature in `functions`.

    Args:
        weights: of VGG-19, at least as far as the last layer of the settings.
        settings: what is fixed for this model.

    Raises:
        ValueError: `weights` lacks a layer.
    """

    def __init__(self, weights: Weights, settings: ModelSettings) -> None:
        super().__init__(name="style_transfer")
        self.settings = settings
        limits, styles = settings.limits, settings.style_layers
        relative = settings.loss_scale == "relative"
        tutorial = tutorial_loss(styles, settings.content_layer, relative=relative)
        if settings.trained:
            painter = painter_loss(styles, settings.painter_content_layer)
        else:  # moments and edges lose the content there
            painter = replace(tutorial_loss(styles, settings.content_layer, relative=True), name="painter")
        layers = {*settings.layers, *painter.layers}
        self.network = Vgg19(
            weights, [each.name for each in CONV_LAYERS if each.name in layers], precision=settings.precision
        )
        self.min_side = min_side(self.network.layers)
        self.objectives = {
            loss.name: Objective(self.network, loss, style_layers=styles, max_side=limits.max_side)
            for loss in (painter, tutorial)
        }
        canvas = canvas_tensor_specs(styles)
        losses = [self.objectives[name] for name in contract.LOSS.choices]
        minimisers = [Minimiser(losses, each, canvas) for each in OPTIMISERS]
        # Of their own: a server reads all that a signature can reach, several times, before its first call.
        lbfgs, adam = (Minimiser([self.objectives["tutorial"]], each, canvas) for each in OPTIMISERS)
        facts = {**asdict(settings), "weights": weights.sha256}
        # What bounds a run, or rounds it, does not decide how it continues.
        del facts["limits"], facts["precision"]
        # By name of the signature.
        self.methods: Mapping[str, Callable[[dict[str, tf.Tensor]], Outputs]] = {
            contract.SERVING_DEFAULT: partial(self._stylize, contract.SERVING_DEFAULT, adam),
            contract.STYLIZE_LBFGS: partial(self._stylize, contract.STYLIZE_LBFGS, lbfgs),
            contract.PAINT: Painter(minimisers, facts, styles, limits, self.min_side),
            contract.DESCRIBE: self._describe,
            contract.LIMITS: self._limits,
        }
        # The tf.function itself, because a concrete function would lose the defaults.
        self.functions = {name: self._signature(name, method) for name, method in self.methods.items()}

    def default(self, field: Field) -> tf.Tensor | None:
        """What the model takes for an input that is not sent, `[1, ...]`; None where it must be sent."""
        if field.required:
            return None
        if field.control is None:
            value = field.default
        else:
            value = field.control.default_within(self.settings.loss_scale, self.settings.limits)
        return tf.constant(value, field.dtype, shape=[1] * len(field.shape))

    def _stylize(self, signature: str, minimiser: Minimiser[Any], inputs: dict[str, tf.Tensor]) -> Outputs:
        """The tutorial's loss, images in and out."""
        limits = self.settings.limits
        content = checked_image(inputs[contract.CONTENT_IMAGE.name], contract.CONTENT_IMAGE, limits, self.min_side)
        style = checked_image(inputs[contract.STYLE_IMAGE.name], contract.STYLE_IMAGE, limits, self.min_side)
        batch = tf.shape(content)[0]
        style = checked_partner(style, contract.STYLE_IMAGE.name, batch, contract.CONTENT_IMAGE.name)
        controls = self._controls(signature, inputs, batch)
        steps = checked_work(controls[contract.STEPS.name], content, batch, limits)
        parts = {term.name: controls[term.weight.name] for term in contract.TERMS if term.absolute_weight is not None}
        none = {term.name: tf.zeros([batch]) for term in contract.TERMS if term.absolute_weight is None}
        layers = tf.ones([1, len(self.settings.style_layers)])
        state, losses = minimiser.run(
            tf.constant(0),
            plain_canvas(content, self.objectives["tutorial"].style_moments(style)),
            minimiser.optimiser.init(content),
            TermWeights({**parts, **none}, layers),
            steps=steps,
            learning_rate=controls.get(contract.LEARNING_RATE.name, tf.zeros([batch])),
        )
        columns = len(contract.TUTORIAL_LOSS_COLUMNS)
        return {
            contract.STYLIZED_IMAGE.name: minimiser.optimiser.image(state),
            contract.TUTORIAL_LOSSES.name: losses[..., :columns],
        }

    def _describe(self, inputs: dict[str, tf.Tensor]) -> Outputs:
        image = checked_image(inputs[contract.IMAGE.name], contract.IMAGE, self.settings.limits, self.min_side)
        return describe(image, self.objectives["tutorial"].features, style_layers=self.settings.style_layers)

    def _limits(self, inputs: dict[str, tf.Tensor]) -> Outputs:
        batch = tf.shape(checked_batch(inputs[contract.EXAMPLE.name], contract.EXAMPLE, self.settings.limits))[0]
        numbers = {
            **self.settings.limits.numbers(),
            "contract_version": contract.CONTRACT_VERSION,
            "min_side": self.min_side,
            "style_layers": len(self.settings.style_layers),
            contract.SMALLEST_OCTAVE: _SMALLEST_OCTAVE if self.settings.trained else 0,
        }
        return {
            field.name: tf.fill([batch], tf.constant(numbers[field.name], field.dtype))
            for field in contract.LIMIT_FIELDS
        }

    def _controls(self, signature: str, inputs: dict[str, tf.Tensor], batch: tf.Tensor) -> dict[str, tf.Tensor]:
        return checked_controls(inputs, contract.SIGNATURES[signature].inputs, self.settings.limits, batch)

    def _signature(self, name: str, method: Callable[[dict[str, tf.Tensor]], Outputs]) -> Callable[..., Outputs]:
        """A `tf.function` whose arguments are the contract's inputs, optional ones with the model's defaults."""
        fields = contract.SIGNATURES[name].inputs

        def call(*inputs: tf.Tensor) -> Outputs:
            return method(dict(zip([field.name for field in fields], inputs, strict=True)))

        # The arguments are written once, in the contract. What has a default must be a tf.constant: the exporter
        # puts only those into the SignatureDef.
        call.__name__ = name
        call.__signature__ = inspect.Signature(
            [
                inspect.Parameter(
                    field.name,
                    inspect.Parameter.POSITIONAL_OR_KEYWORD,
                    default=inspect.Parameter.empty if field.required else self.default(field),
                )
                for field in fields
            ]
        )
        return tf.function(
            call,
            input_signature=[tf.TensorSpec(field.shape, field.dtype, field.name) for field in fields],
            autograph=False,
        )
