"""TensorProto to NumPy and back, with the rules of TensorFlow (`Tensor::FromProto`). The input is untrusted.

A message may have fewer values than its shape has elements: the last value is repeated, and without values all are
zero. Surplus values are ignored. So a few bytes can claim gigabytes: sizes are checked before memory is allocated, and
repeated values take none.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2

MAX_UNSENT_BYTES = 2 * 8 * 1024 * 1024 * 3 * 4
"""Most bytes of a request's tensors beyond its message: two full batches of images, 8 x 1024 x 1024 x 3 floats of 4
bytes. The model allocates them; the limits of a model bound them further."""

MAX_RANK = 32
"""Highest rank of NumPy 1."""

_STRING_BYTES = 24
"""Bytes of a string element in TensorFlow, besides the string itself."""

_MAX_VARINT_SHIFT = 28
"""Largest shift of a length, which has 32 bits in at most five bytes of seven bits each."""

_FLOAT_VAL_TAG = b"\x2a"
_DOUBLE_VAL_TAG = b"\x32"

Array = np.ndarray[Any, np.dtype[Any]]


class TensorError(ValueError):
    """A TensorProto that is not a valid tensor."""


@dataclass(frozen=True)
class _Kind:
    """Encoding of a data type: NumPy type, field of TensorProto, and type of the bits in that field."""

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
    """TensorFlow's C++ name of a data type, as in its messages; None for an unknown number.

    >>> dtype_name(2), dtype_name(3), dtype_name(9999)
    ('double', 'int32', None)
    """
    if dtype not in _KINDS:
        return None
    return _CPP_NAMES.get(dtype, tf.dtypes.as_dtype(dtype).name)


def shape_of(proto: tensor_pb2.TensorProto) -> tuple[int, ...]:
    """Shape of a tensor by its dimensions; `unknown_rank` is ignored, as in TensorFlow.

    Raises:
        TensorError: The shape is invalid.
    """
    sizes = tuple(dim.size for dim in proto.tensor_shape.dim[: MAX_RANK + 1])
    if len(sizes) > MAX_RANK or any(size < 0 for size in sizes):
        raise TensorError(f"not the shape of a tensor: {sizes[:MAX_RANK]}")
    # Without zeros: a shape such as [0, 2^60, 2^60] has no elements, and still overflows NumPy.
    if math.prod(size for size in sizes if size) > 2**40:
        raise TensorError(f"too large: {sizes}")
    return sizes


def unsent_bytes(proto: tensor_pb2.TensorProto) -> int:
    """Bytes of a tensor in TensorFlow beyond the values in its message. Nothing is copied.

    Raises:
        TensorError: Data type, shape and length of the content do not match.
    """
    return _unsent_bytes(proto, proto.tensor_content)


def to_array(proto: tensor_pb2.TensorProto) -> np.ndarray[Any, np.dtype[Any]]:
    """NumPy array of a tensor, which may be read-only; strings as an object array of bytes.

    Raises:
        TensorError: Type, shape and data do not match, or more than `MAX_UNSENT_BYTES` of it were not sent.
    """
    content = proto.tensor_content  # each access copies it
    if (unsent := _unsent_bytes(proto, content)) > MAX_UNSENT_BYTES:
        raise TensorError(f"its shape needs {unsent} bytes beyond what was sent; allowed are {MAX_UNSENT_BYTES}")
    kind, shape = _kind(proto), shape_of(proto)
    count = math.prod(shape)
    if not count:  # TensorFlow ignores all values then
        return np.empty(shape, kind.dtype)
    if kind.dtype == np.object_:
        strings = _split(content, count) if content else list(proto.string_val[:count])
        return _filled(_objects(strings or [b""]), count).reshape(shape)
    if content:
        return _numbers(content, kind.dtype).reshape(shape)
    return _filled(_values(proto, kind, count), count).reshape(shape)


def _unsent_bytes(proto: tensor_pb2.TensorProto, content: bytes) -> int:
    kind, count = _kind(proto), math.prod(shape_of(proto))
    values = getattr(proto, kind.field)
    missing = 0 if content else max(0, count - len(values))
    if kind.dtype == np.object_:
        if content and count > len(content):  # the length of each takes a byte or more
            raise TensorError(f"{len(content)} bytes for {count} strings")
        return count * _STRING_BYTES + (missing * len(values[-1]) if missing and values else 0)
    if content and count and len(content) != count * kind.dtype.itemsize:
        raise TensorError(f"{len(content)} bytes for {count} elements of {kind.dtype.itemsize}")
    return missing * kind.dtype.itemsize


def _kind(proto: tensor_pb2.TensorProto) -> _Kind:
    kind = _KINDS.get(proto.dtype)
    if kind is None:
        raise TensorError(f"unknown data type {proto.dtype}")
    return kind


def _filled(array: np.ndarray[Any, np.dtype[Any]], count: int) -> np.ndarray[Any, np.dtype[Any]]:
    """Vector of `count` elements: those of the array, and its last one repeated."""
    if len(array) == count:
        return array
    if len(array) == 1:
        return np.broadcast_to(array, count)
    whole = np.empty(count, array.dtype)
    whole[: len(array)], whole[len(array) :] = array, array[-1]
    return whole


def _objects(strings: list[bytes]) -> np.ndarray[Any, np.dtype[Any]]:
    array = np.empty(len(strings), dtype=np.object_)
    array[:] = strings
    return array


def _split(content: bytes, count: int) -> list[bytes]:
    """Strings in TensorFlow's encoding: the length of each as a varint, then their bytes."""
    sizes: list[int] = []
    at = 0
    for _ in range(count):
        size = shift = 0
        while True:
            if at >= len(content) or shift > _MAX_VARINT_SHIFT:
                raise TensorError("lengths of strings are cut short, or too long")
            byte = content[at]
            at += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        sizes.append(size & 0xFFFFFFFF)
    if sum(sizes) != len(content) - at:
        raise TensorError(f"{len(content) - at} bytes for strings of {sum(sizes)}")
    ends = [at, *(at + end for end in itertools.accumulate(sizes))]
    return [content[start:end] for start, end in itertools.pairwise(ends)]


def _numbers(content: bytes, dtype: np.dtype[Any]) -> np.ndarray[Any, np.dtype[Any]]:
    if dtype == np.bool_ and content.strip(b"\0\1"):
        raise TensorError("a byte of a boolean is neither 0 nor 1")
    return np.frombuffer(content, dtype)


def _values(proto: tensor_pb2.TensorProto, kind: _Kind, count: int) -> np.ndarray[Any, np.dtype[Any]]:
    """Values of the typed field, at most `count`; one zero if there are none."""
    values = getattr(proto, kind.field)
    sent = (values if len(values) <= count else values[:count]) or [0]
    if kind.field not in ("int_val", "half_val"):
        return np.array(sent, kind.dtype)
    # 32 bits wide in the message, and cut to the type's own.
    array = np.array(sent, np.int32).astype(kind.bits or kind.dtype)
    return array.view(kind.dtype) if kind.bits else array


def fill_proto(proto: tensor_pb2.TensorProto, array: np.ndarray[Any, np.dtype[Any]]) -> None:
    """Fills an empty `proto` with an array as TensorFlow Serving does: values in their typed field, floats packed.

    Raises:
        TensorError: The array has a type without an encoding.
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
