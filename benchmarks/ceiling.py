"""The convolutions alone: what a step cannot fall below with this library's kernels on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from styleserve.model import Precision
from styleserve.model.architecture import layers_up_to

from .timing import seconds


def convolutions(side: int, layers: Sequence[str], precision: Precision) -> Callable[[], float]:
    """A function that runs every convolution of a step once and returns the seconds.

    Those of a step are, for each layer up to the last one named, the convolution itself and its gradient with respect
    to its input. (The kernels are constant: theirs is not needed.)

    Args:
        side: of the square image, in pixels.
        layers: that the losses look at.
        precision: of images and kernels.
    """
    dtype = tf.as_dtype(precision)
    # Layers of the same shape share their numbers, so that memory holds a few of them and not all.
    made: dict[tuple[int, ...], tf.Tensor] = {}

    def numbers(*shape: int) -> tf.Tensor:
        if shape not in made:
            made[shape] = tf.cast(tf.random.stateless_normal(shape, seed=[0, len(made)]), dtype)
        return made[shape]

    stack: list[tuple[tf.Tensor, tf.Tensor, tf.Tensor]] = []
    for layer in layers_up_to(layers):
        side = side // 2 if layer.pool else side
        stack.append(
            (
                numbers(1, side, side, layer.in_channels),
                numbers(*layer.kernel_shape),
                numbers(1, side, side, layer.out_channels),
            )
        )

    def run() -> None:
        back = tf.zeros([])
        for image, kernel, gradient in stack:
            tf.nn.conv2d(image, kernel, strides=1, padding="SAME")
            back = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=image.shape, filter=kernel, out_backprop=gradient, strides=[1, 1, 1, 1], padding="SAME"
            )
        back[0, 0, 0, 0].numpy()  # waits for a GPU, which works in order

    return lambda: seconds(run)
