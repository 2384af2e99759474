"""The canvas: pictures and style statistics of a run, which a state carries beside the optimiser's tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from ..network.architecture import channels_of
from ..state import Spec, map_specs
from .statistics import Moments


class Canvas(NamedTuple):
    """Pictures and style statistics of a run.

    Attributes:
        content: Content picture, `[batch, height, width, 3]` float32 in [0, 1].
        regions: Mask of each style, `[regions, height, width]` uint8, 255 for the full style. No regions: one style, or
            one blend of styles, everywhere.
        blend: Share of each style where regions overlap, `[regions]` float32 in [0, 1].
        reference: Target pixels, `[0 or 1, height, width, 3]` float32 in [0, 1].
        reference_weight: Weight of each target pixel, `[0 or 1, height, width]` uint8, 255 for weight 1.
        styles: Moments in all style layers, `[styles, numbers]` float32 (`flat_moments`): of one style, of one for each
            region, or of one for each example.
    """

    content: tf.Tensor
    regions: tf.Tensor
    blend: tf.Tensor
    reference: tf.Tensor
    reference_weight: tf.Tensor
    styles: tf.Tensor

    def shares(self) -> tf.Tensor:
        """Share of each style in each pixel, `[regions, height, width]` float32 in [0, 1]; the rest is content.

        Where masks overlap, their styles share the pixel by the blend.
        """
        masks = tf.cast(self.regions, self.content.dtype) / 255.0
        blended = masks * self.blend[:, None, None]
        covered = tf.minimum(tf.reduce_sum(masks, axis=0), 1.0)
        return tf.math.divide_no_nan(blended, tf.reduce_sum(blended, axis=0)) * covered

    def painted(self, image: tf.Tensor) -> tf.Tensor:
        """The image where a style applies, the content where none does.

        Args:
            image: `[batch, height, width, 3]` float32 in [0, 1].

        Returns:
            Shape, dtype and range of the image.
        """
        cover = self.cover()
        return tf.where(cover < 1.0, self.content + cover * (image - self.content), image)

    def cover(self) -> tf.Tensor:
        """Share of all styles together in each pixel, `[1, height or 1, width or 1, 1]` float32 in [0, 1]."""

        def by_regions() -> tf.Tensor:
            return tf.reduce_sum(self.shares(), axis=0)[None, :, :, None]

        return tf.cond(tf.shape(self.regions)[0] == 0, lambda: tf.ones([1, 1, 1, 1], self.content.dtype), by_regions)


def plain_canvas(content: tf.Tensor, styles: tf.Tensor) -> Canvas:
    """A canvas without regions and without a reference.

    Args:
        content: `[batch, height, width, 3]` float32 in [0, 1].
        styles: `[1 or batch, numbers]` float32; see `flat_moments`.
    """
    sides = tf.shape(content)[1:3]
    nothing = tf.zeros(tf.concat([[0], sides], axis=0), tf.uint8)
    reference = tf.zeros(tf.concat([[0], sides, [3]], axis=0), content.dtype)
    return Canvas(content, nothing, tf.zeros([0], content.dtype), reference, nothing, styles)


def canvas_specs(style_layers: Sequence[str]) -> Canvas:
    """A `Spec` in place of each tensor, for one example, as a state carries it."""
    return Canvas(
        content=Spec("float32", (1, "height", "width", 3)),
        regions=Spec("uint8", ("regions", "height", "width")),
        blend=Spec("float32", ("regions",)),
        reference=Spec("float32", ("references", "height", "width", 3)),
        reference_weight=Spec("uint8", ("references", "height", "width")),
        styles=Spec("float32", ("targets", sum(size * (size + 1) for size in channels_of(style_layers)))),
    )


def canvas_tensor_specs(style_layers: Sequence[str]) -> Canvas:
    """A `tf.TensorSpec` in place of each tensor, for any number of examples."""

    def free(spec: Spec) -> tf.TensorSpec:
        return tf.TensorSpec([None, *spec.tensor_spec().shape[1:]], spec.dtype)

    return map_specs(free, canvas_specs(style_layers))


def flat_moments(layers: Sequence[Moments]) -> tf.Tensor:
    """Moments of several layers as one tensor, `[images, numbers]` float32: each layer's Gram matrix, then its mean."""
    return tf.concat([tf.reshape(part, [-1, math.prod(part.shape[1:])]) for layer in layers for part in layer], axis=1)


def moments_of(flat: tf.Tensor, style_layers: Sequence[str]) -> tuple[Moments, ...]:
    """Moments of each layer: the inverse of `flat_moments`."""
    channels = channels_of(style_layers)
    parts = tf.split(flat, [size for each in channels for size in (each**2, each)], axis=1)
    grams = [tf.reshape(part, [-1, each, each]) for part, each in zip(parts[::2], channels, strict=True)]
    return tuple(Moments(gram, mean) for gram, mean in zip(grams, parts[1::2], strict=True))
