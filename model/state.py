"""Serialised states: a tree of tensors as bytes, with a header of named dimensions.

16 bytes  fingerprint of the model and of this layout
4 each    dimensions, int32, in the order of their names
...       tensors, raw and little-endian, in the order of the tree
8         keyed hash of all bytes before
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

import tensorflow as tf

from .checks import check

FINGERPRINT_BYTES: Final = 16
_HASH_BYTES: Final = 8
_HASH_BUCKETS: Final = 2**63 - 1
_KEY: Final = [0x5354594C45535256, 0x5354415445464D54]
"""Key of the hash, any two numbers: the hash detects damage and is no signature."""

_Tree = TypeVar("_Tree")
Dimensions = Mapping[str, tf.Tensor]
"""Sizes by name of the dimension, int32 scalars."""


class Spec(NamedTuple):
    """Dtype and dimensions of a tensor of a state.

    Attributes:
        dtype: Name of the dtype.
        dims: Sizes: numbers, or names of dimensions.
    """

    dtype: str
    dims: tuple[int | str, ...]

    def tensor_spec(self) -> tf.TensorSpec:
        """Dtype and shape, with None for named dimensions."""
        return tf.TensorSpec([size if isinstance(size, int) else None for size in self.dims], self.dtype)


def map_specs(function: Callable[[Spec], Any], tree: Any) -> Any:  # noqa: ANN401 - any tree
    """The tree with `function(spec)` in place of each spec, called in the order of `tf.nest.flatten`."""
    if isinstance(tree, Spec):  # a tuple as well, but a leaf here
        return function(tree)
    branches = [map_specs(function, branch) for branch in tree]
    return type(tree)(*branches) if hasattr(tree, "_fields") else tuple(branches)


class Layout(Generic[_Tree]):
    """Byte layout of a state: packs a tree of tensors, and unpacks it after checks.

    Args:
        names: Names of all dimensions.
        specs: Tree of tensors with a `Spec` in place of each.
    """

    def __init__(self, names: Sequence[str], specs: _Tree) -> None:
        self._names = tuple(names)
        self._specs = specs
        self._start = FINGERPRINT_BYTES + 4 * len(names)
        self._flat: list[Spec] = []
        map_specs(self._flat.append, specs)
        # Index tables give the sizes of all tensors in one operation: fewer operations make a server's start faster.
        sizes = [[tf.as_dtype(spec.dtype).size, *spec.dims] for spec in self._flat]
        numbers = sorted({1, *(size for row in sizes for size in row if isinstance(size, int))})
        self._numbers = numbers
        place = {size: i for i, size in enumerate([*numbers, *names])}
        self._places = [[place[size] for size in row] for row in sizes]
        longest = max(map(len, sizes))
        self._table = [row + [place[1]] * (longest - len(row)) for row in self._places]

    def pack(self, fingerprint: tf.Tensor, tree: _Tree) -> tf.Tensor:
        """A state, string scalar.

        Args:
            fingerprint: Fingerprint of the model and of the layout, string scalar of `FINGERPRINT_BYTES`.
            tree: Tensors in the structure of the specs.
        """
        tensors = tf.nest.flatten(tree)
        dimensions: dict[str, tf.Tensor] = {}
        for spec, tensor in zip(self._flat, tensors, strict=True):
            for axis, size in enumerate(spec.dims):
                if isinstance(size, str) and size not in dimensions:
                    dimensions[size] = tf.shape(tensor)[axis]
        dimensions = {name: dimensions.get(name, tf.constant(0)) for name in self._names}
        lengths = tf.cast(self._lengths(self._sizes(dimensions)), tf.int32)
        body = [
            _tail(tensor, length, minus)
            for tensor, length, minus in zip(tensors, self._each(lengths), self._each(-lengths), strict=True)
        ]
        whole = tf.strings.join([fingerprint, _raw(tf.stack(list(dimensions.values()))), *body])
        return tf.strings.join([whole, _hash(whole)])

    def opened(self, state: tf.Tensor, fingerprint: tf.Tensor) -> tuple[tf.Tensor, Dimensions]:
        """The state, after checks of its fingerprint and of its hash, and the dimensions in its header.

        Args:
            state: String scalar.
            fingerprint: Expected fingerprint, string scalar.
        """
        length = tf.strings.length(state)
        matches = tf.strings.substr(state, 0, FINGERPRINT_BYTES) == fingerprint
        state = check(
            state,
            (length >= self._start + _HASH_BYTES) & matches,
            "state must be one that this model returned, for the same loss and optimizer; got another one, or other "
            "data, of bytes:",
            length,
        )
        body = tf.strings.substr(state, 0, length - _HASH_BYTES)
        intact = tf.strings.substr(state, length - _HASH_BYTES, _HASH_BYTES) == _hash(body)
        state = check(state, intact, "state is damaged: its checksum is wrong; bytes:", length)
        return state, self.dimensions(state)

    def dimensions(self, state: tf.Tensor) -> Dimensions:
        """Dimensions in the header of a state, a string scalar."""
        header = tf.strings.substr(state, FINGERPRINT_BYTES, self._start - FINGERPRINT_BYTES)
        numbers = tf.ensure_shape(tf.io.decode_raw(header, tf.int32), [len(self._names)])
        return dict(zip(self._names, tf.unstack(numbers), strict=True))

    def checked_length(self, state: tf.Tensor, dimensions: Dimensions) -> tf.Tensor:
        """`state`, after a check of its length against its dimensions, whose ranges are checked already."""
        expected, length = self.length(dimensions), tf.cast(tf.strings.length(state), tf.int64)
        return check(
            state, length == expected, "state is damaged: its length, and the one it should have:", length, expected
        )

    def length(self, dimensions: Dimensions) -> tf.Tensor:
        """Bytes of a state with these dimensions, int64 scalar."""
        return tf.reduce_sum(self._lengths(self._sizes(dimensions))) + (self._start + _HASH_BYTES)

    def unpack(self, state: tf.Tensor, dimensions: Dimensions) -> _Tree:
        """Tensors of a state, a string scalar."""
        sizes = self._sizes(dimensions)
        lengths = self._lengths(sizes)
        starts = self._each(tf.cumsum(lengths, exclusive=True) + self._start)
        parts = iter(zip(self._places, starts, self._each(lengths), strict=True))

        def tensor_of(spec: Spec) -> tf.Tensor:
            places, start, length = next(parts)
            flat = tf.io.decode_raw(tf.strings.substr(state, start, length), spec.dtype)
            return tf.ensure_shape(tf.reshape(flat, tf.gather(sizes, places[1:])), spec.tensor_spec().shape)

        return map_specs(tensor_of, self._specs)

    def _sizes(self, dimensions: Dimensions) -> tf.Tensor:
        """Sizes that the tables index: numbers, then dimensions, `[sizes]` int64."""
        named = tf.stack([dimensions[name] for name in self._names])
        return tf.concat([tf.constant(self._numbers, tf.int64), tf.cast(named, tf.int64)], axis=0)

    def _lengths(self, sizes: tf.Tensor) -> tf.Tensor:
        """Bytes of each tensor, `[tensors]` int64."""
        return tf.reduce_prod(tf.gather(sizes, self._table), axis=1)

    def _each(self, numbers: tf.Tensor) -> list[tf.Tensor]:
        """Scalar of each tensor, from `[tensors]`."""
        return tf.unstack(numbers, len(self._flat))


def without_nan(tensor: tf.Tensor, tensors: Any) -> tf.Tensor:  # noqa: ANN401 - any tree
    """`tensor`, after a check that no tensor of the tree holds a NaN. A loss may be infinite before any evaluation."""
    floats = [each for each in tf.nest.flatten(tensors) if each.dtype.is_floating]
    damaged = tf.reduce_any(tf.stack([tf.reduce_any(tf.math.is_nan(each)) for each in floats]))
    return check(tensor, ~damaged, "state is damaged: it must hold no NaN; got one")


def _hash(body: tf.Tensor) -> tf.Tensor:
    return _raw(tf.strings.to_hash_bucket_strong(body[None], _HASH_BUCKETS, _KEY))


def _raw(tensor: tf.Tensor) -> tf.Tensor:
    """Bytes of the values of a tensor, string scalar."""
    size = tf.size(tensor) * tensor.dtype.size
    return _tail(tensor, size, -size)


def _tail(tensor: tf.Tensor, size: tf.Tensor, minus: tf.Tensor) -> tf.Tensor:
    """Last `size` bytes of a serialised tensor: its values, which no op gives alone; `minus` is `-size`."""
    return tf.strings.substr(tf.io.serialize_tensor(tensor), minus, size)
