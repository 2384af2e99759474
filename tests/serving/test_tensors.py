from __future__ import annotations

import time
import tracemalloc
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework import tensor_pb2, types_pb2

from styleserve.serving.tensors import MAX_TENSOR_BYTES, TensorError, fill_proto, to_array

DTYPES = ["f4", "f8", "f2", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"]


def to_proto(array: np.ndarray[Any, np.dtype[Any]]) -> tensor_pb2.TensorProto:
    proto = tensor_pb2.TensorProto()
    fill_proto(proto, array)
    return proto


def _proto(dtype: int, shape: list[int], **fields: Any) -> tensor_pb2.TensorProto:
    proto = tensor_pb2.TensorProto(dtype=dtype, **fields)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 3), (1,), (), (0, 4)])
def test_round_trip(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    back = to_array(to_proto(array))
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert np.array_equal(back, array)


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensorflow_reads_what_we_write_and_we_what_it_writes(dtype: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)
    assert np.array_equal(tf.make_ndarray(to_proto(array)), array)
    assert np.array_equal(to_array(tf.make_tensor_proto(array)), array)


def test_bfloat16() -> None:
    array = np.array([[0.5, -2.0]], tf.bfloat16.as_numpy_dtype)
    assert np.array_equal(to_array(to_proto(array)), array)


def test_strings() -> None:
    array = np.array([[b"\x00\xff", b""]], dtype=object)
    proto = to_proto(array)
    assert list(proto.string_val) == [b"\x00\xff", b""]
    assert to_array(proto).tolist() == array.tolist()


def test_floats_are_packed_values_and_not_content() -> None:
    proto = to_proto(np.array([1.5, np.nan, -np.inf], np.float32))
    assert not proto.tensor_content
    assert tf.make_tensor_proto([1.5, 2.0]).dtype == proto.dtype
    assert np.array_equal(np.array(proto.float_val), [1.5, np.nan, -np.inf], equal_nan=True)


def test_one_value_fills_a_tensor() -> None:
    assert to_array(_proto(types_pb2.DT_FLOAT, [2, 2], float_val=[0.5])).tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_a_value_that_stands_for_all_takes_no_memory() -> None:
    tracemalloc.start()
    array = to_array(_proto(types_pb2.DT_FLOAT, [50, 1_000_000], float_val=[0.5]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert array.nbytes == 200_000_000
    assert peak < 100_000
    assert array[49, 999_999] == 0.5


@pytest.mark.parametrize(
    "proto",
    [
        _proto(types_pb2.DT_FLOAT, [2], tensor_content=b"1234567"),
        _proto(types_pb2.DT_FLOAT, [2], tensor_content=b"123456789012"),
        _proto(types_pb2.DT_FLOAT, [3], float_val=[1, 2]),
        _proto(types_pb2.DT_FLOAT, [2], float_val=[1, 2, 3]),
        _proto(types_pb2.DT_FLOAT, [2]),
        _proto(types_pb2.DT_FLOAT, [2], int_val=[1, 2]),
        _proto(types_pb2.DT_FLOAT, [-1], float_val=[1]),
        _proto(types_pb2.DT_FLOAT, [-1, -4], float_val=[1, 1, 1, 1]),
        _proto(types_pb2.DT_FLOAT, [MAX_TENSOR_BYTES], float_val=[1]),
        _proto(types_pb2.DT_FLOAT, [2**62, 2**62], float_val=[1]),
        _proto(types_pb2.DT_FLOAT, [0, 2**62, 2**62]),
        _proto(types_pb2.DT_FLOAT, [1] * 100, float_val=[1]),
        _proto(types_pb2.DT_UINT8, [1], int_val=[256]),
        _proto(types_pb2.DT_UINT8, [1], int_val=[-1]),
        _proto(types_pb2.DT_STRING, [1000], string_val=[b"a"]),
        _proto(types_pb2.DT_STRING, [1], tensor_content=b"\x01a"),
        _proto(types_pb2.DT_STRING, [2**50]),
        _proto(types_pb2.DT_RESOURCE, [1]),
        _proto(types_pb2.DT_VARIANT, [1]),
        _proto(types_pb2.DT_FLOAT_REF, [1], float_val=[1]),
        _proto(types_pb2.DT_INVALID, [1]),
        _proto(4711, [1]),
    ],
    ids=lambda proto: str(proto).replace("\n", " ")[:60],
)
def test_what_is_no_tensor(proto: tensor_pb2.TensorProto) -> None:
    started = time.monotonic()
    with pytest.raises(TensorError):
        to_array(proto)
    assert time.monotonic() - started < 0.5  # refused before anything was allocated


def test_unknown_rank() -> None:
    proto = _proto(types_pb2.DT_FLOAT, [], float_val=[1])
    proto.tensor_shape.unknown_rank = True
    with pytest.raises(TensorError):
        to_array(proto)


def test_random_bytes_never_raise_anything_else() -> None:
    random = np.random.default_rng(0)
    good = to_proto(np.ones((2, 3), np.float32)).SerializeToString()
    for _ in range(2000):
        damaged = bytearray(good)
        for place in random.integers(0, len(good), 3):
            damaged[place] = random.integers(0, 256)
        # Bytes that protobuf cannot read do not get as far as our code.
        with suppress(TensorError, DecodeError):
            to_array(tensor_pb2.TensorProto.FromString(bytes(damaged)))
