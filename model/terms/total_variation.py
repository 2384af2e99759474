"""Smoothness: differences of neighbouring pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tensorflow as tf

from ..canvas import Canvas
from .term import Term, TermWeights


class _Variation(Term[tuple[()]]):
    name = "total_variation"

    def targets(self, canvas: Canvas, content: Mapping[str, tf.Tensor]) -> tuple[()]:
        """See `Term`."""
        del canvas, content
        return ()

    def target_specs(self) -> tuple[()]:
        """See `Term`."""
        return ()


class TotalVariationTerm(_Variation):
    """Sum of absolute differences over the image, as `tf.image.total_variation`."""

    def loss(
        self, image: tf.Tensor, features: Mapping[str, tf.Tensor], targets: tuple[()], weights: TermWeights
    ) -> tf.Tensor:
        """See `Term`."""
        del features, targets, weights
        return total_variation(image)


class SquaredVariationTerm(_Variation):
    """Mean of squared differences, times 4: the same weight at every size, and no kinks in the gradient."""

    def loss(
        self, image: tf.Tensor, features: Mapping[str, tf.Tensor], targets: tuple[()], weights: TermWeights
    ) -> tf.Tensor:
        """See `Term`."""
        del features, targets, weights
        down, right = image[:, 1:] - image[:, :-1], image[:, :, 1:] - image[:, :, :-1]
        return 4.0 * tf.add_n([tf.reduce_mean(tf.square(each), axis=[1, 2, 3]) for each in (down, right)])


@tf.custom_gradient
def total_variation(image: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Sum of absolute differences of neighbours, `[batch, height, width, channels]` to `[batch]`.

    Derived automatically, the gradient spends most of its time on putting slices back into zeros, on one thread.
    """

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        down = tf.sign(image[:, 1:] - image[:, :-1])
        right = tf.sign(image[:, :, 1:] - image[:, :, :-1])
        # The later of two neighbours pulls one way, the earlier the other.
        signs = tf.pad(down, [[0, 0], [1, 0], [0, 0], [0, 0]]) - tf.pad(down, [[0, 0], [0, 1], [0, 0], [0, 0]])
        signs += tf.pad(right, [[0, 0], [0, 0], [1, 0], [0, 0]]) - tf.pad(right, [[0, 0], [0, 0], [0, 1], [0, 0]])
        return upstream[:, None, None, None] * signs

    return tf.image.total_variation(image), gradient
