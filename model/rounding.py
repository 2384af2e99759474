"""Images as 8-bit integers, with a scale for each row of pixels: a quarter of the bytes, for what may be rough."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import tensorflow as tf

_EXPONENT_BITS: Final = 0x7F800000
_SMALLEST: Final = 1e-30


class Rounded(NamedTuple):
    """Images whose numbers are whole multiples of a level, which is that of their row.

    Attributes:
        numbers: `[..., height, width, channels]` int8.
        level: `[..., height, 1, 1]` float32, each a power of two.
    """

    numbers: tf.Tensor
    level: tf.Tensor

    @classmethod
    def zeros(cls, shape: tf.Tensor) -> Rounded:
        """Zeros; `shape` is that of the images."""
        return cls(tf.zeros(shape, tf.int8), tf.zeros(tf.concat([shape[:-2], [1, 1]], axis=0)))

    @classmethod
    def of(cls, x: tf.Tensor) -> Rounded:
        """`x`, float32, each number wrong by half a level at most, or by a whole one at 128 levels.

        Rounding again what was rounded gives the same, to the last bit.
        """
        largest = tf.maximum(tf.reduce_max(x, [-2, -1], keepdims=True), -tf.reduce_min(x, [-2, -1], keepdims=True))
        bits = tf.bitcast(tf.maximum(largest, _SMALLEST), tf.int32)
        # Without its fraction a float is the power of two below it; the largest number of a row has from 64 to 127
        # levels.
        level = tf.bitcast(tf.bitwise.bitwise_and(bits, _EXPONENT_BITS), tf.float32) / 64.0
        numbers = tf.clip_by_value(tf.round(x * tf.math.reciprocal(level)), -127.0, 127.0)
        return cls(tf.cast(numbers, tf.int8), level)

    def exact(self, which: Any = ...) -> tf.Tensor:  # noqa: ANN401 - as in brackets behind a tensor
        """What it stands for, or some of it, float32."""
        return tf.cast(self.numbers[which], tf.float32) * self.level[which]
