"""VGG-19's convolutions as a feature extractor (Simonyan and Zisserman, 2014, https://arxiv.org/abs/1409.1556)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import tensorflow as tf

from .architecture import IMAGENET_BGR_MEANS, layers_up_to
from .bands import Border, rectified_convolution
from .edges import with_edges
from .interruptible import interruptible
from .weights import Weights

Precision = Literal["float32", "bfloat16"]


class Vgg19(tf.Module):
    """The network up to the last layer that is asked for.

    Args:
        weights: kernels and biases; layers beyond the last one asked for are not kept.
        layers: names of the layers to return.
        precision: dtype of the convolutions. The image comes in and the features go out of a bfloat16 extractor as
            float32 and bfloat16 respectively: half the memory traffic, and matrix units where the machine has them.

    Raises:
        ValueError: an unknown layer, or one that `weights` does not have.
    """

    def __init__(self, weights: Weights, layers: Sequence[str], *, precision: Precision = "float32") -> None:
        super().__init__(name="vgg19")
        self.layers = tuple(layers)
        self._stack = layers_up_to(layers)
        self._dtype = tf.as_dtype(precision)
        weights.require([layer.name for layer in self._stack])
        self._kernels: dict[str, tf.Variable] = {}
        self._biases: dict[str, tf.Variable] = {}
        for layer in self._stack:
            kernel, bias = weights.layers[layer.name]
            self._kernels[layer.name] = self._constant(kernel, f"{layer.name}/kernel")
            self._biases[layer.name] = self._constant(bias, f"{layer.name}/bias")

    def _constant(self, value: object, name: str) -> tf.Variable:
        # Variables, never written: they are saved beside the graph rather than inside it.
        return tf.Variable(tf.cast(value, self._dtype), trainable=False, name=name)

    def __call__(
        self, image: tf.Tensor, layers: Sequence[str] | None = None, *, border: Border = "zeros", banded: bool = False
    ) -> Mapping[str, tf.Tensor]:
        """The features of some layers.

        Args:
            image: `[batch, height, width, 3]` float32 RGB in [0, 1].
            layers: Names of the layers to return; all that were asked for if None.
            border: Values beside the image: zeros, as the network was trained with, or the pixels of the edge again.
                Zeros leave a coloured rim where an image is optimised.
            banded: Whether to convolve band by band, for the same features to rounding.

        Returns:
            `[batch, height / 2^k, width / 2^k, channels]` per layer, rectified, in the extractor's precision; k is
            the number of poolings before the layer, sizes are rounded down.
        """
        layers = self.layers if layers is None else layers
        x = tf.reverse(image * 255.0, axis=[-1]) - tf.constant(IMAGENET_BGR_MEANS)
        x = tf.cast(x, self._dtype)
        features: dict[str, tf.Tensor] = {}
        for layer in layers_up_to(layers):
            if layer.pool:
                x = tf.nn.max_pool2d(x, ksize=2, strides=2, padding="VALID")
            kernel, bias = (tf.convert_to_tensor(own[layer.name]) for own in (self._kernels, self._biases))
            if banded:
                x = rectified_convolution(x, kernel, bias, border=border)
            else:
                x = with_edges(x) if border == "edge" else x
                x = tf.nn.conv2d(x, kernel, strides=1, padding="VALID" if border == "edge" else "SAME")
                x = interruptible(tf.nn.relu(tf.nn.bias_add(x, bias)))
            if layer.name in layers:
                features[layer.name] = x
        return features
