"""Images with the pixels of their edges repeated, in place of zeros beside them."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from .interruptible import uninlined


def with_edges(x: tf.Tensor) -> tf.Tensor:
    """`x` with its first and last rows and columns repeated: `[batch, height + 2, width + 2, channels]`."""
    forward, backward = _EDGES[x.dtype.name]

    @tf.custom_gradient
    def call(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        channels = x.shape[-1]

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return tf.ensure_shape(backward(upstream), x.shape)

        return tf.ensure_shape(forward(x), [None, None, None, channels]), gradient

    return call(x)


def _repeated(x: tf.Tensor) -> tf.Tensor:
    x = tf.concat([x[:, :, :1], x, x[:, :, -1:]], axis=2)
    return tf.concat([x[:, :1], x, x[:, -1:]], axis=1)


def _repeated_gradient(upstream: tf.Tensor) -> tf.Tensor:
    x = with_added(upstream[:, 1:-1], upstream[:, :1], upstream[:, -1:], axis=1)
    return with_added(x[:, :, 1:-1], x[:, :, :1], x[:, :, -1:], axis=2)


def with_added(x: tf.Tensor, first: tf.Tensor, last: tf.Tensor, *, axis: int) -> tf.Tensor:
    """`x` with something added to its first and to its last slice along an axis, which may be the same one."""
    size = tf.shape(x)[axis]

    def padded(part: tf.Tensor, before: tf.Tensor, after: tf.Tensor) -> tf.Tensor:
        return tf.pad(part, [[before, after] if i == axis else [0, 0] for i in range(4)])

    return x + padded(first, tf.constant(0), size - 1) + padded(last, size - 1, tf.constant(0))


def _edge_functions(dtype: str) -> tuple[Callable[[tf.Tensor], tf.Tensor], Callable[[tf.Tensor], tf.Tensor]]:
    images = [tf.TensorSpec([None] * 4, dtype)]
    return uninlined(_repeated, images), uninlined(_repeated_gradient, images)


_EDGES = {dtype: _edge_functions(dtype) for dtype in ("float32", "bfloat16")}
"""For any shape: one function a dtype keeps the graph small."""
