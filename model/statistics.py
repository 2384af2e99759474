"""Statistics of features over positions: Gram matrices and means, of whole images or of weighted regions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from .interruptible import uninlined

Gradient = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class Moments(NamedTuple):
    """Moments of the channels of a layer over positions.

    Attributes:
        gram: Second moments, the Gram matrix, `[images or regions, channels, channels]` float32.
        mean: First moments, `[images or regions, channels]` float32.
    """

    gram: tf.Tensor
    mean: tf.Tensor

    def covariance(self) -> tf.Tensor:
        """Covariance of the channels, `[images or regions, channels, channels]` float32."""
        return self.gram - self.mean[:, :, None] * self.mean[:, None, :]


def gram_matrix(features: tf.Tensor) -> tf.Tensor:
    """Correlations of channels over positions: G_cd = sum_ij F_ijc F_ijd / (height x width), equation 3 of Gatys.

    Divided by the number of positions, as in TensorFlow's tutorial, so that it does not grow with the image.

    Args:
        features: `[batch, height, width, channels]`, any floating dtype.

    Returns:
        `[batch, channels, channels]` float32, symmetric and positive semidefinite.
    """
    return moments(features, None, with_mean=False).gram


def moments(features: tf.Tensor, regions: tf.Tensor | None, *, with_mean: bool = True) -> Moments:
    """Moments of features, with their gradient in one product each.

    Guided Gram matrices are those of Gatys et al. (2017, https://arxiv.org/abs/1611.07865, section 4): each position
    counts with its weight in the region.

    Args:
        features: `[batch, height, width, channels]`, any floating dtype; batch 1 where there are regions.
        regions: Weights of the positions, `[regions, height, width]` float32, which sum to 1 in each region. With 0
            regions, or None, all positions count alike.
        with_mean: Whether the mean is wanted; else it has 0 channels.
    """
    shape, channels = tf.shape(features), features.shape[-1]
    rows = tf.reshape(features, [shape[0], shape[1] * shape[2], channels])
    flat = tf.zeros([0, shape[1] * shape[2]]) if regions is None else tf.reshape(regions, [-1, shape[1] * shape[2]])
    forward, backward = _calls(features.dtype.name, with_mean)

    @tf.custom_gradient
    def of_rows(rows: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], Gradient]:
        def gradient(gram: tf.Tensor, mean: tf.Tensor) -> tf.Tensor:
            return tf.ensure_shape(backward(rows, flat, gram, mean), rows.shape)

        gram, mean = forward(rows, flat)
        gram = tf.ensure_shape(gram, [None, channels, channels])
        return (gram, tf.ensure_shape(mean, [None, channels if with_mean else 0])), gradient

    return Moments(*of_rows(rows))


@functools.cache
def _calls(dtype: str, with_mean: bool) -> tuple[Callable[..., Any], Callable[..., tf.Tensor]]:
    """The moments of rows and their gradient, for any shape: one function each keeps the graph small.

    The first takes rows `[batch, positions, channels]` and regions `[regions, positions]`, the second also the
    gradients by Gram matrices and means.
    """

    def forward(rows: tf.Tensor, regions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        wide, shape = tf.cast(rows, tf.float32), tf.shape(rows)

        def plain() -> tuple[tf.Tensor, tf.Tensor]:
            mean = tf.reduce_mean(wide, axis=1) if with_mean else tf.zeros([shape[0], 0])
            return tf.matmul(wide, wide, transpose_a=True) / tf.cast(shape[1], tf.float32), mean

        def of_region(region: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            weighted = wide[0] * region[:, None]
            mean = tf.reduce_sum(weighted, axis=0) if with_mean else tf.zeros([0])
            return tf.matmul(weighted, wide[0], transpose_a=True), mean

        def guided() -> tuple[tf.Tensor, tf.Tensor]:
            specs = (tf.TensorSpec([None, None], tf.float32), tf.TensorSpec([None], tf.float32))
            return tf.map_fn(of_region, regions, fn_output_signature=specs, parallel_iterations=1)

        return tf.cond(tf.shape(regions)[0] == 0, plain, guided)

    def backward(rows: tf.Tensor, regions: tf.Tensor, gram: tf.Tensor, mean: tf.Tensor) -> tf.Tensor:
        # The factors of a Gram matrix are the same, so its gradient is one product, in the features' own precision;
        # derived automatically it is a product for each factor, of float32 copies.
        def product(rows: tf.Tensor, gram: tf.Tensor, mean: tf.Tensor) -> tf.Tensor:
            rows = tf.matmul(rows, tf.cast(gram + tf.linalg.matrix_transpose(gram), rows.dtype))
            return rows + tf.cast(mean, rows.dtype)[..., None, :] if with_mean else rows

        def plain() -> tf.Tensor:
            positions = tf.cast(tf.shape(rows)[1], tf.float32)
            return product(rows, gram / positions, mean / positions)

        def guided() -> tf.Tensor:
            def add(i: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                return i + 1, total + product(rows[0], gram[i], mean[i]) * tf.cast(regions[i], rows.dtype)[:, None]

            def is_left(i: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
                return i < tf.shape(regions)[0]

            _, total = tf.while_loop(is_left, add, (tf.constant(0), tf.zeros_like(rows[0])), parallel_iterations=1)
            return total[None]

        return tf.cond(tf.shape(regions)[0] == 0, plain, guided)

    rows, matrix = tf.TensorSpec([None] * 3, dtype), tf.TensorSpec([None] * 3, tf.float32)
    vector = tf.TensorSpec([None, None], tf.float32)
    return uninlined(forward, [rows, vector]), uninlined(backward, [rows, vector, matrix, vector])


def mean_square(x: tf.Tensor) -> tf.Tensor:
    """Mean of squares over all but the first dimension: `[batch, ...]` to `[batch]`."""
    return tf.reduce_mean(tf.square(x), axis=list(range(1, len(x.shape))))


def positive(scale: tf.Tensor) -> tf.Tensor:
    """`scale`, with 1 in place of 0: a picture can be black to a layer, and plain mean squares are all there is."""
    return tf.where(scale > 0.0, scale, tf.ones_like(scale))
