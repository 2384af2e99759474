"""VGG-19's convolutions as a feature extractor (Simonyan and Zisserman, 2014, https://arxiv.org/abs/1409.1556)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import tensorflow as tf

from ..noinline import cancellation_point
from .architecture import IMAGENET_BGR_MEANS, layers_up_to
from .edge_padding import edge_padded
from .weights import Weights

Precision = Literal["float32", "bfloat16"]

Border = Literal["zeros", "edge"]
"""Values beside the image: zeros, or its edge pixels repeated."""


class Vgg19(tf.Module):
    """VGG-19 up to the deepest of some layers.

    Args:
        weights: Kernels and biases; those of deeper layers are not kept.
        layers: Names of the layers to return.
        precision: Dtype of the convolutions and of the features; images are float32. bfloat16 halves the memory traffic
            and uses the matrix units of the machine. float64, with float64 images, is for tests of exactness.

    Raises:
        ValueError: A layer is unknown, or `weights` does not have it.
    """

    def __init__(
        self, weights: Weights, layers: Sequence[str], *, precision: Precision | Literal["float64"] = "float32"
    ) -> None:
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
        # A variable is saved beside the graph rather than inside it; nothing assigns to it.
        return tf.Variable(tf.cast(value, self._dtype), trainable=False, name=name)

    def __call__(
        self, image: tf.Tensor, layers: Sequence[str] | None = None, *, border: Border = "zeros"
    ) -> Mapping[str, tf.Tensor]:
        """The features of some layers.

        Args:
            image: `[batch, height, width, 3]` float32 (or float64) RGB in [0, 1].
            layers: Names of the layers to return; None for those of the constructor.
            border: Values beside the image: zeros, as in training, or the edge pixels repeated. Zeros leave a coloured
                rim on an optimised image.

        Returns:
            `[batch, height / 2^k, width / 2^k, channels]` for each layer, 0 or more, in the network's precision; k is
            the number of poolings before the layer, and sizes are rounded down.
        """
        layers = self.layers if layers is None else layers
        x = tf.reverse(image * 255.0, axis=[-1]) - tf.constant(IMAGENET_BGR_MEANS, image.dtype)
        x = tf.cast(x, self._dtype)
        features: dict[str, tf.Tensor] = {}
        for layer in layers_up_to(layers):
            if layer.pool:
                x = tf.nn.max_pool2d(x, ksize=2, strides=2, padding="VALID")
            kernel, bias = (tf.convert_to_tensor(each[layer.name]) for each in (self._kernels, self._biases))
            x = edge_padded(x) if border == "edge" else x
            x = tf.nn.conv2d(x, kernel, strides=1, padding="VALID" if border == "edge" else "SAME")
            x = cancellation_point(tf.nn.relu(tf.nn.bias_add(x, bias)))
            if layer.name in layers:
                features[layer.name] = x
        return features
