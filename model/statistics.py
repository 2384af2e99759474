"""Statistics of features over positions: Gram matrices and means, of whole images or of weighted regions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import tensorflow as tf

Gradient = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

_LEAST_VARIANCE: Final = 1e-4
"""Added to variances: the square root has no gradient at 0."""


class Moments(NamedTuple):
    """Moments of the channels of a layer over positions.

    Attributes:
        gram: Second moments, the Gram matrix, `[images or regions, channels, channels]` float32.
        mean: First moments, `[images or regions, channels]` float32.
    """

    gram: tf.Tensor
    mean: tf.Tensor

    def deviation(self) -> tf.Tensor:
        """Standard deviation of each channel, `[images or regions, channels]` float32."""
        variance = tf.linalg.diag_part(self.gram) - tf.square(self.mean)
        return tf.sqrt(tf.maximum(variance, 0.0) + _LEAST_VARIANCE)


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
    shape = tf.shape(features)
    batch, positions, channels = shape[0], shape[1] * shape[2], features.shape[-1]
    flat = None if regions is None else tf.reshape(regions, [-1, positions, 1])
    count = tf.cast(positions, tf.float32)

    @tf.custom_gradient
    def of_rows(rows: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], Gradient]:
        wide = tf.cast(rows, tf.float32)

        def plain() -> tuple[tf.Tensor, tf.Tensor]:
            # The factors are the same, so the gradient is one product, in the features' own precision; derived
            # automatically it is a product for each factor, of float32 copies.
            mean = tf.reduce_mean(wide, axis=1) if with_mean else tf.zeros([batch, 0])
            return tf.matmul(wide, wide, transpose_a=True) / count, mean

        def guided(weight: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            weighted = wide[0] * weight
            mean = tf.reduce_sum(weighted, axis=0) if with_mean else tf.zeros([0])
            return tf.matmul(weighted, wide[0], transpose_a=True), mean

        def plain_gradient(gram: tf.Tensor, mean: tf.Tensor) -> tf.Tensor:
            gram = gram / count
            product = tf.matmul(rows, tf.cast(gram + tf.linalg.matrix_transpose(gram), rows.dtype))
            return product + tf.cast(mean / count, rows.dtype)[:, None, :] if with_mean else product

        def guided_gradient(weight: tf.Tensor, gram: tf.Tensor, mean: tf.Tensor) -> tf.Tensor:
            product = tf.matmul(rows[0], tf.cast(gram + tf.linalg.matrix_transpose(gram), rows.dtype))
            product = product + tf.cast(mean, rows.dtype) if with_mean else product
            return product * tf.cast(weight, rows.dtype)

        if flat is None:
            return plain(), plain_gradient

        def all_guided() -> tuple[tf.Tensor, tf.Tensor]:
            vector = tf.TensorSpec([channels if with_mean else 0], tf.float32)
            specs = (tf.TensorSpec([channels, channels], tf.float32), vector)
            return tf.map_fn(guided, flat, fn_output_signature=specs, parallel_iterations=1)

        def gradient(gram: tf.Tensor, mean: tf.Tensor) -> tf.Tensor:
            def add(i: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                return i + 1, total + guided_gradient(flat[i], gram[i], mean[i])[None]

            def all_regions() -> tf.Tensor:
                def is_left(i: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
                    return i < tf.shape(flat)[0]

                return tf.while_loop(is_left, add, (tf.constant(0), tf.zeros_like(rows)), parallel_iterations=1)[1]

            return tf.cond(tf.shape(flat)[0] == 0, lambda: plain_gradient(gram, mean), all_regions)

        return tf.cond(tf.shape(flat)[0] == 0, plain, all_guided), gradient

    return Moments(*of_rows(tf.reshape(features, [batch, positions, channels])))


def mean_square(x: tf.Tensor) -> tf.Tensor:
    """Mean of squares over all but the first dimension: `[batch, ...]` to `[batch]`."""
    return tf.reduce_mean(tf.square(x), axis=list(range(1, len(x.shape))))


def positive(scale: tf.Tensor) -> tf.Tensor:
    """`scale`, with 1 in place of 0: a picture can be black to a layer, and plain mean squares are all there is."""
    return tf.where(scale > 0.0, scale, tf.ones_like(scale))
