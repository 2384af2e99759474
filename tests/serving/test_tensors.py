from __future__ import annotations

import tracemalloc
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2, types_pb2

from styleserve.serving.requests.tensors import (
    _KINDS,
    MAX_UNSENT_BYTES,
    TensorError,
    fill_proto,
    to_array,
    unsent_bytes,
)

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
        _proto(types_pb2.DT_FLOAT, [-1], float_val=[1]),
        _proto(types_pb2.DT_FLOAT, [-1, -4], float_val=[1, 1, 1, 1]),
        _proto(types_pb2.DT_FLOAT, [2**62, 2**62], float_val=[1]),
        _proto(types_pb2.DT_FLOAT, [0, 2**62, 2**62]),
        _proto(types_pb2.DT_FLOAT, [1] * 100, float_val=[1]),
        _proto(types_pb2.DT_BOOL, [3], tensor_content=b"\0\2\1"),
        _proto(types_pb2.DT_STRING, [2], tensor_content=b"\x01\x02azzz"),
        _proto(types_pb2.DT_STRING, [2], tensor_content=b"\x01\x02az"),
        _proto(types_pb2.DT_STRING, [3], tensor_content=b"\x01\x02"),
        _proto(types_pb2.DT_STRING, [2], tensor_content=b"\x01\x82"),
        _proto(types_pb2.DT_STRING, [1], tensor_content=b"\x81\x80\x80\x80\x80\x00a"),
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
    with pytest.raises(TensorError):
        to_array(proto)


@pytest.mark.parametrize(
    ("proto", "unsent"),
    [
        (_proto(types_pb2.DT_FLOAT, [MAX_UNSENT_BYTES // 4 + 2], float_val=[1]), MAX_UNSENT_BYTES + 4),
        (_proto(types_pb2.DT_FLOAT, [1, 16000, 16000, 3], float_val=[1, 2]), 4 * (16000 * 16000 * 3 - 2)),
        (_proto(types_pb2.DT_HALF, [2**30]), 2**31),
        (_proto(types_pb2.DT_STRING, [10_000], string_val=[bytes(100_000)]), 10_000 * 24 + 9999 * 100_000),
        (_proto(types_pb2.DT_STRING, [9_000_000], tensor_content=bytes(9_000_000)), 9_000_000 * 24),
        (_proto(types_pb2.DT_STRING, [2**30]), 2**30 * 24),
    ],
    ids=lambda value: str(value).replace("\n", " ")[:60],
)
def test_what_needs_more_memory_than_was_sent(proto: tensor_pb2.TensorProto, unsent: int) -> None:
    assert unsent_bytes(proto) == unsent
    tracemalloc.start()
    with pytest.raises(TensorError, match=f"its shape needs {unsent} bytes beyond what was sent"):
        to_array(proto)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000  # the message itself is copied


@pytest.mark.parametrize(
    ("proto", "meant"),
    [
        (_proto(types_pb2.DT_FLOAT, [2, 2], float_val=[1, 2]), [[1, 2], [2, 2]]),
        (_proto(types_pb2.DT_FLOAT, [2]), [0, 0]),
        (_proto(types_pb2.DT_FLOAT, [2], int_val=[1, 2]), [0, 0]),
        (_proto(types_pb2.DT_FLOAT, [2], float_val=[1, 2, 3]), [1, 2]),
        (_proto(types_pb2.DT_FLOAT, [1], float_val=[7], tensor_content=b"\0\0\x80?"), [1]),
        (_proto(types_pb2.DT_FLOAT, [2, 0], float_val=[7], tensor_content=b"123"), [[], []]),
        (_proto(types_pb2.DT_UINT8, [2], int_val=[256, -1]), [0, 255]),
        (_proto(types_pb2.DT_HALF, [2], half_val=[15360 + 65536]), [1, 1]),
        (_proto(types_pb2.DT_BOOL, [3], bool_val=[False, True]), [False, True, True]),
        (_proto(types_pb2.DT_STRING, [3], string_val=[b"a", b"b"]), [b"a", b"b", b"b"]),
        (_proto(types_pb2.DT_STRING, [1], string_val=[b"a", b"b"]), [b"a"]),
        (_proto(types_pb2.DT_STRING, [2]), [b"", b""]),
        (_proto(types_pb2.DT_STRING, [2], tensor_content=b"\x01\x02azz"), [b"a", b"zz"]),
        (_proto(types_pb2.DT_STRING, [1], tensor_content=b"\x81\x80\x80\x80\x10a"), [b"a"]),
        (_proto(types_pb2.DT_STRING, [1], tensor_content=b"\x80\x02" + b"z" * 256), [b"z" * 256]),
    ],
    ids=lambda value: str(value).replace("\n", " ")[:60],
)
def test_fewer_and_more_values(proto: tensor_pb2.TensorProto, meant: list[Any]) -> None:
    assert to_array(proto).tolist() == _read_by_tensorflow(proto).tolist() == meant


@pytest.mark.parametrize("shape", [[], [3]])
def test_unknown_rank_beside_a_shape(shape: list[int]) -> None:
    proto = _proto(types_pb2.DT_FLOAT, shape, float_val=[1])
    proto.tensor_shape.unknown_rank = True
    assert to_array(proto).tolist() == _read_by_tensorflow(proto).tolist() == np.ones(shape).tolist()


_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "float_val": st.floats(width=32),
    "double_val": st.floats(),
    "int_val": st.integers(-(2**31), 2**31 - 1),
    "half_val": st.integers(-(2**31), 2**31 - 1),
    "int64_val": st.integers(-(2**63), 2**63 - 1),
    "uint32_val": st.integers(0, 2**32 - 1),
    "uint64_val": st.integers(0, 2**64 - 1),
    "bool_val": st.booleans(),
    "string_val": st.binary(max_size=3),
}


@st.composite
def _protos(draw: st.DrawFn) -> tensor_pb2.TensorProto:
    """Tensors of each type that travels, with values that may be too few, too many, or of another type."""
    proto = _proto(draw(st.sampled_from(sorted(_KINDS))), draw(st.lists(st.integers(-1, 3), max_size=3)))
    proto.tensor_shape.unknown_rank = draw(st.booleans())
    for field in draw(st.lists(st.sampled_from([_KINDS[proto.dtype].field, *_FIELDS]), max_size=2, unique=True)):
        getattr(proto, field).extend(draw(st.lists(_FIELDS[field], max_size=9)))
    if draw(st.booleans()):
        strings = draw(st.lists(st.binary(max_size=3), max_size=4))
        encoded = bytes(map(len, strings)) + b"".join(strings)
        numbers = draw(st.binary(max_size=4)) * draw(st.sampled_from([1, 2, 4, 8]))
        proto.tensor_content = draw(st.sampled_from([encoded, numbers, draw(st.binary(max_size=12))]))
    return proto


@given(_protos())
@settings(max_examples=400, deadline=None)
def test_read_as_tensorflow_reads(proto: tensor_pb2.TensorProto) -> None:
    try:
        meant = _read_by_tensorflow(proto)
    except tf.errors.InvalidArgumentError:
        with pytest.raises(TensorError):
            to_array(proto)
        return
    array = to_array(proto)
    assert array.shape == meant.shape
    assert array.dtype == meant.dtype
    if array.dtype == np.object_:
        assert array.tolist() == meant.tolist()
    else:
        assert array.tobytes() == meant.tobytes()


def _read_by_tensorflow(proto: tensor_pb2.TensorProto) -> np.ndarray[Any, np.dtype[Any]]:
    dtype = tf.dtypes.as_dtype(proto.dtype)
    return np.asarray(tf.io.parse_tensor(proto.SerializeToString(), dtype).numpy(), dtype.as_numpy_dtype)


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
