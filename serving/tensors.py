"""TensorProto to NumPy and back. What comes in is hostile until it has been checked.

Sizes are checked against the data that was really sent before anything is allocated or looked through, and a value that
stands for all takes no more memory here than it took in its message.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2

MAX_TENSOR_BYTES = 2 * 8 * 1024 * 1024 * 3 * 4
"""Largest tensor that one repeated value may stand for: two full batches of images, 8 x 1024 x 1024 x 3 floats of 4
bytes.

Only that form can ask for more memory than the message itself took, where the model runs: it wants a copy of its own.
The limits that a model tells bound that further; for a model that tells none, this is the bound of each input.
"""

MAX_RANK = 32
"""NumPy 1 stops at 32 dimensions."""

_FLOAT_VAL_TAG = b"\x2a"
_DOUBLE_VAL_TAG = b"\x32"


class TensorError(ValueError):
    """A TensorProto that does not describe a tensor."""


@dataclass(frozen=True)
class _Kind:
    """How a data type travels: NumPy type, field of TensorProto, and the type of that field's bits."""

    dtype: np.dtype[Any]
    field: str
    bits: type[np.generic] | None = None


_KINDS: dict[int, _Kind] = {
    types_pb2.DT_FLOAT: _Kind(np.dtype(np.float32), "float_val"),
    types_pb2.DT_DOUBLE: _Kind(np.dtype(np.float64), "double_val"),
    types_pb2.DT_HALF: _Kind(np.dtype(np.float16), "half_val", np.uint16),
    types_pb2.DT_BFLOAT16: _Kind(np.dtype("bfloat16"), "half_val", np.uint16),  # NumPy knows it from TensorFlow
    types_pb2.DT_INT8: _Kind(np.dtype(np.int8), "int_val"),
    types_pb2.DT_INT16: _Kind(np.dtype(np.int16), "int_val"),
    types_pb2.DT_INT32: _Kind(np.dtype(np.int32), "int_val"),
    types_pb2.DT_INT64: _Kind(np.dtype(np.int64), "int64_val"),
    types_pb2.DT_UINT8: _Kind(np.dtype(np.uint8), "int_val"),
    types_pb2.DT_UINT16: _Kind(np.dtype(np.uint16), "int_val"),
    types_pb2.DT_UINT32: _Kind(np.dtype(np.uint32), "uint32_val"),
    types_pb2.DT_UINT64: _Kind(np.dtype(np.uint64), "uint64_val"),
    types_pb2.DT_BOOL: _Kind(np.dtype(np.bool_), "bool_val"),
    types_pb2.DT_STRING: _Kind(np.dtype(np.object_), "string_val"),
}

_CPP_NAMES = {types_pb2.DT_FLOAT: "float", types_pb2.DT_DOUBLE: "double"}


def dtype_name(dtype: int) -> str | None:
    """TensorFlow's C++ name of a data type, as its error texts have it; None for an unknown number.

    >>> dtype_name(2), dtype_name(3), dtype_name(9999)
    ('double', 'int32', None)
    """
    if dtype not in _KINDS:
        return None
    return _CPP_NAMES.get(dtype, tf.dtypes.as_dtype(dtype).name)


def to_array(proto: tensor_pb2.TensorProto) -> np.ndarray[Any, np.dtype[Any]]:
    """The tensor as a NumPy array, which may be read-only; strings as an object array of bytes.

    Raises:
        TensorError: type, shape and data do not fit together, or the tensor is too large.
    """
    kind = _KINDS.get(proto.dtype)
    if kind is None:
        raise TensorError(f"unknown data type {proto.dtype}")
    shape = _checked_shape(proto.tensor_shape)
    count = math.prod(shape)
    try:
        if kind.dtype == np.object_:
            return _strings(proto, count).reshape(shape)
        if proto.tensor_content:
            return _content(proto.tensor_content, kind.dtype, count).reshape(shape)
        return _values(proto, kind, count).reshape(shape)
    except (OverflowError, MemoryError) as error:
        raise TensorError(str(error)) from error


def _checked_shape(shape: tensor_shape_pb2.TensorShapeProto) -> tuple[int, ...]:
    sizes = tuple(dim.size for dim in shape.dim[: MAX_RANK + 1])
    if shape.unknown_rank or len(sizes) > MAX_RANK or any(size < 0 for size in sizes):
        raise TensorError(f"not the shape of a tensor: {sizes[:MAX_RANK]}")
    # Zeros are left out: a shape such as [0, 2^60, 2^60] has no elements, and still overflows NumPy.
    if math.prod(size for size in sizes if size) > 2**40:
        raise TensorError(f"too large: {sizes}")
    return sizes


def _strings(proto: tensor_pb2.TensorProto, count: int) -> np.ndarray[Any, np.dtype[Any]]:
    # No repeated value here: TensorFlow would copy the bytes once for each element.
    if proto.tensor_content or len(proto.string_val) != count:
        raise TensorError(f"{len(proto.string_val)} strings for {count} elements")
    array = np.empty(count, dtype=np.object_)
    array[:] = list(proto.string_val)
    return array


def _content(content: bytes, dtype: np.dtype[Any], count: int) -> np.ndarray[Any, np.dtype[Any]]:
    if len(content) != count * dtype.itemsize:
        raise TensorError(f"{len(content)} bytes for {count} elements of {dtype.itemsize}")
    # Bytes other than 0 and 1 are no booleans yet.
    return np.frombuffer(content, np.uint8) != 0 if dtype == np.bool_ else np.frombuffer(content, dtype)


def _values(proto: tensor_pb2.TensorProto, kind: _Kind, count: int) -> np.ndarray[Any, np.dtype[Any]]:
    values = getattr(proto, kind.field)
    repeated = len(values) == 1 and count * kind.dtype.itemsize <= MAX_TENSOR_BYTES
    if len(values) != count and not repeated:
        raise TensorError(f"{len(values)} values for {count} elements")
    dtype = kind.bits or kind.dtype
    array = np.array(values, dtype=dtype)
    if kind.field in ("int_val", "half_val") and not np.array_equal(array, np.array(values, np.int64)):
        raise TensorError(f"a value is out of the range of {np.dtype(dtype)}")
    array = array.view(kind.dtype) if kind.bits else array
    # A view of the one value, in every place: whatever is refused later was never filled.
    return np.broadcast_to(array, count) if len(values) != count else array


def fill_proto(proto: tensor_pb2.TensorProto, array: np.ndarray[Any, np.dtype[Any]]) -> None:
    """Makes an empty `proto` the array as TensorFlow Serving sends it: values in their typed field, floats packed.

    Raises:
        TensorError: the array has a type that does not travel.
    """
    dtype = tf.dtypes.as_dtype(array.dtype)
    kind = _KINDS.get(dtype.as_datatype_enum)
    if kind is None:
        raise TensorError(f"output of type {dtype.name}")
    proto.dtype = dtype.as_datatype_enum
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    flat = np.ascontiguousarray(array).reshape(-1)
    if kind.field in ("float_val", "double_val"):
        # A packed field of floats is their little-endian bytes. Written so, an image takes 2 ms; `extend` takes 100.
        tag = _FLOAT_VAL_TAG if kind.field == "float_val" else _DOUBLE_VAL_TAG
        raw = flat.tobytes()
        proto.MergeFromString(tag + _varint(len(raw)) + raw)
    else:
        getattr(proto, kind.field).extend((flat.view(kind.bits) if kind.bits else flat).tolist())


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)
