"""What a run works on, apart from the optimiser: everything that a state carries from call to call."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from .architecture import CONV_LAYERS
from .state import Spec, map_specs
from .statistics import Moments


class Canvas(NamedTuple):
    """Pictures and style statistics of a run.

    Attributes:
        content: The content, `[batch, height, width, 3]` float32 in [0, 1].
        regions: Where each style applies, `[regions, height, width]` uint8, 255 is fully; no regions means one style,
            or one blend of styles, everywhere.
        blend: Share of each region's style where regions overlap, `[regions]` float32.
        reference: Target pixels, `[0 or 1, height, width, 3]` float32 in [0, 1].
        reference_weight: Weight of the target pixels, `[0 or 1, height, width]` uint8, 255 is 1.
        styles: Moments of the styles in all style layers, of one style, or of one for each region, or of one for each
            example, `[styles, numbers]` float32; see `flat_moments`.
    """

    content: tf.Tensor
    regions: tf.Tensor
    blend: tf.Tensor
    reference: tf.Tensor
    reference_weight: tf.Tensor
    styles: tf.Tensor

    def shares(self) -> tf.Tensor:
        """Share of each region's style in each pixel, `[regions, height, width]` float32; what is left is content.

        Where masks overlap, their styles share the pixel by the blend.
        """
        masks = tf.cast(self.regions, tf.float32) / 255.0
        blended = masks * self.blend[:, None, None]
        covered = tf.minimum(tf.reduce_sum(masks, axis=0), 1.0)
        return tf.math.divide_no_nan(blended, tf.reduce_sum(blended, axis=0)) * covered

    def painted(self, image: tf.Tensor) -> tf.Tensor:
        """The image where a style applies, and the content where none does; shaped like the image."""
        cover = self.cover()
        return tf.where(cover < 1.0, self.content + cover * (image - self.content), image)

    def cover(self) -> tf.Tensor:
        """Share of all styles together in each pixel, `[1, height or 1, width or 1, 1]` float32."""

        def by_regions() -> tf.Tensor:
            return tf.reduce_sum(self.shares(), axis=0)[None, :, :, None]

        return tf.cond(tf.shape(self.regions)[0] == 0, lambda: tf.ones([1, 1, 1, 1]), by_regions)


def plain_canvas(content: tf.Tensor, styles: tf.Tensor) -> Canvas:
    """A canvas without regions and reference."""
    sides = tf.shape(content)[1:3]
    nothing = tf.zeros(tf.concat([[0], sides], axis=0), tf.uint8)
    reference = tf.zeros(tf.concat([[0], sides, [3]], axis=0))
    return Canvas(content, nothing, tf.zeros([0]), reference, nothing, styles)


def canvas_specs(style_layers: Sequence[str]) -> Canvas:
    """Dtypes and dimensions of what a state carries of one example, as `Spec` in place of tensors."""
    return Canvas(
        content=Spec("float32", (1, "height", "width", 3)),
        regions=Spec("uint8", ("regions", "height", "width")),
        blend=Spec("float32", ("regions",)),
        reference=Spec("float32", ("references", "height", "width", 3)),
        reference_weight=Spec("uint8", ("references", "height", "width")),
        styles=Spec("float32", ("targets", sum(size * (size + 1) for size in _channels(style_layers)))),
    )


def canvas_tensor_specs(style_layers: Sequence[str]) -> Canvas:
    """A `tf.TensorSpec` in place of each tensor, for any number of examples."""

    def free(spec: Spec) -> tf.TensorSpec:
        return tf.TensorSpec([None, *spec.tensor_spec().shape[1:]], spec.dtype)

    return map_specs(free, canvas_specs(style_layers))


def flat_moments(layers: Sequence[Moments]) -> tf.Tensor:
    """Moments of several layers as one tensor, `[images, numbers]`: of each layer the Gram matrix, then the mean."""
    return tf.concat([tf.reshape(part, [-1, math.prod(part.shape[1:])]) for own in layers for part in own], axis=1)


def moments_of(flat: tf.Tensor, style_layers: Sequence[str]) -> tuple[Moments, ...]:
    """The moments of each layer, of `flat_moments`."""
    channels = _channels(style_layers)
    parts = tf.split(flat, [size for each in channels for size in (each**2, each)], axis=1)
    grams = [tf.reshape(part, [-1, each, each]) for part, each in zip(parts[::2], channels, strict=True)]
    return tuple(Moments(gram, mean) for gram, mean in zip(grams, parts[1::2], strict=True))


def _channels(layers: Sequence[str]) -> list[int]:
    channels = {layer.name: layer.out_channels for layer in CONV_LAYERS}
    return [channels[name] for name in layers]
