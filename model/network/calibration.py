"""Random weights with the activation scale of trained ones: for tests, and for use without a network connection."""

from __future__ import annotations

from typing import Final

import numpy as np
import tensorflow as tf

from .architecture import CONV_LAYERS, IMAGENET_BGR_MEANS
from .weights import Array, LayerWeights, Weights

PUBLISHED_MEANS: Final = {
    "block1_conv1": 26.0,
    "block2_conv1": 134.0,
    "block3_conv1": 144.0,
    "block4_conv1": 530.0,
    "block5_conv1": 40.6,
    "block5_conv2": 13.8,
}
"""Mean activation of ImageNet weights on a photograph, from the layer statistics of TensorFlow's style-transfer
tutorial. Other layers are interpolated linearly in the logarithm."""


def random_weights(seed: int) -> Weights:
    """Normally distributed kernels, scaled to the mean activations of ImageNet weights, and biases of zero.

    With the same scale, loss weights have the same effect. The scale is measured on noise with the 1/f spectrum of
    natural images (Field, 1987).

    Args:
        seed: Seed, 0 or more; the same seed gives the same weights.

    Raises:
        ValueError: `seed` is negative.
    """
    if seed < 0:
        raise ValueError(f"seed is {seed}; it must be 0 or more")
    rng = np.random.default_rng(seed)
    positions = [i for i, layer in enumerate(CONV_LAYERS) if layer.name in PUBLISHED_MEANS]
    means = np.exp(np.interp(range(len(CONV_LAYERS)), positions, np.log(list(PUBLISHED_MEANS.values()))))
    x = tf.constant(_natural_noise(rng, side=128)[None, :, :, ::-1] * 255.0 - np.array(IMAGENET_BGR_MEANS, np.float32))
    layers: dict[str, LayerWeights] = {}
    for layer, mean in zip(CONV_LAYERS, means, strict=True):
        if layer.pool:
            x = tf.nn.max_pool2d(x, ksize=2, strides=2, padding="VALID")
        kernel = rng.standard_normal(layer.kernel_shape, np.float32)
        activation = tf.nn.relu(tf.nn.conv2d(x, kernel, strides=1, padding="SAME"))
        scale = np.float32(mean / float(tf.reduce_mean(activation)))
        # A rectified convolution without bias is homogeneous: a scaled kernel scales its features.
        layers[layer.name] = LayerWeights(kernel * scale, np.zeros(layer.out_channels, np.float32))
        x = activation * scale
    return Weights(layers, f"random (seed {seed})", "none needed: made from a seed")


def _natural_noise(rng: np.random.Generator, *, side: int) -> Array:
    """Coloured noise with a 1/f amplitude spectrum, `[side, side, 3]` float32 in [0, 1].

    The range spans two standard deviations on either side of grey; values outside are clipped.
    """
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None, :])
    frequency[0, 0] = np.inf
    spectrum = np.fft.fft2(rng.standard_normal((side, side, 3)), axes=(0, 1)) / frequency[..., None]
    noise = np.real(np.fft.ifft2(spectrum, axes=(0, 1)))
    return np.clip(0.5 + noise / (4 * noise.std()), 0.0, 1.0).astype(np.float32)
