"""Edge padding: the border pixels of an image repeated, in place of zeros beside it."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from ..noinline import noinline


def edge_padded(x: tf.Tensor) -> tf.Tensor:
    """`x` with its first and last rows and columns repeated.

    Args:
        x: `[batch, height, width, channels]` float32, bfloat16 or float64.

    Returns:
        `[batch, height + 2, width + 2, channels]`, the dtype of `x`.
    """
    forward, backward = _PADDING[x.dtype.name]

    @tf.custom_gradient
    def call(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        channels = x.shape[-1]

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return tf.ensure_shape(backward(upstream), x.shape)

        return tf.ensure_shape(forward(x), [None, None, None, channels]), gradient

    return call(x)


def _padded(x: tf.Tensor) -> tf.Tensor:
    x = tf.concat([x[:, :, :1], x, x[:, :, -1:]], axis=2)
    return tf.concat([x[:, :1], x, x[:, -1:]], axis=1)


def _padded_gradient(upstream: tf.Tensor) -> tf.Tensor:
    x = _added_to_ends(upstream[:, 1:-1], upstream[:, :1], upstream[:, -1:], axis=1)
    return _added_to_ends(x[:, :, 1:-1], x[:, :, :1], x[:, :, -1:], axis=2)


def _added_to_ends(x: tf.Tensor, first: tf.Tensor, last: tf.Tensor, *, axis: int) -> tf.Tensor:
    """`x` plus `first` at its first and `last` at its last index along an axis, which may be the same index.

    Args:
        x: `[batch, height, width, channels]`.
        first: Shape and dtype of `x`, with size 1 along `axis`.
        last: Shape and dtype of `first`.
        axis: Axis of `x`.
    """
    size = tf.shape(x)[axis]

    def padded(part: tf.Tensor, before: tf.Tensor, after: tf.Tensor) -> tf.Tensor:
        return tf.pad(part, [[before, after] if i == axis else [0, 0] for i in range(4)])

    return x + padded(first, tf.constant(0), size - 1) + padded(last, size - 1, tf.constant(0))


def _padding_functions(dtype: str) -> tuple[Callable[[tf.Tensor], tf.Tensor], Callable[[tf.Tensor], tf.Tensor]]:
    images = [tf.TensorSpec([None] * 4, dtype)]
    return noinline(_padded, images), noinline(_padded_gradient, images)


_PADDING = {dtype: _padding_functions(dtype) for dtype in ("float32", "bfloat16", "float64")}
"""Padding and its gradient. One function for each dtype, for any shape, keeps the graph small."""
