"""The module that is exported: one `tf.function` per signature of the contract."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, Final

import tensorflow as tf

from styleserve import __version__, contract
from styleserve.contract import Field, Limits, LossScale

from .checks import checked_batch, checked_batch_pixels, checked_controls, checked_image, checked_partner, checked_work
from .describe import describe
from .loss.canvas import canvas_tensor_specs, plain_canvas
from .loss.objective import Objective, painter_loss, tutorial_loss
from .loss.terms.term import TermWeights
from .network.architecture import in_network_order, layers_up_to, min_side
from .network.vgg19 import Precision, Vgg19
from .network.weights import Weights
from .optimisation.minimise import Minimiser
from .optimisation.optimisers import OPTIMISERS
from .runs.paint_signature import PaintSignature

Outputs = dict[str, tf.Tensor]

_SMALLEST_OCTAVE: Final = 128
"""Shortest side, in pixels, at which a run keeps the content."""


@dataclass(frozen=True)
class ModelSettings:
    """Settings of a model, fixed when it is built.

    Attributes:
        style_layers: Layers whose Gram matrices are matched.
        content_layer: Layer whose features are matched by the tutorial's loss.
        painter_content_layer: Layer whose features are matched by the painter's loss.
        loss_scale: "tutorial" for ImageNet weights, "relative" for untrained ones.
        trained: Whether the weights are trained. If not, the painter's loss is the tutorial's with `loss_scale`
            "relative", and runs are not coarse to fine.
        precision: Precision of the convolutions; everything else is float32.
        limits: Limits of requests.
        tile_pixels: Most pixels that the network processes at a time; larger images are tiled, with the same results.
            None: images of any size are processed whole.

    Raises:
        ValueError: VGG-19 does not have a layer, or style layers are missing or repeated.
    """

    style_layers: tuple[str, ...] = contract.STYLE_LAYERS
    content_layer: str = contract.CONTENT_LAYER
    painter_content_layer: str = contract.PAINTER_CONTENT_LAYER
    loss_scale: LossScale = "tutorial"
    trained: bool = True
    precision: Precision = "float32"
    limits: Limits = field(default_factory=Limits)
    tile_pixels: int | None = None

    def __post_init__(self) -> None:
        layers_up_to([*self.style_layers, self.content_layer, self.painter_content_layer])
        if not self.style_layers or len(set(self.style_layers)) < len(self.style_layers):
            raise ValueError(f"style layers must be named, each once; got {', '.join(self.style_layers) or 'none'}")

    @property
    def layers(self) -> tuple[str, ...]:
        """Style layers and the tutorial's content layer, each once, in network order."""
        return in_network_order([*self.style_layers, self.content_layer])


class StyleTransfer(tf.Module):
    """Neural style transfer, with one `tf.function` per signature in `functions`.

    Args:
        weights: Weights of VGG-19, at least up to the deepest layer of the settings.
        settings: Settings of the model.

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
        else:  # with random weights, moments and edge padding lose the content
            painter = replace(tutorial_loss(styles, settings.content_layer, relative=True), name="painter")
        layers = in_network_order([*settings.layers, *painter.layers])
        self.network = Vgg19(weights, layers, precision=settings.precision)
        self.min_side = min_side(self.network.layers)
        self.objectives = {
            loss.name: Objective(self.network, loss, style_layers=styles, tile_pixels=settings.tile_pixels)
            for loss in (painter, tutorial)
        }
        canvas = canvas_tensor_specs(styles)
        losses = [self.objectives[name] for name in contract.LOSS.choices]
        minimisers = [Minimiser(losses, each, canvas) for each in OPTIMISERS]
        # Minimisers of their own, because a server reads all that a signature can reach before its first call.
        lbfgs, adam = (Minimiser([self.objectives["tutorial"]], each, canvas) for each in OPTIMISERS)
        facts = {**asdict(settings), "weights": weights.sha256}
        for name in ("limits", "tile_pixels"):  # they do not change a picture
            del facts[name]
        self.fingerprint = _fingerprint(facts)
        """Fingerprint of all that a picture depends on besides its request: 32 hexadecimal digits."""
        del facts["precision"]  # a state stays valid in another precision
        self.methods: Mapping[str, Callable[[dict[str, tf.Tensor]], Outputs]] = {
            contract.SERVING_DEFAULT: partial(self._stylize, contract.SERVING_DEFAULT, adam),
            contract.STYLIZE_LBFGS: partial(self._stylize, contract.STYLIZE_LBFGS, lbfgs),
            contract.PAINT: PaintSignature(minimisers, facts, styles, limits, self.min_side),
            contract.DESCRIBE: self._describe,
            contract.LIMITS: self._limits,
        }
        """Untraced function of each signature, from inputs by name to outputs by name."""
        # Not concrete functions, which would lose the defaults.
        self.functions = {name: self._signature(name, method) for name, method in self.methods.items()}

    def default(self, field: Field) -> tf.Tensor | None:
        """Default of an input, shape `[1, ...]`, dtype of the field; None if the input is required."""
        if field.required:
            return None
        if field.control is None:
            value = field.default
        else:
            value = field.control.default_within(self.settings.loss_scale, self.settings.limits)
        return tf.constant(value, field.dtype, shape=[1] * len(field.shape))

    def _stylize(self, signature: str, minimiser: Minimiser[Any], inputs: dict[str, tf.Tensor]) -> Outputs:
        """Outputs of a signature with the tutorial's loss, images in and out."""
        limits = self.settings.limits
        content = checked_image(inputs[contract.CONTENT_IMAGE.name], contract.CONTENT_IMAGE, limits, self.min_side)
        style = checked_image(inputs[contract.STYLE_IMAGE.name], contract.STYLE_IMAGE, limits, self.min_side)
        batch = tf.shape(content)[0]
        style = checked_partner(style, contract.STYLE_IMAGE.name, batch, contract.CONTENT_IMAGE.name)
        controls = checked_controls(inputs, contract.SIGNATURES[signature].inputs, limits, batch)
        steps = checked_work(controls[contract.STEPS.name], content, batch, limits)
        parts = {term.name: controls[term.weight.name] for term in contract.TERMS if term.absolute_weight is not None}
        unused = {term.name: tf.zeros([batch]) for term in contract.TERMS if term.absolute_weight is None}
        layers = tf.ones([1, len(self.settings.style_layers)])
        state, losses = minimiser.run(
            tf.constant(0),
            plain_canvas(content, self.objectives["tutorial"].style_moments(style)),
            minimiser.optimiser.init(content),
            TermWeights({**parts, **unused}, layers),
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
        if self.settings.tile_pixels is not None:  # its statistics are not tiled
            image = checked_batch_pixels(image, contract.IMAGE.name, self.settings.tile_pixels)
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
        values = {**numbers, contract.FINGERPRINT.name: self.fingerprint}
        return {
            field.name: tf.fill([batch], tf.constant(values[field.name], field.dtype))
            for field in contract.SIGNATURES[contract.LIMITS].outputs
        }

    def _signature(self, name: str, method: Callable[[dict[str, tf.Tensor]], Outputs]) -> Callable[..., Outputs]:
        """A `tf.function` whose arguments are the inputs of a signature, optional ones with the model's defaults."""
        fields = contract.SIGNATURES[name].inputs

        def call(*inputs: tf.Tensor) -> Outputs:
            return method(dict(zip([field.name for field in fields], inputs, strict=True)))

        # The contract alone lists the arguments. A default must be a tf.constant to get into the SignatureDef.
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


def _fingerprint(facts: Mapping[str, Any]) -> str:
    """Fingerprint of facts about a model, and of the program whose losses and optimisers it has."""
    text = json.dumps({"styleserve": __version__, "contract": contract.CONTRACT_VERSION, **facts}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
