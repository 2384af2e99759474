"""The curvature pairs of L-BFGS: a ring of quantised images, in which a new pair takes the place of the oldest one.

The places are elements of TensorFlow's lists, which hold references: a new pair copies no other, and places without a
pair take no memory. `tf.tensor_scatter_nd_update` copies the whole ring each time, also inside a loop.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import tensorflow as tf

from .quantized import Quantized, word_count

HISTORY: Final = 10
"""Pairs of steps and gradient differences in the memory."""

_PLACES: Final = HISTORY + 1
"""One place is free, so that a pair can be written before it is known to be kept."""


class PairRing(NamedTuple):
    """Pairs of images of each example of a batch.

    Attributes:
        words: List of the pairs, `[2, words]` int64 each; all examples of one place follow each other.
        scales: List of their scales, `[2, height, 1, 1]` float32 each.
        newest: Place of the newest pair, `[batch]` int32; older ones follow it.
    """

    words: tf.Tensor
    scales: tf.Tensor
    newest: tf.Tensor

    @classmethod
    def empty(cls, shape: tf.Tensor) -> PairRing:
        """A ring without pairs; `shape` is that of its images, `[batch, height, width, channels]` int32."""
        count = _PLACES * shape[0]
        words = tf.stack([2, word_count(tf.reduce_prod(shape[1:]))])
        scales = tf.stack([2, shape[1], 1, 1])
        return cls(
            tf.raw_ops.TensorListReserve(element_shape=words, num_elements=count, element_dtype=tf.int64),
            tf.raw_ops.TensorListReserve(element_shape=scales, num_elements=count, element_dtype=tf.float32),
            tf.zeros([shape[0]], tf.int32),
        )

    @classmethod
    def unpacked(cls, words: tf.Tensor, scales: tf.Tensor, shape: tf.Tensor) -> PairRing:
        """The ring of one example with pairs that `packed` returned; `shape` is that of its images."""
        ring = cls.empty(shape)
        places = tf.range(tf.shape(words)[0])
        return ring._replace(
            words=_written(ring.words, places, words),
            scales=_written(ring.scales, places, scales),
        )

    def packed(self, count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The newest pairs of the only example, newest first: `[count, 2, words]` int64 and their scales."""
        return self._at((self.newest + tf.range(count)) % _PLACES)

    def pair(self, age: tf.Tensor, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The pair of an age, 0 for the newest, shape and dtype of `image`; zeros if there is none."""
        words, scales = self._at(self._indices(self.newest + age))
        s, y = (Quantized(words[:, i], scales[:, i]).dequantized(image) for i in range(2))
        return s, y

    def with_pair(self, s: Quantized, y: Quantized, where: tf.Tensor) -> PairRing:
        """The ring with one more pair of the examples in `where`, `[batch]` bool, in place of their oldest."""
        free = (self.newest - 1) % _PLACES
        indices = self._indices(free)
        return self._replace(
            words=_written(self.words, indices, tf.stack([s.words, y.words], axis=1)),
            scales=_written(self.scales, indices, tf.stack([s.scale, y.scale], axis=1)),
            newest=tf.where(where, free, self.newest),
        )

    def _indices(self, places: tf.Tensor) -> tf.Tensor:
        """Elements of the lists at one place of each example, `[batch]` int32."""
        batch = tf.size(self.newest)
        return places % _PLACES * batch + tf.range(batch)

    def _at(self, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Pairs and scales at these elements, `[indices, 2, words]` int64 and `[indices, 2, height, 1, 1]` float32."""
        return _read(self.words, indices, [2, None], tf.int64), _read(self.scales, indices, [2, None, 1, 1], tf.float32)


def _read(elements: tf.Tensor, indices: tf.Tensor, shape: list[int | None], dtype: tf.DType) -> tf.Tensor:
    """Elements of a list, `[indices, *shape]`."""
    sizes = [-1 if size is None else size for size in shape]
    read = tf.raw_ops.TensorListGather(input_handle=elements, indices=indices, element_shape=sizes, element_dtype=dtype)
    return tf.ensure_shape(read, [None, *shape])


def _written(elements: tf.Tensor, indices: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """The list with `values[i]` at `indices[i]`."""
    return tf.raw_ops.TensorListScatterIntoExistingList(input_handle=elements, tensor=values, indices=indices)
