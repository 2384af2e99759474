from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from styleserve.client import BadReply
from styleserve.client.wire.messages import DataType, TensorProto, TensorShapeProto
from styleserve.client.wire.tensors import bytes_tensor, number_tensor, to_array


def shape(*sizes: int) -> TensorShapeProto:
    return TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in sizes])


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
    ("tensor", "expected"),
    [
        (TensorProto(dtype=DataType.DT_FLOAT, tensor_shape=shape(3), float_val=[1, 2]), [1.0, 2.0, 2.0]),
        (TensorProto(dtype=DataType.DT_FLOAT, tensor_shape=shape(1), float_val=[1, 2]), [1.0]),
        (TensorProto(dtype=DataType.DT_INT32, tensor_shape=shape(2)), [0, 0]),
        (TensorProto(dtype=DataType.DT_STRING, tensor_shape=shape(2), string_val=[b"one"]), [b"one", b"one"]),
        (TensorProto(dtype=DataType.DT_STRING, tensor_shape=shape(2)), [b"", b""]),
        (TensorProto(dtype=DataType.DT_FLOAT, tensor_shape=TensorShapeProto(unknown_rank=True), float_val=[1, 2]), 1.0),
        (
            TensorProto(
                dtype=DataType.DT_STRING,
                tensor_shape=shape(2, 1),
                tensor_content=b"\x00\xac\x02" + b"x" * 300,  # 300 as a varint has two bytes
            ),
            [[b""], [b"x" * 300]],
        ),
    ],
    ids=["fewer", "more", "none", "fewer strings", "no strings", "unknown rank", "string content"],
)
def test_values_that_do_not_match_the_shape_are_read_as_tensorflow_does(tensor: TensorProto, expected: Any) -> None:
    assert to_array(tensor, "x").tolist() == expected


SIZES = st.lists(st.integers(0, 4), max_size=3)
KINDS = [
    (DataType.DT_FLOAT, "float_val", np.dtype("<f4")),
    (DataType.DT_DOUBLE, "double_val", np.dtype("<f8")),
    (DataType.DT_INT32, "int_val", np.dtype("<i4")),
    (DataType.DT_INT64, "int64_val", np.dtype("<i8")),
    (DataType.DT_BOOL, "bool_val", np.dtype(np.bool_)),
    (DataType.DT_STRING, "string_val", np.dtype(object)),
]


def string_content(values: list[bytes]) -> bytes:
    """As TensorFlow Serving writes it with --enable_serialization_as_tensor_content."""

    def varint(number: int) -> bytes:
        return bytes([number & 127 | 128]) + varint(number >> 7) if number > 127 else bytes([number])

    return b"".join(varint(len(value)) for value in values) + b"".join(values)


@st.composite
def protos(draw: st.DrawFn) -> TensorProto:
    """Any tensor: values in a list, in `tensor_content`, too few, too many, damaged."""
    dtype, field, element = draw(st.sampled_from(KINDS))
    sizes = draw(SIZES)
    number = st.booleans() if field == "bool_val" else st.integers(-(2**20), 2**20)
    value = st.binary(max_size=200) if field == "string_val" else number
    exact = draw(st.booleans())
    count = math.prod(sizes) if exact else draw(st.integers(0, 8))
    values = draw(st.lists(value, min_size=count, max_size=count))
    tensor = TensorProto(dtype=dtype, tensor_shape=shape(*sizes))
    tensor.tensor_shape.unknown_rank = draw(st.booleans())
    if draw(st.booleans()):
        getattr(tensor, field).extend(values)
        return tensor
    content = string_content(values) if field == "string_val" else np.array(values, element).tobytes()
    damage = draw(st.sampled_from(["none", "cut", "byte"]))
    if damage == "cut":
        content = content[: draw(st.integers(0, len(content)))]
    elif damage == "byte" and content:
        at = draw(st.integers(0, len(content) - 1))
        content = content[:at] + draw(st.binary(min_size=1, max_size=1)) + content[at + 1 :]
    tensor.tensor_content = content
    return tensor


@settings(max_examples=400, deadline=None)
@given(tensor=protos())
@example(tensor=TensorProto(dtype=DataType.DT_FLOAT, tensor_shape=shape(0), tensor_content=b"abc"))
@example(tensor=TensorProto(dtype=DataType.DT_STRING, tensor_shape=shape(1), tensor_content=b"\x81\x80\x80\x80\x10a"))
@example(
    tensor=TensorProto(dtype=DataType.DT_STRING, tensor_shape=shape(1), tensor_content=b"\x81\x80\x80\x80\x80\x00a")
)
@example(tensor=TensorProto(dtype=DataType.DT_STRING, tensor_shape=shape(), tensor_content=b"\x01\x00"))
@example(tensor=TensorProto(dtype=DataType.DT_BOOL, tensor_shape=shape(2), tensor_content=b"\x02\x00"))
def test_every_tensor_is_read_as_tensorflow_reads_it(tensor: TensorProto) -> None:
    serialized = tensor.SerializeToString()
    try:
        expected = tf.io.parse_tensor(serialized, tf.dtypes.as_dtype(int(tensor.dtype))).numpy()
    except tf.errors.InvalidArgumentError:
        with pytest.raises(BadReply, match=r"^the server's 'x' is damaged"):
            to_array(tensor, "x")
        return
    array = to_array(TensorProto.FromString(serialized), "x")
    # As a string of NumPy, bytes would lose the zeros at their end.
    expected = np.asarray(expected, object if isinstance(expected, bytes) else None)
    assert array.shape == expected.shape
    assert array.dtype == expected.dtype
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize(
    "tensor",
    [
        TensorProto(dtype=DataType.DT_FLOAT, tensor_shape=shape(10**12), float_val=[1]),
        TensorProto(dtype=DataType.DT_STRING, tensor_shape=shape(10**12), string_val=[b"a"]),
        TensorProto(dtype=DataType.DT_STRING, tensor_shape=shape(10**12), tensor_content=b"a"),
        TensorProto(dtype=DataType.DT_STRING, tensor_shape=shape(2**62, 2**62, 0)),
        TensorProto(dtype=DataType.DT_INT32, tensor_shape=shape(*[1] * 65), int_val=[1]),
        TensorProto(dtype=DataType.DT_FLOAT, tensor_shape=shape(2), tensor_content=b"1234567"),
        TensorProto(dtype=DataType.DT_FLOAT, tensor_shape=shape(-1), float_val=[1]),
        TensorProto(dtype=DataType.DT_BFLOAT16, tensor_shape=shape(1), half_val=[1]),
        TensorProto(dtype=99, tensor_shape=shape(1)),
    ],
    ids=["huge", "huge strings", "huge content", "huge and empty", "rank", "cut", "negative", "type", "unknown"],
)
def test_what_makes_no_sense_is_a_bad_reply(tensor: TensorProto) -> None:
    with pytest.raises(BadReply, match="'losses'"):
        to_array(tensor, "losses")


def test_other_types_are_not_sent() -> None:
    with pytest.raises(TypeError, match="complex64"):
        number_tensor(np.zeros(1, np.complex64))
