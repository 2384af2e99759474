"""Colours of the result: those of the content, or of a style that was matched to the content's palette."""

from __future__ import annotations

from typing import Final

import tensorflow as tf

_LUMA: Final = (0.299, 0.587, 0.114)
"""ITU-R BT.601, as in the YCbCr of JPEG and in Gatys et al. (2016, https://arxiv.org/abs/1606.05897)."""

_LEAST_VARIANCE: Final = 1e-5


def luma(image: tf.Tensor) -> tf.Tensor:
    """Lightness of each pixel, `[..., 3]` to `[..., 1]`."""
    return tf.reduce_sum(image * tf.constant(_LUMA), axis=-1, keepdims=True)


def with_colours_of(image: tf.Tensor, content: tf.Tensor) -> tf.Tensor:
    """The luma of `image` with the chroma of `content`, both `[..., 3]` float32 in [0, 1].

    Chroma is the difference from luma, so adding one number to a pixel's three channels keeps it.
    """
    return tf.clip_by_value(content + luma(image) - luma(content), 0.0, 1.0)


def matched_to(style: tf.Tensor, content: tf.Tensor) -> tf.Tensor:
    """The style with mean and covariance of the content's colours (Gatys et al. 2016, section 5.1).

    Of the linear maps that match the covariance, the one that moves the colours least: the optimal transport between
    two Gaussians. A Cholesky factor would depend on the order of the channels.

    Args:
        style: `[1, height, width, 3]` float32 in [0, 1].
        content: Likewise, of any size.
    """
    own_mean, own = _colours(style)
    mean, wanted = _colours(content)
    root, inverse_root = _powers(own)
    middle, _ = _powers(root @ wanted @ root)
    transport = inverse_root @ middle @ inverse_root
    return tf.clip_by_value(tf.linalg.matmul(style - own_mean, transport) + mean, 0.0, 1.0)


def _colours(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean `[3]` and covariance `[3, 3]`."""
    pixels = tf.reshape(image, [-1, 3])
    mean = tf.reduce_mean(pixels, axis=0)
    centred = pixels - mean
    covariance = tf.matmul(centred, centred, transpose_a=True) / tf.cast(tf.shape(pixels)[0], tf.float32)
    return mean, covariance + _LEAST_VARIANCE * tf.eye(3)


def _powers(matrix: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Square root and inverse square root of a symmetric positive definite matrix."""
    values, vectors = tf.linalg.eigh(matrix)
    root = tf.sqrt(tf.maximum(values, 1e-12))
    return (vectors * root) @ tf.transpose(vectors), (vectors / root) @ tf.transpose(vectors)
