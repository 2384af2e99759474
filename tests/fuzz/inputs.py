"""Inputs that no honest client would send: of each, tensors that are nearly right, and tensors that are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2, types_pb2

from styleserve import contract
from styleserve.model.state import FINGERPRINT_BYTES, _hash

from .files import SERVED, hostile_files
from .good import mask, numbers, strings

Tensors = st.SearchStrategy[tensor_pb2.TensorProto]

_INT32 = st.integers(-(2**31), 2**31 - 1)
_INT64 = st.integers(-(2**63), 2**63 - 1)
_SIZES = st.one_of(st.integers(0, 40), st.sampled_from([-1, -(2**63), 2**31, 2**62, 2**63 - 1, 10**6, 16, 32]))
_FLOATS = st.one_of(
    st.floats(width=32),
    st.floats(0, 1, width=32),
    st.sampled_from([0.0, 1.0, 0.125, 8.0, float(np.float32(0.02)), 1e6, 1e12, float(np.float32(3e38))]),
)
_NUMBERS: dict[str, st.SearchStrategy[Any]] = {
    contract.STEPS.name: st.one_of(st.integers(0, 3), _INT32),
    contract.MAX_SIDE.name: st.one_of(st.integers(16, 64), _INT32),
    contract.RETURN_STATE.name: st.one_of(st.integers(-1, 2), _INT32),
    contract.CONTRACT_VERSION_INPUT.name: st.one_of(st.just(contract.CONTRACT_VERSION), st.integers(-1, 4), _INT32),
}
"""Values of an input of numbers, where it has its own."""

_DIMENSION_BYTES = 24
"""Bytes of the sizes behind the fingerprint of a state."""


@st.composite
def any_tensor(draw: st.DrawFn) -> tensor_pb2.TensorProto:
    """A tensor of any type whose shape and data need not fit together."""
    proto = tensor_pb2.TensorProto()
    proto.dtype = draw(st.one_of(st.sampled_from([1, 3, 7]), st.sampled_from(types_pb2.DataType.values()), st.just(77)))
    for size in draw(st.lists(_SIZES, max_size=draw(st.sampled_from([1, 2, 4, 5, 40])))):
        proto.tensor_shape.dim.add(size=size)
    proto.tensor_shape.unknown_rank = draw(st.integers(0, 20)) == 0
    if draw(st.booleans()):
        proto.tensor_content = draw(st.binary(max_size=64)) * draw(st.sampled_from([0, 1, 7, 1000]))
    times = draw(st.sampled_from([0, 1, 1, 2, 3 * 16 * 16]))
    values: dict[str, st.SearchStrategy[Any]] = {
        "float_val": st.floats(width=32),
        "double_val": st.floats(),
        "int_val": _INT32,
        "int64_val": _INT64,
        "bool_val": st.booleans(),
        "half_val": st.integers(0, 2**31 - 1),
        "uint32_val": st.integers(0, 2**32 - 1),
        "uint64_val": st.integers(0, 2**64 - 1),
        "string_val": st.binary(max_size=8),
    }
    kind = draw(st.sampled_from(list(values)))
    getattr(proto, kind).extend([draw(values[kind])] * times)
    return proto


@st.composite
def _images(draw: st.DrawFn) -> tensor_pb2.TensorProto:
    """Images that are right but for their sizes or a few values."""
    sides = st.sampled_from([0, 1, 2, 4, 5, 16, 17, 33, 64, 65])
    shape = (
        draw(st.sampled_from([0, 1, 1, 1, 2, 5])),
        draw(sides),
        draw(sides),
        draw(st.sampled_from([3, 3, 3, 1, 4])),
    )
    image = np.full(shape, 0.5, np.float32)
    if image.size and draw(st.booleans()):
        image.reshape(-1)[draw(st.integers(0, image.size - 1))] = draw(st.floats(width=32))
    return numbers(image)


@st.composite
def _arrays(draw: st.DrawFn, field: contract.Field, values: st.SearchStrategy[Any]) -> tensor_pb2.TensorProto:
    """Values in the type and rank of an input; most often one for each of one example's two styles."""
    shape = [draw(st.sampled_from([1, 1, 1, 1, 2, 0, 5]))]
    shape += [draw(st.sampled_from([2, 2, 2, 1, 3, 0, 9])) for _ in field.shape[1:]]
    found = [draw(values) for _ in range(int(np.prod(shape)))]
    if field.dtype == "string":
        return strings(found, *shape, in_content=draw(st.booleans()))
    return numbers(np.array(found, field.dtype).reshape(shape))


def near_state(state: bytes) -> Tensors:
    """A real state, whole, with a few bytes changed, cut short or too long; or with other sizes, and their checksum."""

    def changed(at: int, what: bytes, length: int) -> bytes:
        place = at % (len(state) - len(what))
        return (state[:place] + what + state[place + len(what) :])[: len(state) + length] + bytes(max(0, length))

    def with_other_sizes(at: int, what: bytes) -> bytes:
        body = changed(FINGERPRINT_BYTES + at, what, 0)[:-8]
        return body + _hash(tf.constant(body)).numpy()

    nan = np.array([np.nan, np.inf], np.float32).tobytes()
    what = st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from([nan, b"\xff" * 4, b"\xff\xff\xff\x7f", b""]))
    places = st.one_of(st.integers(0, FINGERPRINT_BYTES + _DIMENSION_BYTES), st.integers(0, 2**30))
    one = st.one_of(
        st.just(state),
        st.builds(changed, places, what, st.sampled_from([0, 0, 0, -1, 1, -4, 4])),
        st.builds(with_other_sizes, st.integers(0, _DIMENSION_BYTES - 1), st.binary(min_size=1, max_size=4)),
        st.binary(max_size=60),
    )
    return st.lists(one, min_size=1, max_size=2).map(strings)


def _near(field: contract.Field) -> Tensors:
    if len(field.shape) == 4:
        return _images()
    if field in contract.FILES:
        masks = [b"", *(mask(level) for level in (0, 1, 128, 255))]
        return _arrays(field, st.one_of(hostile_files(SERVED), st.sampled_from(masks)))
    if field.dtype == "string":
        choices = st.sampled_from([choice.encode() for choice in field.control.choices] if field.control else [b""])
        return _arrays(field, st.one_of(choices, choices, st.binary(max_size=9), st.just(b"\xff" * 3000)))
    return _arrays(field, _NUMBERS.get(field.name, _INT32 if field.dtype == "int32" else _FLOATS))


NEAR: dict[str, Tensors] = {
    field.name: _near(field) for signature in contract.SIGNATURES.values() for field in signature.inputs
}
"""Nearly valid values of each input; `any_tensor` is mostly refused early."""
