"""Content loss: equation 1 of Gatys et al. (2015, https://arxiv.org/abs/1508.06576)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from ..canvas import Canvas
from ..statistics import mean_square, one_where_zero, value_count, wide
from ..tiles import Tile
from .term import FeatureTerm, TermWeights


class ContentTargets(NamedTuple):
    """Targets of the content term.

    Attributes:
        features: Features of the content, `[batch, height, width, channels]` float32, 0 or more.
        scale: Divisor of the loss, `[1 or batch]` float32, over 0.
    """

    features: tf.Tensor
    scale: tf.Tensor


class ContentTerm(FeatureTerm[ContentTargets, tf.Tensor]):
    """Mean squared difference from the features of the content.

    Args:
        layer: Layer of the features.
        relative: Whether the loss is divided by the mean square of its target.
    """

    name = "content"

    def __init__(self, layer: str, *, relative: bool) -> None:
        self.layers = self.content_layers = (layer,)
        self._layer = layer
        self._relative = relative

    def targets(self, canvas: Canvas, content: Mapping[str, tf.Tensor]) -> ContentTargets:
        """See `Term`."""
        del canvas
        features = wide(content[self._layer])
        scale = one_where_zero(_mean_square(features)) if self._relative else tf.ones([1], features.dtype)
        return ContentTargets(features, scale)

    def target_specs(self) -> ContentTargets:
        """See `Term`."""
        # Any number of channels, so that two losses may use two layers.
        features = tf.TensorSpec([None, None, None, None], tf.float32)
        return ContentTargets(features, tf.TensorSpec([None], tf.float32))

    def loss(
        self, image: tf.Tensor, features: Mapping[str, tf.Tensor], targets: ContentTargets, weights: TermWeights
    ) -> tf.Tensor:
        """See `Term`."""
        del image, weights
        current = wide(features[self._layer])
        return mean_square(current - tf.ensure_shape(targets.features, current.shape)) / targets.scale

    def sum_specs(self) -> tf.Tensor:
        """See `FeatureTerm`."""
        return tf.TensorSpec([None], tf.float32)

    def tile_sums(self, features: Mapping[str, tf.Tensor], targets: ContentTargets, tile: Tile) -> tf.Tensor:
        """Part of the mean square, `[batch]` float32; see `FeatureTerm`."""
        difference = tile.inner(self._difference(features, targets, tile), self._layer)
        return tf.reduce_sum(tf.square(difference), axis=[1, 2, 3]) / value_count(targets.features)

    def loss_of_sums(self, sums: tf.Tensor, targets: ContentTargets, weights: TermWeights) -> tf.Tensor:
        """See `FeatureTerm`."""
        del weights
        return sums / targets.scale

    def tile_gradient(
        self, features: Mapping[str, tf.Tensor], targets: ContentTargets, tile: Tile, by_sums: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """See `FeatureTerm`."""
        factor = 2.0 * by_sums / value_count(targets.features)
        gradient = factor[:, None, None, None] * self._difference(features, targets, tile)
        return {self._layer: tf.cast(gradient, features[self._layer].dtype)}

    def _difference(self, features: Mapping[str, tf.Tensor], targets: ContentTargets, tile: Tile) -> tf.Tensor:
        current = wide(features[self._layer])
        return current - tf.ensure_shape(tile.crop(targets.features, self._layer), current.shape)


def _mean_square(features: tf.Tensor) -> tf.Tensor:
    """`mean_square` without a tensor of the squares, which would be as large as the features."""
    return tf.square(tf.math.reduce_euclidean_norm(features, axis=[1, 2, 3])) / value_count(features)
