"""Moments of features over positions, Gram matrices and means, for whole images or weighted regions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from ..noinline import noinline


class Moments(NamedTuple):
    """Moments of the channels of a layer over positions.

    Attributes:
        gram: Second moments, the Gram matrices, `[images or regions, channels, channels]` float32.
        mean: First moments, `[images or regions, channels]` float32.
    """

    gram: tf.Tensor
    mean: tf.Tensor

    def covariance(self) -> tf.Tensor:
        """Covariance of the channels, `[images or regions, channels, channels]` float32."""
        return self.gram - self.mean[:, :, None] * self.mean[:, None, :]


def gram_matrix(features: tf.Tensor) -> tf.Tensor:
    """Gram matrices of the channels: G_cd = sum_ij F_ijc F_ijd / (height x width).

    Equation 3 of Gatys et al. (2015, https://arxiv.org/abs/1508.06576), divided by the number of positions as in
    TensorFlow's tutorial, so that it does not grow with the image.

    Args:
        features: `[batch, height, width, channels]`, any floating dtype.

    Returns:
        `[batch, channels, channels]` float32, symmetric and positive semidefinite.
    """
    return _moments_of_rows(wide(_rows(features)), with_mean=False).gram


def moments(features: tf.Tensor, regions: tf.Tensor | None) -> Moments:
    """Moments of features, of each image or of each region.

    Guided Gram matrices weight each position by its region (Gatys et al., 2017, https://arxiv.org/abs/1611.07865,
    section 4).

    Args:
        features: `[batch, height, width, channels]`, any floating dtype; batch 1 with regions.
        regions: Weights of the positions, `[regions, height, width]` float32, sum 1 in each region. With 0 regions, or
            None, all positions have the same weight.
    """
    channels = features.shape[-1]
    if regions is None:
        return _moments_of_rows(wide(_rows(features)), with_mean=True)
    gram, mean = _moments_function(features.dtype.name)(features, regions)
    return Moments(tf.ensure_shape(gram, [None, channels, channels]), tf.ensure_shape(mean, [None, channels]))


@functools.cache
def _moments_function(dtype: str) -> Callable[[tf.Tensor, tf.Tensor], Moments]:
    """`moments_within` as one function for any shape, which keeps the graph small."""
    images, regions = tf.TensorSpec([None] * 4, dtype), tf.TensorSpec([None] * 3, sum_dtype(dtype))
    return noinline(functools.partial(moments_within, with_mean=True), [images, regions])


@functools.cache
def moments_gradient_function(dtype: str, *, with_mean: bool) -> Callable[[tf.Tensor, tf.Tensor, Moments], tf.Tensor]:
    """`moments_gradient` as one function for any shape."""
    images = tf.TensorSpec([None] * 4, dtype)
    regions, gram, mean = (tf.TensorSpec([None] * rank, sum_dtype(dtype)) for rank in (3, 3, 2))
    function = functools.partial(moments_gradient, with_mean=with_mean)
    return noinline(function, [images, regions, Moments(gram, mean)])


def moments_within(features: tf.Tensor, regions: tf.Tensor, *, with_mean: bool) -> Moments:
    """`moments` inside the graph of the caller; `with_mean` False gives means of 0 channels."""
    rows, flat = wide(_rows(features)), _rows(regions)

    def of_region(region: tf.Tensor) -> Moments:
        weighted = rows[0] * region[:, None]
        mean = tf.reduce_sum(weighted, axis=0) if with_mean else tf.zeros([0], rows.dtype)
        return Moments(tf.matmul(weighted, rows[0], transpose_a=True), mean)

    def guided() -> Moments:
        specs = Moments(tf.TensorSpec([None, None], rows.dtype), tf.TensorSpec([None], rows.dtype))
        return tf.map_fn(of_region, flat, fn_output_signature=specs, parallel_iterations=1)

    return tf.cond(tf.shape(flat)[0] == 0, lambda: _moments_of_rows(rows, with_mean=with_mean), guided)


def _moments_of_rows(rows: tf.Tensor, *, with_mean: bool) -> Moments:
    """Moments of `[batch, positions, channels]` float32, all positions with the same weight."""
    mean = tf.reduce_mean(rows, axis=1) if with_mean else tf.zeros([tf.shape(rows)[0], 0], rows.dtype)
    return Moments(tf.matmul(rows, rows, transpose_a=True) / tf.cast(tf.shape(rows)[1], rows.dtype), mean)


def moments_gradient(features: tf.Tensor, regions: tf.Tensor, gradient: Moments, *, with_mean: bool) -> tf.Tensor:
    """Gradient by the features of a function of their `moments`.

    Both factors of a Gram matrix are the features, so the gradient is one product, in the precision of the features.
    Automatic differentiation makes two products of float32 copies.

    Args:
        features: `[batch, height, width, channels]`, any floating dtype; batch 1 with regions.
        regions: The regions of `moments`.
        gradient: Gradient by the moments; that by the Gram matrix is symmetric.
        with_mean: Whether the function depends on the mean.

    Returns:
        Shape and dtype of the features.
    """
    rows, flat = _rows(features), _rows(regions)

    def product(rows: tf.Tensor, gram: tf.Tensor, mean: tf.Tensor) -> tf.Tensor:
        rows = tf.matmul(rows, tf.cast(2.0 * gram, rows.dtype))
        return rows + tf.cast(mean, rows.dtype)[..., None, :] if with_mean else rows

    def plain() -> tf.Tensor:
        positions = tf.cast(tf.shape(rows)[1], gradient.gram.dtype)
        return product(rows, gradient.gram / positions, gradient.mean / positions)

    def guided() -> tf.Tensor:
        def add(i: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            of_region = product(rows[0], gradient.gram[i], gradient.mean[i])
            return i + 1, total + of_region * tf.cast(flat[i], rows.dtype)[:, None]

        def is_left(i: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
            return i < tf.shape(flat)[0]

        _, total = tf.while_loop(is_left, add, (tf.constant(0), tf.zeros_like(rows[0])), parallel_iterations=1)
        return total[None]

    return tf.reshape(tf.cond(tf.shape(flat)[0] == 0, plain, guided), tf.shape(features))


def _rows(x: tf.Tensor) -> tf.Tensor:
    """`[n, height, width, ...]` as `[n, height x width, ...]`."""
    # This reshape hides from TensorFlow's graph rewriting that there are 0 regions. Otherwise it removes one branch of
    # the condition, and cannot order the remaining nodes of the loop in it.
    shape = tf.shape(x)
    return tf.reshape(x, tf.concat([[-1, shape[1] * shape[2]], shape[3:]], axis=0))


def sum_dtype(dtype: str) -> tf.DType:
    """Dtype of sums over values of a dtype: float32 for bfloat16, and otherwise the same."""
    return tf.float64 if dtype == "float64" else tf.float32


def wide(x: tf.Tensor) -> tf.Tensor:
    """`x` in the dtype of its sums."""
    return tf.cast(x, sum_dtype(x.dtype.name))


def mean_square(x: tf.Tensor) -> tf.Tensor:
    """Mean of squares over all but the first dimension, `[batch, ...]` to `[batch]`."""
    return tf.reduce_mean(tf.square(x), axis=list(range(1, len(x.shape))))


def value_count(x: tf.Tensor) -> tf.Tensor:
    """Number of values of an example of `[batch, ...]`, a scalar of the dtype of `x`."""
    return tf.cast(tf.reduce_prod(tf.shape(x)[1:]), x.dtype)


def one_where_zero(scale: tf.Tensor) -> tf.Tensor:
    """`scale`, 0 or more, with 1 in place of 0, for layers whose features are all 0."""
    return tf.where(scale > 0.0, scale, tf.ones_like(scale))
