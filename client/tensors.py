"""NumPy arrays to and from `TensorProto`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .errors import BadReply
from .protos import DataType, TensorProto, TensorShapeProto, TensorShapeProtoDim

Array = NDArray[Any]

# The list of a TensorProto that holds elements of a type, where they are not in `tensor_content`.
_NUMBERS: Final[dict[int, tuple[str, type[np.generic]]]] = {
    DataType.DT_FLOAT: ("float_val", np.float32),
    DataType.DT_DOUBLE: ("double_val", np.float64),
    DataType.DT_INT32: ("int_val", np.int32),
    DataType.DT_INT64: ("int64_val", np.int64),
    DataType.DT_BOOL: ("bool_val", np.bool_),
}


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
    return TensorShapeProto(dim=[TensorShapeProtoDim(size=size) for size in sizes])


def number_tensor(array: Array) -> TensorProto:
    """A tensor of numbers, as raw little-endian bytes: neither side has to look at each number.

    Raises:
        TypeError: the element type is not float32, float64, int32, int64 or bool.
    """
    for dtype, (_, element) in _NUMBERS.items():
        if array.dtype == element:
            raw = np.ascontiguousarray(array).astype(np.dtype(element).newbyteorder("<"), copy=False)
            return TensorProto(dtype=dtype, tensor_shape=_shape(array.shape), tensor_content=raw.tobytes())
    raise TypeError(f"cannot send elements of type {array.dtype}")


def bytes_tensor(values: Sequence[bytes]) -> TensorProto:
    """A vector of byte strings."""
    return TensorProto(dtype=DataType.DT_STRING, tensor_shape=_shape([len(values)]), string_val=values)


def to_array(tensor: TensorProto, name: str) -> Array:
    """The elements of a tensor from the server; byte strings come as an array of objects.

    Args:
        tensor: with its elements in `tensor_content` or in the list of its type; servers differ in this.
        name: of the output, for errors.

    Raises:
        BadReply: type or shape cannot be, or the number of elements is not what the shape says.
    """
    sizes = tuple(dim.size for dim in tensor.tensor_shape.dim)
    if tensor.tensor_shape.unknown_rank or any(size < 0 for size in sizes):
        raise BadReply(f"the server's {name!r} has no definite shape")
    count = math.prod(sizes)
    if tensor.dtype == DataType.DT_STRING:
        if len(tensor.string_val) != count:
            raise _cut_short(name, sizes, f"{len(tensor.string_val)} strings")
        strings = np.empty(count, dtype=object)
        strings[:] = list(tensor.string_val)
        return strings.reshape(sizes)
    if tensor.dtype not in _NUMBERS:
        raise BadReply(
            f"the server's {name!r} has elements of {type_name(tensor.dtype)}; this client reads numbers and strings"
        )
    field, element = _NUMBERS[tensor.dtype]
    if tensor.tensor_content:
        little_endian = np.dtype(element).newbyteorder("<")
        if len(tensor.tensor_content) != count * little_endian.itemsize:
            raise _cut_short(name, sizes, f"{len(tensor.tensor_content)} bytes")
        return np.frombuffer(tensor.tensor_content, little_endian).astype(element).reshape(sizes)
    numbers = getattr(tensor, field)
    if len(numbers) != count:
        raise _cut_short(name, sizes, f"{len(numbers)} numbers")
    return np.array(numbers, dtype=element).reshape(sizes)


def _cut_short(name: str, sizes: tuple[int, ...], came: str) -> BadReply:
    return BadReply(f"the server's {name!r} is damaged: its shape is {list(sizes)}, but it holds {came}")
