"""Images as 8-bit integers, with a scale for each row of pixels: a quarter of the bytes, for what may be rough."""

from __future__ import annotations

from typing import Final

import tensorflow as tf

_EXPONENT_BITS: Final = 0x7F800000
_SMALLEST: Final = 1e-30


def quantise(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """`[..., height, width, channels]` float32 as int8, and the value of a level, `[..., height, 1, 1]` float32.

    A level is a power of two, so that quantising again what was quantised gives the same, to the last bit.
    """
    largest = tf.maximum(tf.reduce_max(x, [-2, -1], keepdims=True), -tf.reduce_min(x, [-2, -1], keepdims=True))
    bits = tf.bitcast(tf.maximum(largest, _SMALLEST), tf.int32)
    # Without its fraction a float is the power of two below it; the largest number of a row has from 64 to 127 levels.
    level = tf.bitcast(tf.bitwise.bitwise_and(bits, _EXPONENT_BITS), tf.float32) / 64.0
    numbers = tf.clip_by_value(tf.round(x * tf.math.reciprocal(level)), -127.0, 127.0)
    return tf.cast(numbers, tf.int8), level


def dequantise(numbers: tf.Tensor, level: tf.Tensor) -> tf.Tensor:
    """What `quantise` was given, each number wrong by half a level at most, or by a whole one at 128 levels."""
    return tf.cast(numbers, tf.float32) * level
