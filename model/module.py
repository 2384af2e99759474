"""The module that is exported: one `tf.function` per signature of the contract."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import tensorflow as tf

from styleserve import contract
from styleserve.contract import Control, Field, Limits, LossScale

from .architecture import CONV_LAYERS, layers_up_to, min_side
from .checks import check, checked_batch, checked_control, checked_image, checked_partner
from .describe import describe
from .interruptible import uninlined
from .losses import LossWeights
from .pictures import decode, encode_png
from .stylize import Stylizer
from .vgg19 import Precision, Vgg19
from .weights import Weights

Outputs = dict[str, tf.Tensor]
# From content images, style images and controls to the result and the losses, each with the batch in front.
Optimiser = Callable[[tf.Tensor, tf.Tensor, dict[str, tf.Tensor]], tuple[tf.Tensor, tf.Tensor]]


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
        ValueError: a layer that VGG-19 does not have, no or repeated style layers, or `limits.max_side` too small for
            the layers.
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
        )
        self.min_side = min_side(settings.layers)
        adam, lbfgs = self._adam(), self._lbfgs()
        # By name of the signature.
        self.methods: Mapping[str, Callable[[dict[str, tf.Tensor]], Outputs]] = {
            contract.SERVING_DEFAULT: partial(self._stylize, contract.SERVING_DEFAULT, adam),
            contract.STYLIZE_ENCODED: partial(self._stylize_encoded, contract.STYLIZE_ENCODED, adam),
            contract.STYLIZE_LBFGS: partial(self._stylize, contract.STYLIZE_LBFGS, lbfgs),
            contract.STYLIZE_LBFGS_ENCODED: partial(self._stylize_encoded, contract.STYLIZE_LBFGS_ENCODED, lbfgs),
            contract.DESCRIBE: self._describe,
        }
        # The tf.function itself, because a concrete function would lose the defaults.
        self.functions = {name: self._signature(name, method) for name, method in self.methods.items()}

    def default(self, field: Field) -> tf.Tensor | None:
        """What the model takes for an input that is not sent, `[1]`; None where it must be sent."""
        if field.control is None:
            return None
        value = min(field.control.default(self.settings.loss_scale), field.control.limit(self.settings.limits))
        return tf.constant([value], field.dtype)

    def _stylize(self, signature: str, optimise: Optimiser, inputs: dict[str, tf.Tensor]) -> Outputs:
        """Images in and out."""
        limits = self.settings.limits
        content = checked_image(inputs[contract.CONTENT_IMAGE.name], contract.CONTENT_IMAGE, limits, self.min_side)
        style = checked_image(inputs[contract.STYLE_IMAGE.name], contract.STYLE_IMAGE, limits, self.min_side)
        batch = tf.shape(content)[0]
        style = checked_partner(style, contract.STYLE_IMAGE.name, batch, contract.CONTENT_IMAGE.name)
        image, losses = optimise(content, style, self._controls(signature, inputs, batch))
        return {contract.STYLIZED_IMAGE.name: image, contract.LOSSES.name: losses}

    def _stylize_encoded(self, signature: str, optimise: Optimiser, inputs: dict[str, tf.Tensor]) -> Outputs:
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
                decode(
                    picture[i],
                    max_side=max_side,
                    name=field.name,
                    limits=limits,
                    min_side=self.min_side,
                )
                for picture, field in ((content_bytes, contract.CONTENT_BYTES), (style_bytes, contract.STYLE_BYTES))
            )
            image, losses = optimise(content, style, own)
            missing = most - tf.shape(losses)[1]
            losses = tf.pad(losses[0], [[0, missing], [0, 0]], constant_values=float("nan"))
            return encode_png(image[0]), losses

        png_bytes, losses = tf.map_fn(
            one,
            tf.range(batch),
            fn_output_signature=(tf.TensorSpec([], tf.string), tf.TensorSpec([None, 4], tf.float32)),
            parallel_iterations=1,  # bounds memory to one example's
        )
        return {contract.PNG_BYTES.name: png_bytes, contract.LOSSES.name: losses}

    def _describe(self, inputs: dict[str, tf.Tensor]) -> Outputs:
        image = checked_image(inputs[contract.IMAGE.name], contract.IMAGE, self.settings.limits, self.min_side)
        return describe(image, self.network, style_layers=self.settings.style_layers)

    def _controls(self, signature: str, inputs: dict[str, tf.Tensor], batch: tf.Tensor) -> dict[str, tf.Tensor]:
        return {
            field.name: checked_control(inputs[field.name], field, field.control, self.settings.limits, batch)
            for field in contract.SIGNATURES[signature].inputs
            if field.control is not None
        }

    def _adam(self) -> Optimiser:
        def run(content: tf.Tensor, style: tf.Tensor, controls: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
            image, losses = self.stylizer.adam(
                content,
                style,
                _loss_weights(controls),
                steps=controls[contract.STEPS.name],
                learning_rate=controls[contract.LEARNING_RATE.name],
            )
            finite = tf.reduce_all(tf.math.is_finite(image))
            advice = "the result is not finite; use smaller weights or a smaller learning_rate"
            return check(image, finite, advice), losses

        return _called(run, contract.ADAM_CONTROLS)

    def _lbfgs(self) -> Optimiser:
        def run(content: tf.Tensor, style: tf.Tensor, controls: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
            steps = controls[contract.STEPS.name]
            image, losses = self.stylizer.lbfgs(content, style, _loss_weights(controls), steps=steps)
            # It takes no step that makes the loss infinite, but it may have started there.
            finite = tf.reduce_all(~tf.math.is_inf(losses))
            return check(image, finite, "the loss is not finite; use smaller weights"), losses

        return _called(run, contract.LBFGS_CONTROLS)

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
            call, input_signature=[tf.TensorSpec(field.shape, field.dtype, field.name) for field in fields]
        )


def _called(optimiser: Optimiser, controls: tuple[Control, ...]) -> Optimiser:
    # Called, not inlined: signatures share it, and the calls inside it (`interruptible`) may then stand in a loop. In a
    # loop within the loop over examples TensorFlow's inlining ties them to the wrong one.
    return uninlined(
        optimiser,
        [
            tf.TensorSpec(contract.CONTENT_IMAGE.shape, tf.float32),
            tf.TensorSpec(contract.STYLE_IMAGE.shape, tf.float32),
            {control.name: tf.TensorSpec([None], control.dtype) for control in controls},
        ],
    )


def _loss_weights(controls: dict[str, tf.Tensor]) -> LossWeights:
    return LossWeights(
        style=controls[contract.STYLE_WEIGHT.name],
        content=controls[contract.CONTENT_WEIGHT.name],
        total_variation=controls[contract.TOTAL_VARIATION_WEIGHT.name],
    )
