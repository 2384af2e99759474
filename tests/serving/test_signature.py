"""Refusals of a request by its signature alone."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from styleserve.serving.errors import RequestError
from styleserve.serving.models.signature import Signature
from styleserve.serving.requests.tensors import MAX_UNSENT_BYTES


def proto(*sizes: int, dtype: int = types_pb2.DT_FLOAT, **fields: Any) -> tensor_pb2.TensorProto:
    tensor = tensor_pb2.TensorProto(dtype=dtype, **fields)
    for size in sizes:
        tensor.tensor_shape.dim.add(size=size)
    return tensor


def signature(defaults: bool = True) -> Signature:
    """`a` and `b` of any length, `c` of two columns; `c` with a default or not."""
    definition = meta_graph_pb2.SignatureDef()
    for name, shape in {"a": [-1], "b": [-1], "c": [-1, 2]}.items():
        info = definition.inputs[name]
        info.name, info.dtype = f"call_{name}:0", types_pb2.DT_FLOAT
        for size in shape:
            info.tensor_shape.dim.add(size=size)
    definition.outputs["y"].name = "y:0"
    if defaults:
        definition.defaults["c"].CopyFrom(proto(1, 2, float_val=[7]))
    return Signature("call", definition)


A, B, C = proto(1), proto(1), proto(1, 2)


@pytest.mark.parametrize(
    ("defaults", "inputs", "text"),
    [
        (False, {"a": A, "b": B}, "2!=3 len({a,b}) != len({a,b,c}). Sent extra: {}. Missing but required: {c}."),
        (False, {"a": A, "b": B, "d": C}, "Signature input alias: c(feed name: call_c:0) not found in request and no "),
        (True, {"a": A}, "{a}, or default input alias set: c"),
        (
            True,
            {},
            "Signature input alias: a(feed name: call_a:0) not found in request and no default value provided. ",
        ),
        (True, {"a": A, "b": B, "d": C}, "Used request inputs: a,b, request input: a,b,d"),
        (True, {"a": A, "b": B, "c": C, "d": C}, "4!=3 len({a,b,c,d}) != len({a,b,c}). Sent extra: {d}. Missing but"),
        (True, {"a": A, "b": proto(1, dtype=types_pb2.DT_INT32)}, "Expects arg[1] to be float but int32 is provided"),
        (
            True,
            {"a": A, "b": B, "c": proto(4, 3)},
            "_arg_call_c_0_2 [4,3] is not compatible with expected shape [?,2].",
        ),
        (True, {"a": A, "b": proto()}, "Shape of tensor _arg_call_b_0_1 [] is not compatible with expected shape [?]."),
    ],
)
def test_names_types_and_shapes(defaults: bool, inputs: dict[str, tensor_pb2.TensorProto], text: str) -> None:
    with pytest.raises(RequestError) as caught:
        signature(defaults).check(inputs, [])
    assert text in str(caught.value)


def test_a_default_stands_in() -> None:
    feeds = signature().feeds({"a": proto(2, float_val=[1]), "b": B})
    assert {name: array.tolist() for name, array in feeds.items()} == {
        "call_a:0": [1, 1],
        "call_b:0": [0],
        "call_c:0": [[7, 7]],
    }


def test_what_inputs_claim_together_is_bounded_before_memory_is_taken() -> None:
    half = MAX_UNSENT_BYTES // 8
    signature().check_lengths({"a": proto(half), "b": proto(half)})
    inputs = {"a": proto(half, float_val=[1, 2]), "b": proto(half, float_val=[1, 2]), "c": proto(3, 2)}
    tracemalloc.start()
    with pytest.raises(RequestError, match=r"tensor parsing error: \w; the shapes need \d+ bytes beyond what was sent"):
        signature().check_lengths(inputs)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


def test_content_of_another_length() -> None:
    with pytest.raises(RequestError, match=r"^tensor parsing error: b$"):
        signature().check_lengths({"a": A, "b": proto(2, tensor_content=b"1234567")})
