"""Colours of the result: the chroma of the content, or a style with the palette of the content."""

from __future__ import annotations

from typing import Final

import tensorflow as tf

_LUMA: Final = (0.299, 0.587, 0.114)
"""ITU-R BT.601, as in the YCbCr of JPEG and in Gatys et al. (2016, https://arxiv.org/abs/1606.05897)."""

_MIN_VARIANCE: Final = 1e-5
"""Variance added to each channel, so that the covariance of a flat picture has an inverse."""


def luma(image: tf.Tensor) -> tf.Tensor:
    """Luma of each pixel, `[..., 3]` float32 in [0, 1] to `[..., 1]` float32 in [0, 1]."""
    return tf.reduce_sum(image * tf.constant(_LUMA), axis=-1, keepdims=True)


def with_colours_of(image: tf.Tensor, content: tf.Tensor) -> tf.Tensor:
    """The luma of `image` with the chroma of `content`, `[..., 3]` float32 in [0, 1], as both arguments are.

    Chroma is the difference from luma, so a number added to all three channels of a pixel keeps it.
    """
    return tf.clip_by_value(content + luma(image) - luma(content), 0.0, 1.0)


def matched_to(style: tf.Tensor, content: tf.Tensor) -> tf.Tensor:
    """The style with mean and covariance of the content's colours (Gatys et al. 2016, section 5.1).

    The linear map is the optimal transport between two Gaussians: of all maps that match the covariance, it moves the
    colours least. A Cholesky factor would depend on the order of the channels.

    Args:
        style: `[1, height, width, 3]` float32 in [0, 1].
        content: `[1, height, width, 3]` float32 in [0, 1], of any size.

    Returns:
        Shape, dtype and range of the style.
    """
    style_mean, style_covariance = _colours(style)
    content_mean, content_covariance = _colours(content)
    root, inverse_root = _square_roots(style_covariance)
    middle, _ = _square_roots(root @ content_covariance @ root)
    transport = inverse_root @ middle @ inverse_root
    return tf.clip_by_value(tf.linalg.matmul(style - style_mean, transport) + content_mean, 0.0, 1.0)


def _colours(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean `[3]` and covariance `[3, 3]` of the pixels, float32."""
    pixels = tf.reshape(image, [-1, 3])
    mean = tf.reduce_mean(pixels, axis=0)
    centred = pixels - mean
    covariance = tf.matmul(centred, centred, transpose_a=True) / tf.cast(tf.shape(pixels)[0], tf.float32)
    return mean, covariance + _MIN_VARIANCE * tf.eye(3)


def _square_roots(matrix: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Square root and inverse square root of a symmetric positive definite matrix, `[3, 3]` float32 each."""
    values, vectors = tf.linalg.eigh(matrix)
    root = tf.sqrt(tf.maximum(values, 1e-12))
    return (vectors * root) @ tf.transpose(vectors), (vectors / root) @ tf.transpose(vectors)
