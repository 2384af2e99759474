"""The module that is exported: one `tf.function` per signature of the contract."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import tensorflow as tf

from styleserve import contract
from styleserve.contract import Field, Limits, LossScale

from .architecture import CONV_LAYERS, layers_up_to, min_side
from .checks import checked_batch, checked_control, checked_image, checked_partner, checked_work
from .describe import describe
from .interruptible import uninlined
from .losses import Targets
from .optimisers import Adam, Lbfgs, Optimiser
from .pictures import decode, encode_png
from .resumable import Resumable, fingerprint
from .stylize import Stylizer
from .vgg19 import Precision, Vgg19
from .weights import Weights

Outputs = dict[str, tf.Tensor]


@dataclass(frozen=True)
class ModelSettings:
    """What is fixed when a model is built.

    Attributes:
        style_layers: layers whose Gram matrices are matched.
        content_layer: layer whose features are matched.
        loss_scale: "tutorial" for ImageNet weights, "relative" for untrained ones.
        precision: of the convolutions; everything else is float32.
        limits: bounds on requests.

    Raises:
        ValueError: a layer that VGG-19 does not have, or no or repeated style layers.
    """

    style_layers: tuple[str, ...] = contract.STYLE_LAYERS
    content_layer: str = contract.CONTENT_LAYER
    loss_scale: LossScale = "tutorial"
    precision: Precision = "float32"
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        layers_up_to([*self.style_layers, self.content_layer])
        if not self.style_layers or len(set(self.style_layers)) < len(self.style_layers):
            raise ValueError(f"style layers must be named, each once; got {', '.join(self.style_layers) or 'none'}")

    @property
    def layers(self) -> tuple[str, ...]:
        """Style and content layers, each once, in network order."""
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
        self.network = Vgg19(weights, settings.layers, precision=settings.precision)
        self.stylizer = Stylizer(
            self.network,
            style_layers=settings.style_layers,
            content_layer=settings.content_layer,
            loss_scale=settings.loss_scale,
            max_side=settings.limits.max_side,
        )
        self.min_side = min_side(settings.layers)
        image = tf.TensorSpec(contract.CONTENT_IMAGE.shape, tf.float32)
        self._targets: Callable[[tf.Tensor, tf.Tensor], Targets] = uninlined(self.stylizer.targets, [image, image])
        string = tf.TensorSpec([], tf.string)
        self._decode: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor] = uninlined(
            self._decoded, [string, tf.TensorSpec([], tf.int32), string]
        )
        targets = self.stylizer.target_specs()
        adam, lbfgs = Adam(self.stylizer, targets), Lbfgs(self.stylizer, targets)
        facts = {**asdict(settings), "weights": weights.sha256}
        # What bounds a run, or rounds it, does not decide where it goes on to.
        del facts["limits"], facts["precision"]
        # By name of the signature.
        self.methods: Mapping[str, Callable[[dict[str, tf.Tensor]], Outputs]] = {
            contract.SERVING_DEFAULT: partial(self._stylize, contract.SERVING_DEFAULT, adam),
            contract.STYLIZE_ENCODED: partial(self._stylize_encoded, contract.STYLIZE_ENCODED, adam),
            contract.STYLIZE_LBFGS: partial(self._stylize, contract.STYLIZE_LBFGS, lbfgs),
            contract.STYLIZE_LBFGS_ENCODED: partial(self._stylize_encoded, contract.STYLIZE_LBFGS_ENCODED, lbfgs),
            **{
                name: partial(
                    self._stylize_resumable,
                    name,
                    Resumable(
                        optimiser,
                        self._targets,
                        self._decode,
                        fingerprint(optimiser.name, facts),
                        settings.style_layers,
                        settings.content_layer,
                        settings.limits,
                        self.min_side,
                    ),
                )
                for name, optimiser in (
                    (contract.STYLIZE_RESUMABLE, adam),
                    (contract.STYLIZE_LBFGS_RESUMABLE, lbfgs),
                )
            },
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
            if field.dtype == "float32":
                return tf.zeros([1, 0, 0, 3])
            return tf.fill([1], "") if field.dtype == "string" else tf.zeros([1], tf.int32)
        value = field.control.default_within(self.settings.loss_scale, self.settings.limits)
        return tf.constant([value], field.dtype)

    def _stylize(self, signature: str, optimiser: Optimiser[Any], inputs: dict[str, tf.Tensor]) -> Outputs:
        """Images in and out."""
        limits = self.settings.limits
        content = checked_image(inputs[contract.CONTENT_IMAGE.name], contract.CONTENT_IMAGE, limits, self.min_side)
        style = checked_image(inputs[contract.STYLE_IMAGE.name], contract.STYLE_IMAGE, limits, self.min_side)
        batch = tf.shape(content)[0]
        style = checked_partner(style, contract.STYLE_IMAGE.name, batch, contract.CONTENT_IMAGE.name)
        controls = self._controls(signature, inputs, batch)
        controls[contract.STEPS.name] = checked_work(controls[contract.STEPS.name], content, batch, limits)
        image, losses = self._optimised(optimiser, content, style, controls)
        return {contract.STYLIZED_IMAGE.name: image, contract.LOSSES.name: losses}

    def _stylize_encoded(self, signature: str, optimiser: Optimiser[Any], inputs: dict[str, tf.Tensor]) -> Outputs:
        """Files in and out.

        Examples are worked on one after another, because pictures of one batch may differ in size.
        """
        limits = self.settings.limits
        content_bytes = checked_batch(inputs[contract.CONTENT_BYTES.name], contract.CONTENT_BYTES, limits)
        style_bytes = checked_batch(inputs[contract.STYLE_BYTES.name], contract.STYLE_BYTES, limits)
        batch = tf.shape(content_bytes)[0]
        style_bytes = checked_partner(style_bytes, contract.STYLE_BYTES.name, batch, contract.CONTENT_BYTES.name)
        style_bytes = tf.broadcast_to(style_bytes, [batch])
        controls = self._controls(signature, inputs, batch)
        most = tf.reduce_max(controls[contract.STEPS.name])

        def one(i: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            own = {name: value[i][None] for name, value in controls.items()}
            max_side = own.pop(contract.MAX_SIDE.name)[0]
            content, style = (
                self._decode(picture[i], max_side, tf.constant(field.name))
                for picture, field in ((content_bytes, contract.CONTENT_BYTES), (style_bytes, contract.STYLE_BYTES))
            )
            own[contract.STEPS.name] = checked_work(own[contract.STEPS.name], content, batch, limits)
            image, losses = self._optimised(optimiser, content, style, own)
            return encode_png(image[0]), _padded(losses[0], most)

        png_bytes, losses = _one_by_one(one, batch)
        return {contract.PNG_BYTES.name: png_bytes, contract.LOSSES.name: losses}

    def _stylize_resumable(self, signature: str, runs: Resumable, inputs: dict[str, tf.Tensor]) -> Outputs:
        """A state in, or what a run begins with, and a state out."""
        given, batch = runs.batch(inputs)
        controls = self._controls(signature, inputs, batch)
        most = tf.reduce_max(controls[contract.STEPS.name])

        def one(i: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            own = {name: value[i][None] for name, value in controls.items()}
            state, losses = runs.chunk(i, given, own, batch)
            return state, _padded(losses, most)

        states, losses = _one_by_one(one, batch)
        return {
            contract.STATE.name: states,
            # By itself, so that it costs nothing where it is not fetched.
            contract.PNG_BYTES.name: tf.map_fn(runs.picture, states, parallel_iterations=1),
            contract.LOSSES.name: losses,
        }

    def _decoded(self, picture: tf.Tensor, max_side: tf.Tensor, name: tf.Tensor) -> tf.Tensor:
        return decode(picture, max_side, name, limits=self.settings.limits, min_side=self.min_side)

    def _optimised(
        self, optimiser: Optimiser[Any], content: tf.Tensor, style: tf.Tensor, controls: dict[str, tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The results and the losses of whole runs, each with the batch in front."""
        run, losses = optimiser.run(self._targets(content, style), optimiser.init(content), controls)
        return optimiser.image(run), losses

    def _describe(self, inputs: dict[str, tf.Tensor]) -> Outputs:
        image = checked_image(inputs[contract.IMAGE.name], contract.IMAGE, self.settings.limits, self.min_side)
        return describe(image, self.stylizer.features, style_layers=self.settings.style_layers)

    def _limits(self, inputs: dict[str, tf.Tensor]) -> Outputs:
        batch = tf.shape(checked_batch(inputs[contract.EXAMPLE.name], contract.EXAMPLE, self.settings.limits))[0]
        numbers = {"min_side": self.min_side, **self.settings.limits.numbers()}
        return {
            field.name: tf.fill([batch], tf.constant(numbers[field.name], field.dtype))
            for field in contract.LIMIT_FIELDS
        }

    def _controls(self, signature: str, inputs: dict[str, tf.Tensor], batch: tf.Tensor) -> dict[str, tf.Tensor]:
        return {
            field.name: checked_control(inputs[field.name], field, field.control, self.settings.limits, batch)
            for field in contract.SIGNATURES[signature].inputs
            if field.control is not None
        }

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


def _one_by_one(
    one: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]], batch: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Strings and losses of all examples of a batch; `one` gives those of an example, by its number."""
    return tf.map_fn(
        one,
        tf.range(batch),
        fn_output_signature=(tf.TensorSpec([], tf.string), tf.TensorSpec([None, 4], tf.float32)),
        parallel_iterations=1,  # bounds memory to one example's
    )


def _padded(losses: tf.Tensor, most: tf.Tensor) -> tf.Tensor:
    """Losses `[steps, 4]` with NaN behind them, `[most, 4]`."""
    return tf.pad(losses, [[0, most - tf.shape(losses)[0]], [0, 0]], constant_values=float("nan"))
