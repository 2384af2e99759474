"""A run between two calls, as bytes: nothing is kept on a server, so a client carries it from one call to the next.

The bytes begin with a fingerprint of the model and its optimiser, so that no other model goes on with them, and with
the sizes that all lengths follow from. Behind them stand raw numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import tensorflow as tf

from .checks import check

FINGERPRINT_BYTES: Final = 32


class Sizes(NamedTuple):
    """The numbers in front of a state, int32 scalars: of the image in pixels, of updates made, of pairs remembered."""

    height: tf.Tensor
    width: tf.Tensor
    updates: tf.Tensor
    pairs: tf.Tensor


_HEADER_BYTES: Final = FINGERPRINT_BYTES + 4 * len(Sizes._fields)


@dataclass(frozen=True)
class Part:
    """Dtype and shape of a tensor in a state; sizes are int or int32 scalars."""

    dtype: tf.DType
    shape: tuple[int | tf.Tensor, ...]

    def bytes(self) -> tf.Tensor:
        """How many bytes it takes: int64 scalar."""
        return tf.reduce_prod(tf.cast(tf.stack(self.shape), tf.int64)) * self.dtype.size


def pack(fingerprint: bytes, sizes: Sizes, tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """The state as a string scalar."""
    return tf.strings.join([tf.constant(fingerprint), _raw(tf.stack(sizes)), *(_raw(tensor) for tensor in tensors)])


def checked_sizes(state: tf.Tensor, fingerprint: bytes) -> Sizes:
    """The sizes in front of `state`, a string scalar, once its fingerprint was found to be the one given."""
    known = tf.strings.substr(state, 0, FINGERPRINT_BYTES) == tf.constant(fingerprint)
    state = check(
        state,
        known & (tf.strings.length(state) >= _HEADER_BYTES),
        "state must be one that this model and this signature gave; got one of another, or something else, of bytes:",
        tf.strings.length(state),
    )
    numbers = tf.io.decode_raw(tf.strings.substr(state, FINGERPRINT_BYTES, 4 * len(Sizes._fields)), tf.int32)
    return Sizes(*(numbers[i] for i in range(len(Sizes._fields))))


def unpack(state: tf.Tensor, parts: Sequence[Part]) -> list[tf.Tensor]:
    """The tensors of a state, once its length was found to be theirs.

    Args:
        state: string scalar, whose sizes were checked.
        parts: of its tensors, in the order in which they were packed.
    """
    lengths = [part.bytes() for part in parts]
    expected = tf.add_n(lengths) + _HEADER_BYTES
    length = tf.cast(tf.strings.length(state), tf.int64)
    state = check(
        state, length == expected, "state is damaged: its length, and the one it should have:", length, expected
    )
    tensors: list[tf.Tensor] = []
    at = tf.constant(_HEADER_BYTES, tf.int64)
    for part, own in zip(parts, lengths, strict=True):
        tensor = tf.io.decode_raw(tf.strings.substr(state, at, own), part.dtype)
        tensors.append(tf.ensure_shape(tf.reshape(tensor, tf.stack(part.shape)), _static(part.shape)))
        at += own
    return tensors


def _raw(tensor: tf.Tensor) -> tf.Tensor:
    """A tensor's own bytes. No op gives them alone, but they stand last in a serialised tensor."""
    size = tf.size(tensor) * tensor.dtype.size
    return tf.strings.substr(tf.io.serialize_tensor(tensor), -size, size)


def _static(shape: Sequence[int | tf.Tensor]) -> list[int | None]:
    return [size if isinstance(size, int) else None for size in shape]
