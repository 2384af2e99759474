"""VGG-19's rectified convolution, in pieces between which a server can stop the step.

TensorFlow looks for a cancelled step, or one past its deadline, at the head of each loop iteration and whenever it is
about to call a function, and nowhere else. An iteration of the optimiser is a whole pass through the network and back:
over a second at 512 pixels on a CPU, six at 1024, all of it computed for nobody. So each convolution is a call, on the
way there and on the way back; and inside it, on a CPU, a large one is a loop over bands of rows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Final

import tensorflow as tf

from .uninlined import uninlined

PIECE: Final = 5 * 10**9
"""Multiplications of a piece. Two cores of a CPU take 0.08 s for them in float32, and half of that in bfloat16.

What is no larger than two pieces stays whole, as are all convolutions of one image of 512 x 512 pixels: to cut it, and
to put it together again, takes a twentieth of its time.
"""


def rectified_convolution(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, *, piece: int = PIECE) -> tf.Tensor:
    """`relu(x * kernel + bias)`, with zeros around the image; `kernel` and `bias` are taken for constants.

    Args:
        x: `[batch, height, width, in_channels]`, float32 or bfloat16.
        kernel: `[3, 3, in_channels, out_channels]`, of the same dtype.
        bias: `[out_channels]`, of the same dtype.
        piece: multiplications between two points at which it can be stopped, on a CPU.

    Returns:
        `[batch, height, width, out_channels]`, of the same dtype.
    """
    forward, backward = _calls(x.dtype.name, piece)

    @tf.custom_gradient
    def call(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        y = tf.ensure_shape(forward(x, kernel, bias), [*x.shape[:-1], kernel.shape[-1]])

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return tf.ensure_shape(backward(upstream, y, kernel), x.shape)

        return y, gradient

    return call(x)


@functools.cache
def _calls(dtype: str, piece: int) -> tuple[Callable[..., tf.Tensor], Callable[..., tf.Tensor]]:
    """The operation and its gradient, for any shape: one function each keeps the graph small."""

    def forward(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        def rectified(sums: tf.Tensor) -> tf.Tensor:
            return tf.nn.relu(tf.nn.bias_add(sums, bias))

        return tf.cond(
            _is_large(x, kernel, piece),
            lambda: _in_bands([x], tf.identity, kernel, rectified, piece),
            lambda: rectified(tf.nn.conv2d(x, kernel, strides=1, padding="SAME")),
        )

    def backward(upstream: tf.Tensor, y: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        def through_rectifier(upstream: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
            return tf.raw_ops.ReluGrad(gradients=upstream, features=y)

        # Convolved with the kernel upside down, channels in and out exchanged, the sums are those of the gradient.
        turned = tf.transpose(kernel[::-1, ::-1], [0, 1, 3, 2])
        return tf.cond(
            _is_large(upstream, kernel, piece),
            lambda: _in_bands([upstream, y], through_rectifier, turned, tf.identity, piece),
            lambda: tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.concat([tf.shape(y)[:-1], tf.shape(kernel)[2:3]], axis=0),
                filter=kernel,
                out_backprop=through_rectifier(upstream, y),
                strides=[1, 1, 1, 1],
                padding="SAME",
            ),
        )

    images, numbers = tf.TensorSpec([None] * 4, dtype), tf.TensorSpec([None], dtype)
    return uninlined(forward, [images, images, numbers]), uninlined(backward, [images, images, images])


def _is_large(x: tf.Tensor, kernel: tf.Tensor, piece: int) -> tf.Tensor:
    on_cpu = tf.raw_ops.DeviceIndex(device_names=["CPU"]) == 0  # a GPU is done with the whole in milliseconds
    return on_cpu & (_multiplications(x, kernel) > 2 * piece)


def _multiplications(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    return tf.reduce_prod(tf.cast(tf.shape(x)[:-1], tf.int64)) * tf.size(kernel, tf.int64)


def _in_bands(
    images: Sequence[tf.Tensor],
    before: Callable[..., tf.Tensor],
    kernel: tf.Tensor,
    after: Callable[[tf.Tensor], tf.Tensor],
    piece: int,
) -> tf.Tensor:
    """`after(before(*images) * kernel)`, rows by rows; `before` and `after` look at each position alone."""
    batch, height, width, _ = tf.unstack(tf.shape(images[0]))
    rows = tf.cast(tf.maximum(piece // _multiplications(images[0][:1, :1], kernel), 1), tf.int32)
    bands = (height + rows - 1) // rows  # of each example
    # A cut along the first axis copies nothing.
    flat = [tf.reshape(image, tf.concat([[batch * height], tf.shape(image)[2:]], axis=0)) for image in images]

    def is_left(number: tf.Tensor, _: tf.TensorArray) -> tf.Tensor:
        return number < batch * bands

    def band(number: tf.Tensor, done: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        first = number % bands * rows
        last = tf.minimum(first + rows, height)
        above, below = tf.minimum(first, 1), tf.minimum(height - last, 1)  # rows beside the band, inside the image
        start = number // bands * height
        cut = before(*(image[start + first - above : start + last + below] for image in flat))
        cut = tf.pad(cut, [[1 - above, 1 - below], [1, 1], [0, 0]])
        sums = tf.nn.conv2d(cut[None], kernel, strides=1, padding="VALID")
        return number + 1, done.write(number, after(sums)[0])

    done = tf.TensorArray(images[0].dtype, batch * bands, infer_shape=False, element_shape=[None, None, None])
    _, done = tf.while_loop(is_left, band, (tf.constant(0), done), parallel_iterations=1)
    return tf.reshape(done.concat(), [batch, height, width, tf.shape(kernel)[-1]])
