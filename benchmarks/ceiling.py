"""The convolutions alone: the lower bound of a step with TensorFlow's kernels on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from styleserve.model import Precision
from styleserve.model.network.architecture import layers_up_to

from .timing import seconds


def convolutions(side: int, layers: Sequence[str], precision: Precision) -> Callable[[], float]:
    """A function that runs every convolution of a step once and returns the seconds.

    A step has two convolutions for each layer up to the deepest of `layers`: the layer itself, and its gradient by its
    input. Kernels are constant, so their gradient is not needed.

    Args:
        side: Side of the square image, in pixels.
        layers: Layers of the losses.
        precision: Precision of images and kernels.
    """
    dtype = tf.as_dtype(precision)
    # Layers of the same shape share a tensor, to save memory.
    tensors: dict[tuple[int, ...], tf.Tensor] = {}

    def random(*shape: int) -> tf.Tensor:
        if shape not in tensors:
            tensors[shape] = tf.cast(tf.random.stateless_normal(shape, seed=[0, len(tensors)]), dtype)
        return tensors[shape]

    stack: list[tuple[tf.Tensor, tf.Tensor, tf.Tensor]] = []
    for layer in layers_up_to(layers):
        side = side // 2 if layer.pool else side
        stack.append(
            (
                random(1, side, side, layer.in_channels),
                random(*layer.kernel_shape),
                random(1, side, side, layer.out_channels),
            )
        )

    def run() -> None:
        back = tf.zeros([])
        for image, kernel, gradient in stack:
            tf.nn.conv2d(image, kernel, strides=1, padding="SAME")
            back = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=image.shape, filter=kernel, out_backprop=gradient, strides=[1, 1, 1, 1], padding="SAME"
            )
        back[0, 0, 0, 0].numpy()  # waits for a GPU, which runs operations in their order

    return lambda: seconds(run)
