"""NumPy arrays to and from `TensorProto`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..errors import BadReply
from .messages import DataType, TensorProto, TensorShapeProto

Array = NDArray[Any]

# Field of a TensorProto with the elements of a type, where they are not in `tensor_content`, and their NumPy type.
_NUMBERS: Final[dict[int, tuple[str, type[np.generic]]]] = {
    DataType.DT_FLOAT: ("float_val", np.float32),
    DataType.DT_DOUBLE: ("double_val", np.float64),
    DataType.DT_INT32: ("int_val", np.int32),
    DataType.DT_INT64: ("int64_val", np.int64),
    DataType.DT_BOOL: ("bool_val", np.bool_),
}

_MAX_RANK: Final = 32
"""NumPy's limit before version 2."""
_LARGEST_ELEMENT_BYTES: Final = 8
MAX_MESSAGE_BYTES: Final = 2**31 - 1
"""Limit for requests and replies, that of protobuf. A picture of 16384 x 16384 pixels and 16 bits has up to 1.6 GB;
`describe` of 4096 x 4096 pixels replies with 872 MB. gRPC's own limit is 4 MB."""

_MAX_TENSOR_BYTES: Final = 2 * MAX_MESSAGE_BYTES
"""Limit for `_LARGEST_ELEMENT_BYTES` an element: a message filled with float32 stays under it."""


def type_name(dtype: int) -> str:
    """Name of a `DataType` as the contract writes it.

    >>> type_name(DataType.DT_FLOAT), type_name(DataType.DT_STRING), type_name(99)
    ('float32', 'string', 'type 99')
    """
    if dtype == DataType.DT_STRING:
        return "string"
    if dtype in _NUMBERS:
        return np.dtype(_NUMBERS[dtype][1]).name
    known = {int(member): member.name for member in DataType}
    return known.get(dtype, f"type {dtype}")


def _shape(sizes: Sequence[int]) -> TensorShapeProto:
    return TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in sizes])


def number_tensor(array: Array) -> TensorProto:
    """Tensor of numbers, as raw little-endian bytes, which need no conversion of single numbers.

    Raises:
        TypeError: The element type is not float32, float64, int32, int64 or bool.
    """
    for dtype, (_, element) in _NUMBERS.items():
        if array.dtype == element:
            raw = np.ascontiguousarray(array).astype(np.dtype(element).newbyteorder("<"), copy=False)
            return TensorProto(dtype=dtype, tensor_shape=_shape(array.shape), tensor_content=raw.tobytes())
    raise TypeError(f"cannot send elements of type {array.dtype}")


def bytes_tensor(values: Sequence[bytes], shape: Sequence[int] | None = None) -> TensorProto:
    """Tensor of byte strings; a vector where no shape is given."""
    sizes = [len(values)] if shape is None else shape
    return TensorProto(dtype=DataType.DT_STRING, tensor_shape=_shape(sizes), string_val=values)


def to_array(tensor: TensorProto, name: str) -> Array:
    """Elements of a tensor from the server, as TensorFlow's `Tensor::FromProto` reads them.

    The elements are in `tensor_content`, or in the list of their type. A list with too few values repeats its last one,
    an empty list means zeros or empty strings, and values beyond the shape are cut off. An unknown rank with sizes is
    the shape of these sizes.

    Args:
        tensor: Tensor of the server.
        name: Name of the output, for errors.

    Returns:
        Array of the tensor's shape; byte strings come as objects.

    Raises:
        BadReply: The type is not one of the contract's, the shape is negative or too large, or `tensor_content` does
            not have the length that the shape says.
    """
    sizes = tuple(dim.size for dim in tensor.tensor_shape.dim)
    if tensor.dtype != DataType.DT_STRING and tensor.dtype not in _NUMBERS:
        raise BadReply(
            f"the server's {name!r} has elements of {type_name(tensor.dtype)}; this client reads numbers and strings"
        )
    if any(size < 0 for size in sizes):
        raise BadReply(f"the server's {name!r} has the shape {list(sizes)}; sizes must be 0 or more")
    # Checked before memory is allocated: a few bytes can name any shape. NumPy counts an empty dimension as one here.
    if len(sizes) > _MAX_RANK or math.prod(max(size, 1) for size in sizes) * _LARGEST_ELEMENT_BYTES > _MAX_TENSOR_BYTES:
        raise BadReply(f"the server's {name!r} has the shape {list(sizes)}, which is too large for a reply")
    count = math.prod(sizes)
    if tensor.dtype == DataType.DT_STRING:
        content = _strings(tensor.tensor_content, count) if tensor.tensor_content else tensor.string_val
        if content is None:
            raise _damaged(name, sizes, f"{len(tensor.tensor_content)} bytes that are not that many strings")
        return _filled(content, count, np.dtype(object), b"").reshape(sizes)
    field, element = _NUMBERS[tensor.dtype]
    if not tensor.tensor_content:
        return _filled(getattr(tensor, field), count, np.dtype(element), 0).reshape(sizes)
    little_endian = np.dtype(element).newbyteorder("<")
    if count and len(tensor.tensor_content) != count * little_endian.itemsize:
        raise _damaged(name, sizes, f"{len(tensor.tensor_content)} bytes")
    if count and element is np.bool_ and max(tensor.tensor_content) > 1:
        raise _damaged(name, sizes, "bytes that are no bool")
    return np.frombuffer(tensor.tensor_content, little_endian, count).astype(element).reshape(sizes)


def _filled(values: Sequence[Any], count: int, dtype: np.dtype[Any], default: object) -> Array:
    """First `count` values; the last one, or the default, fills the rest."""
    array = np.empty(count, dtype)
    given = values[:count]
    array[: len(given)] = given
    array[len(given) :] = given[-1] if given else default
    return array


def _strings(content: bytes, count: int) -> list[bytes] | None:
    """Strings of `tensor_content`: lengths as varints of 32 bits, then bytes; None where it has another form."""
    lengths, at = list[int](), 0
    for _ in range(count):
        length, shift = 0, 0
        while shift < 35:
            if at == len(content):
                return None
            byte = content[at]
            at += 1
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        else:
            return None
        lengths.append(length & 0xFFFFFFFF)
    if count and sum(lengths) != len(content) - at:
        return None
    ends = itertools.accumulate(lengths, initial=at)
    return [content[begin:end] for begin, end in itertools.pairwise(ends)]


def _damaged(name: str, sizes: tuple[int, ...], came: str) -> BadReply:
    return BadReply(f"the server's {name!r} is damaged: its shape is {list(sizes)}, but it holds {came}")
