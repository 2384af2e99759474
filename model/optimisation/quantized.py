"""Images quantised to 8 bits, with a scale for each row of pixels: a quarter of the bytes of float32."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import tensorflow as tf

_EXPONENT_BITS: Final = 0x7F800000
_SMALLEST: Final = 1e-30


class Quantized(NamedTuple):
    """Images whose values are integer multiples of the scale of their row.

    Attributes:
        integers: `[..., height, width, channels]` int8 in [-127, 127].
        scale: `[..., height, 1, 1]` float32, powers of two.
    """

    integers: tf.Tensor
    scale: tf.Tensor

    @classmethod
    def zeros(cls, shape: tf.Tensor) -> Quantized:
        """Images of zeros; `shape` is that of the images, int32."""
        return cls(tf.zeros(shape, tf.int8), tf.zeros(tf.concat([shape[:-2], [1, 1]], axis=0)))

    @classmethod
    def of(cls, x: tf.Tensor) -> Quantized:
        """Images quantised to the nearest multiple of their row's scale, at most 127 of them.

        Quantising the dequantised images again gives the same bits.

        Args:
            x: `[..., height, width, channels]` float32, any finite values.
        """
        largest = tf.maximum(tf.reduce_max(x, [-2, -1], keepdims=True), -tf.reduce_min(x, [-2, -1], keepdims=True))
        bits = tf.bitcast(tf.maximum(largest, _SMALLEST), tf.int32)
        # A float without its fraction is the power of two below it. So the largest value of a row is 64 to 127 scales.
        scale = tf.bitcast(tf.bitwise.bitwise_and(bits, _EXPONENT_BITS), tf.float32) / 64.0
        integers = tf.clip_by_value(tf.round(x * tf.math.reciprocal(scale)), -127.0, 127.0)
        return cls(tf.cast(integers, tf.int8), scale)

    def dequantized(self, index: Any = ...) -> tf.Tensor:  # noqa: ANN401 - as in brackets behind a tensor
        """The images, or those at `index`, `[..., height, width, channels]` float32."""
        return tf.cast(self.integers[index], tf.float32) * self.scale[index]
