"""Convolutions of large images in tiles of whole rows, so that a server can cancel a run between two tiles.

In float32, one convolution of 1024 x 1024 pixels takes two CPU cores 0.8 s.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import tensorflow as tf

from ..noinline import noinline
from .edge_padding import added_to_ends

Border = Literal["zeros", "edge"]
"""Values beside the image: zeros, or its edge pixels repeated."""

_ALL = slice(None)
_EDGES: Final = (
    ((_ALL, slice(1)), [2, 0], [2, 2]),
    ((_ALL, slice(-1, None)), [0, 2], [2, 2]),
    ((_ALL, _ALL, slice(1)), [1, 1], [2, 0]),
    ((_ALL, _ALL, slice(-1, None)), [1, 1], [0, 2]),
)
"""First row and last row (both with corners), first column and last column: the index of the edge, and the zero padding
in rows and in columns with which its convolution is the gradient beside that edge."""

MAX_UNTILED_PIXELS: Final = 512 * 512
"""Most pixels of a batch whose convolutions are not tiled. Small batches are faster without tiles."""

TILE_MULTIPLICATIONS: Final = 5 * 10**9
"""Multiplications of a tile: half of the largest convolution of 512 x 512 pixels, 0.08 s in float32."""


def tiled_if_large(function: Callable[..., Any], input_signature: list[Any], *, max_side: int) -> Callable[..., Any]:
    """`function` with its argument `tiled` set by the number of pixels of its first tensor and by the device.

    Args:
        function: Takes tensors, the images `[batch, height, width, channels]` first, and the keyword `tiled`.
        input_signature: `tf.TensorSpec` of each tensor.
        max_side: Longest side of an image, in pixels. If no image can be large, there is no condition in the graph: one
            costs each signature a second at a server's start.
    """

    def whole(*tensors: Any) -> Any:  # noqa: ANN401 - structures of tensors
        return function(*tensors, tiled=False)

    def tiled(*tensors: Any) -> Any:  # noqa: ANN401
        return function(*tensors, tiled=True)

    call_whole, call_tiled = (noinline(each, input_signature) for each in (whole, tiled))

    def call(*tensors: Any) -> Any:  # noqa: ANN401
        on_cpu = tf.raw_ops.DeviceIndex(device_names=["CPU"]) == 0  # a GPU needs milliseconds for the whole image
        pixels = tf.reduce_prod(tf.cast(tf.shape(tensors[0])[:3], tf.int64))
        return tf.cond(
            on_cpu & (pixels > MAX_UNTILED_PIXELS), lambda: call_tiled(*tensors), lambda: call_whole(*tensors)
        )

    return call if max_side**2 > MAX_UNTILED_PIXELS else call_whole


def tiled_convolution(
    x: tf.Tensor,
    kernel: tf.Tensor,
    bias: tf.Tensor,
    *,
    border: Border = "zeros",
    tile_multiplications: int = TILE_MULTIPLICATIONS,
) -> tf.Tensor:
    """`relu(x * kernel + bias)`, tile by tile; differentiable by `x` alone.

    Args:
        x: `[batch, height, width, in_channels]`, float32 or bfloat16.
        kernel: `[3, 3, in_channels, out_channels]`, the dtype of `x`.
        bias: `[out_channels]`, the dtype of `x`.
        border: Values beside the image.
        tile_multiplications: Most multiplications of a tile of more than one row.

    Returns:
        `[batch, height, width, out_channels]`, the dtype of `x`, 0 or more.
    """
    forward, backward = _functions(x.dtype.name, border, tile_multiplications)

    @tf.custom_gradient
    def call(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        y = tf.ensure_shape(forward(x, kernel, bias), [*x.shape[:-1], kernel.shape[-1]])

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return tf.ensure_shape(backward(upstream, y, kernel), x.shape)

        return y, gradient

    return call(x)


@functools.cache
def _functions(
    dtype: str, border: Border, tile_multiplications: int
) -> tuple[Callable[..., tf.Tensor], Callable[..., tf.Tensor]]:
    """The operation and its gradient, one function each for any shape, which keeps the graph small."""

    def forward(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        def rectified(sums: tf.Tensor) -> tf.Tensor:
            return tf.nn.relu(tf.nn.bias_add(sums, bias))

        return _in_tiles([x], tf.identity, kernel, rectified, border, tile_multiplications)

    def backward(upstream: tf.Tensor, y: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        def through_rectifier(upstream: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
            return tf.raw_ops.ReluGrad(gradients=upstream, features=y)

        # The gradient is a convolution with the kernel turned by 180 degrees, its channels in and out exchanged.
        turned = tf.transpose(kernel[::-1, ::-1], [0, 1, 3, 2])
        gradient = _in_tiles([upstream, y], through_rectifier, turned, tf.identity, "zeros", tile_multiplications)
        if border == "zeros":
            return gradient
        # The copy of an edge pixel beside the image has a gradient, too, which belongs to the pixel.
        ring = [
            tf.nn.conv2d(
                tf.pad(through_rectifier(upstream[edge], y[edge]), [[0, 0], rows, columns, [0, 0]]),
                turned,
                strides=1,
                padding="VALID",
            )
            for edge, rows, columns in _EDGES
        ]
        first, last = (added_to_ends(row[:, :, 1:-1], row[:, :, :1], row[:, :, -1:], axis=2) for row in ring[:2])
        return added_to_ends(added_to_ends(gradient, first, last, axis=1), *ring[2:], axis=2)

    images, biases = tf.TensorSpec([None] * 4, dtype), tf.TensorSpec([None], dtype)
    return noinline(forward, [images, images, biases]), noinline(backward, [images, images, images])


def _in_tiles(
    images: Sequence[tf.Tensor],
    before: Callable[..., tf.Tensor],
    kernel: tf.Tensor,
    after: Callable[[tf.Tensor], tf.Tensor],
    border: Border,
    tile_multiplications: int,
) -> tf.Tensor:
    """`after(before(*images) * kernel)`, `[batch, height, width, out_channels]`; both functions are pointwise."""
    batch, height, width, _ = tf.unstack(tf.shape(images[0]))
    row_multiplications = tf.cast(width, tf.int64) * tf.size(kernel, tf.int64)
    rows = tf.cast(tf.maximum(tile_multiplications // row_multiplications, 1), tf.int32)
    tiles = (height + rows - 1) // rows  # of each example
    # Slices along the first axis copy nothing.
    flat = [tf.reshape(image, tf.concat([[batch * height], tf.shape(image)[2:]], axis=0)) for image in images]

    def is_left(number: tf.Tensor, _: tf.TensorArray) -> tf.Tensor:
        return number < batch * tiles

    def step(number: tf.Tensor, done: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        first = number % tiles * rows
        last = tf.minimum(first + rows, height)
        above, below = tf.minimum(first, 1), tf.minimum(height - last, 1)  # rows beside the tile, inside the image
        start = number // tiles * height
        tile = before(*(image[start + first - above : start + last + below] for image in flat))
        tile = tf.pad(tile, [[1 - above, 1 - below], [1, 1], [0, 0]], "CONSTANT" if border == "zeros" else "SYMMETRIC")
        sums = tf.nn.conv2d(tile[None], kernel, strides=1, padding="VALID")
        return number + 1, done.write(number, after(sums)[0])

    done = tf.TensorArray(images[0].dtype, batch * tiles, infer_shape=False, element_shape=[None, None, None])
    _, done = tf.while_loop(is_left, step, (tf.constant(0), done), parallel_iterations=1)
    return tf.reshape(done.concat(), [batch, height, width, tf.shape(kernel)[-1]])
