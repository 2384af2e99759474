"""Total variation: differences of neighbouring pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tensorflow as tf

from ..canvas import Canvas
from ..statistics import value_count
from .term import Term, TermWeights


class _Variation(Term[tuple[()]]):
    """A term without targets."""

    name = "total_variation"

    def targets(self, canvas: Canvas, content: Mapping[str, tf.Tensor]) -> tuple[()]:
        """See `Term`."""
        del canvas, content
        return ()

    def target_specs(self) -> tuple[()]:
        """See `Term`."""
        return ()


class TotalVariationTerm(_Variation):
    """Sum of absolute differences over the image, as in `tf.image.total_variation`."""

    def loss(
        self, image: tf.Tensor, features: Mapping[str, tf.Tensor], targets: tuple[()], weights: TermWeights
    ) -> tf.Tensor:
        """See `Term`."""
        del features, targets, weights
        return total_variation(image)


class SquaredVariationTerm(_Variation):
    """Mean of squared differences, times 4. Its weight is the same at every size, and its gradient is smooth."""

    def loss(
        self, image: tf.Tensor, features: Mapping[str, tf.Tensor], targets: tuple[()], weights: TermWeights
    ) -> tf.Tensor:
        """See `Term`."""
        del features, targets, weights
        return squared_variation(image)


@tf.custom_gradient
def total_variation(image: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Sum of absolute differences of neighbours, `[batch, height, width, channels]` float32 to `[batch]` float32.

    The automatic gradient spends most of its time on padding slices with zeros, on one thread.
    """

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        down, right = _differences(image)
        return upstream[:, None, None, None] * _by_pixels(tf.sign(down), tf.sign(right))

    return tf.image.total_variation(image), gradient


@tf.custom_gradient
def squared_variation(image: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Mean of squared differences of neighbours down and right, times 4; see `total_variation`."""
    squares = [tf.reduce_mean(tf.square(each), axis=[1, 2, 3]) for each in _differences(image)]

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        factor = 8.0 * upstream[:, None, None, None]
        down, right = (factor / value_count(each) * each for each in _differences(image))
        return _by_pixels(down, right)

    return 4.0 * tf.add_n(squares), gradient


def _differences(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Differences of neighbours down, `[batch, height - 1, width, channels]`, and right."""
    return image[:, 1:] - image[:, :-1], image[:, :, 1:] - image[:, :, :-1]


def _by_pixels(down: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Gradient by the image, from those by the differences, which grow with their later pixel."""
    rows = tf.pad(down, [[0, 0], [1, 0], [0, 0], [0, 0]]) - tf.pad(down, [[0, 0], [0, 1], [0, 0], [0, 0]])
    return rows + tf.pad(right, [[0, 0], [0, 0], [1, 0], [0, 0]]) - tf.pad(right, [[0, 0], [0, 0], [0, 1], [0, 0]])
