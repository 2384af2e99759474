"""Convolutions of large images, band of rows by band of rows, so that a server can stop between them.

Of an image of 1024 x 1024 pixels, two cores of a CPU work on one convolution for 0.8 s in float32.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import tensorflow as tf

from .edges import with_added
from .interruptible import uninlined

Border = Literal["zeros", "edge"]

_ALL = slice(None)
_EDGES: Final = (
    ((_ALL, slice(1)), [2, 0], [2, 2]),
    ((_ALL, slice(-1, None)), [0, 2], [2, 2]),
    ((_ALL, _ALL, slice(1)), [1, 1], [2, 0]),
    ((_ALL, _ALL, slice(-1, None)), [1, 1], [0, 2]),
)
"""First and last row, with the corners, and first and last column: part of the image, zeros around rows and columns
whose convolution is the gradient beside the image there."""

LARGE: Final = 512 * 512
"""Positions of a batch from which on it is worked on in bands. Below, a step is that much faster without."""

BAND: Final = 5 * 10**9
"""Multiplications of a band's convolution: half of the largest one of 512 x 512 pixels, 0.08 s in float32."""


def by_size(function: Callable[..., Any], input_signature: list[Any], *, max_side: int) -> Callable[..., Any]:
    """`function`, told by its argument `banded` whether its images, the first of its tensors, are large.

    Args:
        function: of tensors and `banded`.
        input_signature: of the tensors.
        max_side: longest side of an image. If none is large, there is no choice: having one costs each signature a
            second at a server's start, although only the function that is taken is prepared.
    """

    def whole(*tensors: Any) -> Any:  # noqa: ANN401 - structures of tensors
        return function(*tensors, banded=False)

    def banded(*tensors: Any) -> Any:  # noqa: ANN401
        return function(*tensors, banded=True)

    call_whole, call_banded = (uninlined(each, input_signature) for each in (whole, banded))

    def call(*tensors: Any) -> Any:  # noqa: ANN401
        on_cpu = tf.raw_ops.DeviceIndex(device_names=["CPU"]) == 0  # a GPU is done with the whole in milliseconds
        positions = tf.reduce_prod(tf.cast(tf.shape(tensors[0])[:3], tf.int64))
        return tf.cond(on_cpu & (positions > LARGE), lambda: call_banded(*tensors), lambda: call_whole(*tensors))

    return call if max_side**2 > LARGE else call_whole


def rectified_convolution(
    x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, *, border: Border = "zeros", band: int = BAND
) -> tf.Tensor:
    """`relu(x * kernel + bias)`; `kernel` and `bias` are taken for constants.

    Args:
        x: `[batch, height, width, in_channels]`, float32 or bfloat16.
        kernel: `[3, 3, in_channels, out_channels]`, of the same dtype.
        bias: `[out_channels]`, of the same dtype.
        border: values beside the image: zeros, or the pixels of the edge again.
        band: most multiplications of a band, if it has more than one row.

    Returns:
        `[batch, height, width, out_channels]`, of the same dtype.
    """
    forward, backward = _calls(x.dtype.name, border, band)

    @tf.custom_gradient
    def call(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        y = tf.ensure_shape(forward(x, kernel, bias), [*x.shape[:-1], kernel.shape[-1]])

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return tf.ensure_shape(backward(upstream, y, kernel), x.shape)

        return y, gradient

    return call(x)


@functools.cache
def _calls(dtype: str, border: Border, band: int) -> tuple[Callable[..., tf.Tensor], Callable[..., tf.Tensor]]:
    """The operation and its gradient, for any shape: one function each keeps the graph small."""

    def forward(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        def rectified(sums: tf.Tensor) -> tf.Tensor:
            return tf.nn.relu(tf.nn.bias_add(sums, bias))

        return _in_bands([x], tf.identity, kernel, rectified, border, band)

    def backward(upstream: tf.Tensor, y: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        def through_rectifier(upstream: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
            return tf.raw_ops.ReluGrad(gradients=upstream, features=y)

        # Convolved with the kernel upside down, channels in and out exchanged, the sums are those of the gradient.
        turned = tf.transpose(kernel[::-1, ::-1], [0, 1, 3, 2])
        gradient = _in_bands([upstream, y], through_rectifier, turned, tf.identity, "zeros", band)
        if border == "zeros":
            return gradient
        # A pixel of the edge also stands beside the image, where it has the gradient of that place.
        ring = [
            tf.nn.conv2d(
                tf.pad(through_rectifier(upstream[part], y[part]), [[0, 0], rows, columns, [0, 0]]),
                turned,
                strides=1,
                padding="VALID",
            )
            for part, rows, columns in _EDGES
        ]
        first, last = (with_added(row[:, :, 1:-1], row[:, :, :1], row[:, :, -1:], axis=2) for row in ring[:2])
        return with_added(with_added(gradient, first, last, axis=1), *ring[2:], axis=2)

    images, numbers = tf.TensorSpec([None] * 4, dtype), tf.TensorSpec([None], dtype)
    return uninlined(forward, [images, images, numbers]), uninlined(backward, [images, images, images])


def _in_bands(
    images: Sequence[tf.Tensor],
    before: Callable[..., tf.Tensor],
    kernel: tf.Tensor,
    after: Callable[[tf.Tensor], tf.Tensor],
    border: Border,
    band: int,
) -> tf.Tensor:
    """`after(before(*images) * kernel)`; `before` and `after` look at each position alone."""
    batch, height, width, _ = tf.unstack(tf.shape(images[0]))
    a_row = tf.cast(width, tf.int64) * tf.size(kernel, tf.int64)
    rows = tf.cast(tf.maximum(band // a_row, 1), tf.int32)
    bands = (height + rows - 1) // rows  # of each example
    # A cut along the first axis copies nothing.
    flat = [tf.reshape(image, tf.concat([[batch * height], tf.shape(image)[2:]], axis=0)) for image in images]

    def is_left(number: tf.Tensor, _: tf.TensorArray) -> tf.Tensor:
        return number < batch * bands

    def step(number: tf.Tensor, done: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        first = number % bands * rows
        last = tf.minimum(first + rows, height)
        above, below = tf.minimum(first, 1), tf.minimum(height - last, 1)  # rows beside the band, inside the image
        start = number // bands * height
        cut = before(*(image[start + first - above : start + last + below] for image in flat))
        cut = tf.pad(cut, [[1 - above, 1 - below], [1, 1], [0, 0]], "CONSTANT" if border == "zeros" else "SYMMETRIC")
        sums = tf.nn.conv2d(cut[None], kernel, strides=1, padding="VALID")
        return number + 1, done.write(number, after(sums)[0])

    done = tf.TensorArray(images[0].dtype, batch * bands, infer_shape=False, element_shape=[None, None, None])
    _, done = tf.while_loop(is_left, step, (tf.constant(0), done), parallel_iterations=1)
    return tf.reshape(done.concat(), [batch, height, width, tf.shape(kernel)[-1]])
