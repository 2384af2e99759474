"""Loss of one style layer, and its gradient by the features in one product."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from ...noinline import noinline
from ..statistics import Moments, mean_square, moments_gradient, moments_within, sum_dtype


class LayerTarget(NamedTuple):
    """Targets of one or more styles in a layer.

    Attributes:
        matrix: Gram matrices, or covariances, `[styles, channels, channels]` float32.
        mean: Means, `[styles, channels]` float32.
        factors: Factors of the mean squared differences of matrix and mean, `[styles, 2]` float32.
    """

    matrix: tf.Tensor
    mean: tf.Tensor
    factors: tf.Tensor


def layer_loss(features: tf.Tensor, regions: tf.Tensor, target: LayerTarget, *, centred: bool) -> tf.Tensor:
    """Weighted mean squared difference from the target, `[batch or regions]` float32.

    Args:
        features: `[batch, height, width, channels]`, any floating dtype; batch 1 with regions.
        regions: Weights of the positions, as in `moments`.
        target: Targets of one style, of one for each example, or of one for each region.
        centred: Whether covariance and mean are compared, and not the Gram matrix.
    """
    forward, backward = _functions(features.dtype.name, centred)

    @tf.custom_gradient
    def call(features: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        loss, difference, mean = forward(features, regions, target)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            by_features = backward(features, regions, target.factors, difference, mean, upstream)
            return tf.ensure_shape(by_features, features.shape)

        return loss, gradient

    return call(features)


def loss_of_moments(current: Moments, target: LayerTarget, *, centred: bool) -> tuple[tf.Tensor, Moments]:
    """`layer_loss` of moments in place of features, and the differences of matrix and mean from the target.

    Args:
        current: Moments of each image or region; means of any size unless `centred`.
        target: As in `layer_loss`.
        centred: As in `layer_loss`.
    """
    matrix_factor, mean_factor = tf.unstack(target.factors, 2, axis=1)
    difference = (current.covariance() if centred else current.gram) - target.matrix
    loss = matrix_factor * mean_square(difference)
    if not centred:
        return loss, Moments(difference, current.mean)
    mean_difference = current.mean - target.mean
    return loss + mean_factor * mean_square(mean_difference), Moments(difference, mean_difference)


@functools.cache
def _functions(
    dtype: str, centred: bool
) -> tuple[Callable[..., tuple[tf.Tensor, Moments, tf.Tensor]], Callable[..., tf.Tensor]]:
    """The loss, with the differences and the mean that its gradient needs, and the gradient by the features.

    One function each, for any shape, keeps the graph small; a server reads a graph again for each call in it.
    """

    def forward(features: tf.Tensor, regions: tf.Tensor, target: LayerTarget) -> tuple[tf.Tensor, Moments, tf.Tensor]:
        current = moments_within(features, regions, with_mean=centred)
        loss, difference = loss_of_moments(current, target, centred=centred)
        return loss, difference, current.mean

    def backward(
        features: tf.Tensor,
        regions: tf.Tensor,
        factors: tf.Tensor,
        difference: Moments,
        mean: tf.Tensor,
        upstream: tf.Tensor,
    ) -> tf.Tensor:
        matrix_factor, mean_factor = tf.unstack(upstream[:, None] * factors, 2, axis=1)
        by_gram = _gradient_of_mean_square(difference.gram, matrix_factor)
        if not centred:
            return moments_gradient(features, regions, Moments(by_gram, mean), with_mean=False)
        # The covariance is the Gram matrix minus the product of the means.
        by_mean = _gradient_of_mean_square(difference.mean, mean_factor) - 2.0 * tf.linalg.matvec(by_gram, mean)
        return moments_gradient(features, regions, Moments(by_gram, by_mean), with_mean=True)

    images, wide = tf.TensorSpec([None] * 4, dtype), sum_dtype(dtype)
    regions, matrix, mean = (tf.TensorSpec([None] * rank, wide) for rank in (3, 3, 2))
    factors, loss = tf.TensorSpec([None, 2], wide), tf.TensorSpec([None], wide)
    return (
        noinline(forward, [images, regions, LayerTarget(matrix, mean, factors)]),
        noinline(backward, [images, regions, factors, Moments(matrix, mean), mean, loss]),
    )


def _gradient_of_mean_square(difference: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Gradient of `factor * mean_square(difference)` by the difference, `[styles, ...]` float32.

    The order of the products is that of TensorFlow's own gradient, so that the last bits equal the tutorial's.
    """
    values = tf.cast(tf.reduce_prod(tf.shape(difference)[1:]), difference.dtype)
    return tf.reshape(factor / values, [-1, *[1] * (len(difference.shape) - 1)]) * (2.0 * difference)
