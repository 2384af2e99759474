"""Content loss: equation 1 of Gatys et al. (2015, https://arxiv.org/abs/1508.06576)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from ..canvas import Canvas
from ..statistics import mean_square, one_where_zero
from .term import Term, TermWeights


class ContentTargets(NamedTuple):
    """Targets of the content term.

    Attributes:
        features: Features of the content, `[batch, height, width, channels]` float32, 0 or more.
        scale: Divisor of the loss, `[1 or batch]` float32, over 0.
    """

    features: tf.Tensor
    scale: tf.Tensor


class ContentTerm(Term[ContentTargets]):
    """Mean squared difference from the features of the content.

    Args:
        layer: Layer of the features.
        relative: Whether the loss is divided by the mean square of its target.
    """

    name = "content"

    def __init__(self, layer: str, *, relative: bool) -> None:
        self.layers = (layer,)
        self._layer = layer
        self._relative = relative

    def targets(self, canvas: Canvas, content: Mapping[str, tf.Tensor]) -> ContentTargets:
        """See `Term`."""
        del canvas
        features = tf.cast(content[self._layer], tf.float32)
        return ContentTargets(features, one_where_zero(mean_square(features)) if self._relative else tf.ones([1]))

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
        current = tf.cast(features[self._layer], tf.float32)
        return mean_square(current - tf.ensure_shape(targets.features, current.shape)) / targets.scale
