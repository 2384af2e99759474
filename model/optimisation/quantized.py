"""Images quantised to 8 bits, with a scale for each row of pixels: a quarter of the bytes of float32."""

from __future__ import annotations

from typing import Final, NamedTuple

import tensorflow as tf

_EXPONENT_BITS: Final = 0x7F800000
_SMALLEST: Final = 1e-30
_PER_WORD: Final = 8


class Quantized(NamedTuple):
    """Images whose values are integer multiples of the scale of their row.

    Attributes:
        words: The integers of each image, from -127 to 127, row after row, eight in each number, `[batch, words]`
            int64. The last one is filled up with zeros. On GPUs TensorFlow has no lists of numbers of 8 bits.
        scale: `[batch, height, 1, 1]` float32, powers of two.
    """

    words: tf.Tensor
    scale: tf.Tensor

    @classmethod
    def of(cls, x: tf.Tensor) -> Quantized:
        """Images quantised to the nearest multiple of their row's scale, at most 127 of them.

        Quantising the dequantised images again gives the same bits.

        Args:
            x: `[batch, height, width, channels]` float32, any finite values.
        """
        largest = tf.maximum(tf.reduce_max(x, [-2, -1], keepdims=True), -tf.reduce_min(x, [-2, -1], keepdims=True))
        bits = tf.bitcast(tf.maximum(largest, _SMALLEST), tf.int32)
        # A float without its fraction is the power of two below it. So the largest value of a row is 64 to 127 scales.
        scale = tf.bitcast(tf.bitwise.bitwise_and(bits, _EXPONENT_BITS), tf.float32) / 64.0
        integers = tf.cast(tf.clip_by_value(tf.round(x * tf.math.reciprocal(scale)), -127.0, 127.0), tf.int8)
        batch, numbers = tf.shape(x)[0], tf.reduce_prod(tf.shape(x)[1:])
        words = word_count(numbers)
        filled = tf.pad(tf.reshape(integers, [batch, numbers]), [[0, 0], [0, words * _PER_WORD - numbers]])
        return cls(tf.bitcast(tf.reshape(filled, [batch, words, _PER_WORD]), tf.int64), scale)

    def dequantized(self, image: tf.Tensor) -> tf.Tensor:
        """The images, shape and dtype of `image`, `[batch, height, width, channels]` float32."""
        shape = tf.shape(image)
        numbers = tf.reduce_prod(shape[1:])
        filled = tf.reshape(tf.bitcast(self.words, tf.int8), [shape[0], -1])
        integers = tf.ensure_shape(tf.reshape(filled[:, :numbers], shape), image.shape)
        return tf.cast(integers, tf.float32) * self.scale


def word_count(numbers: tf.Tensor) -> tf.Tensor:
    """Words that hold so many integers, int32 as the argument is."""
    return (numbers + _PER_WORD - 1) // _PER_WORD
