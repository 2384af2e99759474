"""States as bytes: any tree of tensors, whose dimensions have names and stand once in a header.

16 bytes  fingerprint of the model and of this layout
4 each    the dimensions, int32, in the order of their names
...       the tensors, raw and little-endian, in the order of the tree
8         keyed hash of everything before
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import tensorflow as tf

from .checks import check

FINGERPRINT_BYTES: Final = 16
_HASH_BYTES: Final = 8
_HASH_BUCKETS: Final = 2**63 - 1
_KEY: Final = [0x5354594C45535256, 0x5354415445464D54]
"""Of the hash, any two numbers: it finds damage; it is no signature."""

_Tree = TypeVar("_Tree")
Dimensions = Mapping[str, tf.Tensor]
"""Sizes by name, int32 scalars."""


class Spec(NamedTuple):
    """A tensor of a state.

    Attributes:
        dtype: Name of its dtype.
        dims: Its sizes: numbers, or names of dimensions.
    """

    dtype: str
    dims: tuple[int | str, ...]

    def bytes(self, dimensions: Dimensions) -> tf.Tensor:
        """Bytes that it takes, an int64 scalar."""
        known = math.prod(size for size in self.dims if isinstance(size, int)) * tf.as_dtype(self.dtype).size
        named = [tf.cast(dimensions[size], tf.int64) for size in self.dims if isinstance(size, str)]
        return tf.reduce_prod(tf.stack([tf.constant(known, tf.int64), *named]))

    def tensor_spec(self) -> tf.TensorSpec:
        """Its dtype and shape, with None for named dimensions."""
        return tf.TensorSpec([size if isinstance(size, int) else None for size in self.dims], self.dtype)


def map_specs(function: Callable[[Spec], Any], tree: Any) -> Any:  # noqa: ANN401 - any tree
    """The tree with `function(spec)` in place of each spec, in the order in which `tf.nest.flatten` has tensors."""
    if isinstance(tree, Spec):  # as a tuple it would be a tree of its own
        return function(tree)
    branches = [map_specs(function, branch) for branch in tree]
    return type(tree)(*branches) if hasattr(tree, "_fields") else tuple(branches)


def pack(fingerprint: tf.Tensor, names: Sequence[str], tree: Any, specs: Any) -> tf.Tensor:  # noqa: ANN401 - any tree
    """A state, a string scalar.

    Args:
        fingerprint: Of the model and of the layout, string scalar of `FINGERPRINT_BYTES`.
        names: Of all dimensions in `specs`.
        tree: Tensors, without other tuples or lists than those of `specs`.
        specs: Tree of `Spec` with the structure of `tree`.
    """
    tensors = iter(tf.nest.flatten(tree))
    dimensions: dict[str, tf.Tensor] = {}

    def bytes_of(spec: Spec) -> tf.Tensor:
        tensor = next(tensors)
        for axis, size in enumerate(spec.dims):
            if isinstance(size, str):
                dimensions.setdefault(size, tf.shape(tensor)[axis])
        return _raw(tensor)

    body = tf.nest.flatten(map_specs(bytes_of, specs))
    header = _raw(tf.stack([dimensions.get(name, tf.constant(0)) for name in names]))
    whole = tf.strings.join([fingerprint, header, *body])
    return tf.strings.join([whole, _hash(whole)])


def dimensions_of(state: tf.Tensor, fingerprint: tf.Tensor, names: Sequence[str]) -> tuple[tf.Tensor, Dimensions]:
    """A state whose fingerprint and hash are right, and the dimensions in its header.

    Args:
        state: String scalar.
        fingerprint: Of the model and of the layout.
        names: Of all dimensions.
    """
    header = FINGERPRINT_BYTES + 4 * len(names)
    length = tf.strings.length(state)
    begins = (length >= header + _HASH_BYTES) & (tf.strings.substr(state, 0, FINGERPRINT_BYTES) == fingerprint)
    state = check(
        state,
        begins,
        "state must be one that this model returned, for the same loss and optimizer; got another one, or other data, "
        "of bytes:",
        length,
    )
    body = tf.strings.substr(state, 0, length - _HASH_BYTES)
    intact = tf.strings.substr(state, length - _HASH_BYTES, _HASH_BYTES) == _hash(body)
    state = check(state, intact, "state is damaged: its checksum is wrong; bytes:", length)
    return state, read_dimensions(state, names)


def read_dimensions(state: tf.Tensor, names: Sequence[str]) -> Dimensions:
    """The dimensions in the header of a state."""
    numbers = tf.io.decode_raw(tf.strings.substr(state, FINGERPRINT_BYTES, 4 * len(names)), tf.int32)
    return {name: numbers[i] for i, name in enumerate(names)}


def checked_length(state: tf.Tensor, names: Sequence[str], dimensions: Dimensions, specs: Any) -> tf.Tensor:  # noqa: ANN401 - any tree
    """`state`, after a check that it is as long as its dimensions say.

    Args:
        state: String scalar, of `dimensions_of`.
        names: Of all dimensions.
        dimensions: Of the state, each within its bounds.
        specs: Tree of `Spec` of all tensors.
    """
    lengths = tf.nest.flatten(map_specs(lambda spec: spec.bytes(dimensions), specs))
    expected = tf.add_n(lengths) + _start(names) + _HASH_BYTES
    length = tf.cast(tf.strings.length(state), tf.int64)
    return check(
        state, length == expected, "state is damaged: its length, and the one it should have:", length, expected
    )


def unpack(state: tf.Tensor, names: Sequence[str], dimensions: Dimensions, specs: _Tree) -> _Tree:
    """The first tensors of a state.

    Args:
        state: String scalar, of `checked_length`.
        names: Of all dimensions.
        dimensions: Of the state.
        specs: Tree of `Spec`, of all tensors or of the first ones; the result has its structure.
    """
    at = tf.constant(_start(names), tf.int64)

    def tensor_of(spec: Spec) -> tf.Tensor:
        nonlocal at
        own = spec.bytes(dimensions)
        tensor = tf.io.decode_raw(tf.strings.substr(state, at, own), spec.dtype)
        at = at + own
        shape = tf.stack([size if isinstance(size, int) else dimensions[size] for size in spec.dims])
        return tf.ensure_shape(tf.reshape(tensor, shape), spec.tensor_spec().shape)

    return map_specs(tensor_of, specs)


def without_nan(state: tf.Tensor, tensors: Any) -> tf.Tensor:  # noqa: ANN401 - any tree
    """`state`, after a check that none of its tensors holds a NaN. An infinity is the loss before any evaluation."""
    floats = [tensor for tensor in tf.nest.flatten(tensors) if tensor.dtype.is_floating]
    damaged = tf.reduce_any(tf.stack([tf.reduce_any(tf.math.is_nan(tensor)) for tensor in floats]))
    return check(state, ~damaged, "state is damaged: it must hold no NaN; got one")


def _start(names: Sequence[str]) -> int:
    return FINGERPRINT_BYTES + 4 * len(names)


def _hash(body: tf.Tensor) -> tf.Tensor:
    return _raw(tf.strings.to_hash_bucket_strong(body[None], _HASH_BUCKETS, _KEY))


def _raw(tensor: tf.Tensor) -> tf.Tensor:
    """A tensor's own bytes. No op gives them alone, but they stand last in a serialised tensor."""
    size = tf.size(tensor) * tensor.dtype.size
    return tf.strings.substr(tf.io.serialize_tensor(tensor), -size, size)
