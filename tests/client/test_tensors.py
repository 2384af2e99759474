from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from styleserve.client import BadReply
from styleserve.client.protos import DataType, TensorProto, TensorShapeProto, TensorShapeProtoDim
from styleserve.client.tensors import bytes_tensor, number_tensor, to_array


def shape(*sizes: int) -> TensorShapeProto:
    return TensorShapeProto(dim=[TensorShapeProtoDim(size=size) for size in sizes])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64, np.bool_])
@pytest.mark.parametrize("sizes", [(), (3,), (2, 3), (0,), (2, 0, 3)])
def test_numbers_come_back_as_they_went(dtype: Any, sizes: tuple[int, ...]) -> None:
    array: Any = np.arange(math.prod(sizes)).reshape(sizes).astype(dtype)
    back = to_array(TensorProto.FromString(number_tensor(array).SerializeToString()), "x")
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_float32_goes_raw_and_in_row_order() -> None:
    column_order = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    tensor = number_tensor(column_order)
    assert tensor.tensor_content == np.arange(6, dtype="<f4").tobytes()
    assert not tensor.float_val


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        (TensorProto(dtype=DataType.DT_FLOAT, tensor_shape=shape(2), float_val=[1, 2]), np.array([1, 2], np.float32)),
        (TensorProto(dtype=DataType.DT_INT32, tensor_shape=shape(1), int_val=[-7]), np.array([-7], np.int32)),
        (TensorProto(dtype=DataType.DT_INT64, tensor_shape=shape(), int64_val=[2**40]), np.array(2**40)),
    ],
)
def test_lists_of_numbers_are_read(tensor: TensorProto, expected: Any) -> None:
    array = to_array(tensor, "x")
    assert array.dtype == expected.dtype
    np.testing.assert_array_equal(array, expected)


def test_strings_come_back_as_they_went() -> None:
    values = [b"", b"\x00\xff", b"abc"]
    assert to_array(bytes_tensor(values), "x").tolist() == values


@pytest.mark.parametrize(
    "tensor",
    [
        TensorProto(dtype=DataType.DT_FLOAT, tensor_shape=shape(3), float_val=[1, 2]),
        TensorProto(dtype=DataType.DT_FLOAT, tensor_shape=shape(10**12), float_val=[1]),
        TensorProto(dtype=DataType.DT_FLOAT, tensor_shape=shape(2), tensor_content=b"1234567"),
        TensorProto(dtype=DataType.DT_STRING, tensor_shape=shape(2), string_val=[b"one"]),
        TensorProto(dtype=DataType.DT_FLOAT, tensor_shape=shape(-1), float_val=[1]),
        TensorProto(dtype=DataType.DT_FLOAT, tensor_shape=TensorShapeProto(unknown_rank=True), float_val=[1]),
        TensorProto(dtype=DataType.DT_BFLOAT16, tensor_shape=shape(1), half_val=[1]),
        TensorProto(dtype=99, tensor_shape=shape(1)),
    ],
    ids=["short", "huge", "cut", "strings", "negative", "rank", "type", "unknown"],
)
def test_what_makes_no_sense_is_a_bad_reply(tensor: TensorProto) -> None:
    with pytest.raises(BadReply, match="'losses'"):
        to_array(tensor, "losses")


def test_other_types_are_not_sent() -> None:
    with pytest.raises(TypeError, match="complex64"):
        number_tensor(np.zeros(1, np.complex64))
