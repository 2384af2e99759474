"""Limits of a model, held against requests whose pictures are not decoded."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from styleserve import contract
from styleserve.contract import Limits
from styleserve.serving.errors import RequestError
from styleserve.serving.models.signature import Signature
from styleserve.serving.requests.checks import check_request
from styleserve.serving.requests.limits import ModelLimits
from styleserve.serving.requests.request_header import RequestHeader
from styleserve.serving.requests.tensors import TensorError, _varint, to_array
from styleserve.serving.requests.work import pixel_steps
from styleserve.serving.server import MAX_REQUEST_BYTES, EmbeddedServer, ServerSettings

IMAGES, PAINT = contract.SERVING_DEFAULT, contract.PAINT


def limits_of(limits: Limits) -> ModelLimits:
    return ModelLimits(contract_version=contract.CONTRACT_VERSION, min_side=4, style_layers=5, **limits.numbers())


LIMITS = limits_of(
    Limits(max_side=48, max_batch=2, max_styles=3, max_pixels=1000, max_batch_pixels=1500, max_work=0.01)
)


def default_of(control: contract.Control) -> Any:
    value = control.default_within("relative", Limits(max_side=48))
    dtype = object if control.dtype == "string" else control.dtype
    return np.full((1,) * len(control.shape), value.encode() if isinstance(value, str) else value, dtype)


DEFAULTS: dict[str, Any] = {
    name: {
        **{control.name: default_of(control) for control in controls},
        "steps": np.array([1], np.int32),
        "max_side": np.array([40], np.int32),
    }
    for name, controls in ((IMAGES, contract.ADAM_CONTROLS), (PAINT, contract.CONTROLS))
}


def check(signature: str, limits: ModelLimits = LIMITS, **inputs: Any) -> None:
    protos = {
        name: value if isinstance(value, tensor_pb2.TensorProto) else tf.make_tensor_proto(value)
        for name, value in inputs.items()
    }
    check_request(limits, signature, RequestHeader(protos, DEFAULTS.get(signature, {})))


def grey(height: int, width: int, batch: int = 1) -> Any:
    return np.full((batch, height, width, 3), 0.5, np.float32)


def png(height: int, width: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "grey").save(file, "PNG")
    return file.getvalue()


def files_of(field: contract.Field, data: bytes) -> dict[str, Any]:
    """The input that has this file alone."""
    return {field.name: [[data]] if len(field.shape) > 1 else [data]}


def ints(*values: int) -> Any:
    return np.array(values, np.int32)


def floats(*values: Any) -> Any:
    return np.array(values, np.float32)


ALLOWED: list[tuple[str, dict[str, Any]]] = [
    (IMAGES, {"content_image": grey(25, 40), "style_image": grey(48, 4), "steps": ints(10)}),
    (IMAGES, {"content_image": grey(25, 30, 2), "steps": ints(5)}),
    (contract.DESCRIBE, {"image": grey(25, 40)}),
    (PAINT, {"content_bytes": [png(25, 40)] * 2, "steps": ints(5, 4)}),
    (
        PAINT,
        {"style_bytes": [[png(9, 9)] * 3], "style_scale": floats([0.5, 0.25, 0.7])},
    ),
    (PAINT, {"content_bytes": [png(25, 40)], "style_bytes": [[png(9, 18)] * 2], "style_blend": floats([0, 1])}),
    (PAINT, {"style_layer_weights": floats([0, 0, 0, 0, 1]), "colors": [b"matched"], "contract_version": ints(2)}),
    (PAINT, {"state": [b"xx"] * 2, "steps": ints(1, 2), "loss": [b"tutorial", b"painter"]}),
    # A mask and a start are stretched to the content, so their own sizes have no limit but that of a file.
    (PAINT, {"content_bytes": [png(25, 40)], "start_bytes": [png(100, 4)], "content_region_bytes": [[png(4, 100)]]}),
    # What follows is left to the graph.
    (IMAGES, {"content_image": grey(25, 40)[0]}),
    (IMAGES, {"content_image": grey(25, 40), "steps": np.array([0.5])}),
    (IMAGES, {"content_image": grey(25, 40), "steps": np.ones((1, 1), np.int32)}),
    (PAINT, {"content_bytes": [b""]}),
    (PAINT, {"content_bytes": [b"\xff\xd8\xff"], "style_bytes": [[b"", b"\xff\xd8\xff"]]}),
    ("of another model", {"content_image": grey(99, 99)}),
]


@pytest.mark.parametrize(("signature", "inputs"), ALLOWED)
def test_allowed(signature: str, inputs: dict[str, Any]) -> None:
    check(signature, **inputs)


WORK = (
    "[steps must be fewer, or pictures smaller, or examples fewer: one call may take 0.01 megapixel-steps "
    "(pixels x steps x examples / 1000000); got]"
)
STEPS = "[steps must be from 0 to 5000; got]"
TOGETHER = "must have at most 1500 pixels in all its images together"
PARTNER = "must have batch size 1 or match the batch; sizes:"
STYLES = "must have one value, or one for each style; got, and the number of styles:"
LAYERS = "must have one value, or one for each style layer; got, and the number of style layers:"
RESIZED = ", resized to a longest side of max_side (x style_scale for a style),"
PIXELS = "must have at most 1000 pixels; got height, width:"
SIDES = "must have sides from 4 to 48 pixels; got height, width:"

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (contract.DESCRIBE, {"image": grey(3, 9)}, f"[image {SIDES}] [3 9]"),
    (contract.DESCRIBE, {"image": grey(26, 40)}, "[image must have at most 1000 pixels; got height, width:] [26 40]"),
    (contract.DESCRIBE, {"image": grey(4, 4, 3)}, "[image must have a batch size from 1 to 2; got] [3]"),
    (contract.DESCRIBE, {"image": grey(4, 4, 0)}, "[image must have a batch size from 1 to 2; got] [0]"),
    (contract.LIMITS, {"example": ints(1, 1, 1)}, "[example must have a batch size from 1 to 2; got] [3]"),
    (IMAGES, {"style_image": grey(49, 9)}, f"[style_image {SIDES}] [49 9]"),
    (IMAGES, {"style_image": grey(31, 25, 2)}, f"[style_image {TOGETHER}; got batch, height, width:] [2 31 25]"),
    (IMAGES, {"content_image": grey(25, 40), "steps": ints(11)}, f"{WORK} [0.011]"),
    (IMAGES, {"content_image": grey(25, 30, 2), "steps": ints(1, 8)}, f"{WORK} [0.012]"),
    (IMAGES, {"content_image": grey(25, 40), "style_weight": floats(1, 1, 1)}, f"[style_weight {PARTNER}] [3] [1]"),
    (IMAGES, {"content_image": grey(25, 40, 2), "steps": ints()}, f"[steps {PARTNER}] [0] [2]"),
    (IMAGES, {"content_image": grey(25, 40), "steps": ints(99999)}, f"{STEPS} [99999]"),
    (IMAGES, {"style_weight": floats(2e12)}, "[style_weight must be from 0 to 1e+12; got] [2e+12]"),
    (IMAGES, {"learning_rate": floats(1.0001)}, "[learning_rate must be from 0 to 1; got] [1.0001]"),
    (PAINT, {"style_weight": floats(2e6)}, "[style_weight must be from 0 to 1e+06; got] [2e+06]"),
    (PAINT, {"content_weight": floats(np.nan)}, "[content_weight must be from 0 to 1e+06; got] [nan]"),
    (PAINT, {"reference_weight": floats(-1)}, "[reference_weight must be from 0 to 1e+06; got] [-1]"),
    (PAINT, {"start_noise": floats(1.5)}, "[start_noise must be from 0 to 1; got] [1.5]"),
    (PAINT, {"seed": ints(-1)}, "[seed must be from 0 to 2.14748e+09; got] [-1]"),
    (PAINT, {"max_side": ints(2000)}, "[max_side must be from 16 to 48; got] [2000]"),
    (PAINT, {"style_scale": floats([0.1])}, "[style_scale must be from 0.125 to 8; got] [[0.1]]"),
    (PAINT, {"style_blend": floats([-1])}, "[style_blend must be from 0 to 1e+06; got] [[-1]]"),
    (PAINT, {"style_blend": floats([0])}, "[style_blend must not be 0 for all styles; got] [[0]]"),
    (
        PAINT,
        {"style_bytes": [[b""] * 2] * 2, "style_blend": floats([0])},
        "[style_blend must not be 0 for all styles; got] [[0 0][0 0]]",
    ),
    (PAINT, {"style_layer_weights": floats([1] * 4)}, f"[style_layer_weights {LAYERS}] [4] [5]"),
    (PAINT, {"style_layer_weights": np.zeros((1, 0), np.float32)}, f"[style_layer_weights {LAYERS}] [0] [5]"),
    (PAINT, {"colors": [b"sepia"]}, "[colors must be one of style, content, matched; got] [sepia]"),
    (PAINT, {"loss": [b""]}, "[loss must be one of painter, tutorial; got] []"),
    (PAINT, {"optimizer": [b"lbfgs\n"]}, "[optimizer must be one of lbfgs, adam; got] [lbfgs\\n]"),
    (PAINT, {"image_format": [b"tiff"]}, "[image_format must be one of png, png16, jpeg; got] [tiff]"),
    (PAINT, {"contract_version": ints(1)}, f"[contract_version {contract.CONTRACT_VERSION_RULE}] [1]"),
    (
        PAINT,
        {"content_bytes": [b""] * 2, "contract_version": ints(3)},
        f"[contract_version {contract.CONTRACT_VERSION_RULE}] [3 3]",
    ),
    (
        PAINT,
        {"contract_version": ints(2, 2, 2)},
        "[contract_version must have a batch size from 1 to 2; got] [3]",
    ),
    (PAINT, {"content_bytes": [b""] * 3}, "[content_bytes must have a batch size from 1 to 2; got] [3]"),
    (PAINT, {"start_bytes": [b""] * 3}, "[start_bytes must have a batch size from 1 to 2; got] [3]"),
    (PAINT, {"state": [b""] * 3}, "[state must have a batch size from 1 to 2; got] [3]"),
    (PAINT, {"content_bytes": [b""] * 2, "max_side": ints(20, 20, 20)}, f"[max_side {PARTNER}] [3] [2]"),
    (PAINT, {"state": [b""] * 2, "steps": ints(1, 1, 1)}, f"[steps {PARTNER}] [3] [2]"),
    (PAINT, {"content_bytes": [b""] * 2, "steps": ints(1, -1)}, f"{STEPS} [1 -1]"),
    (PAINT, {"style_bytes": [[b""] * 4]}, "[style_bytes must have from 1 to 3 styles; got] [4]"),
    (PAINT, {"style_bytes": np.empty((1, 0), object)}, "[style_bytes must have from 1 to 3 styles; got] [0]"),
    (PAINT, {"style_bytes": [[b""] * 3], "style_blend": floats([1, 1])}, f"[style_blend {STYLES}] [2] [3]"),
    (PAINT, {"style_bytes": [[b""]], "style_scale": floats([1, 1])}, f"[style_scale {STYLES}] [2] [1]"),
    (
        PAINT,
        {"style_bytes": [[b""] * 3], "style_region_bytes": [[b""] * 2]},
        f"[style_region_bytes {STYLES}] [2] [3]",
    ),
    (PAINT, {"content_region_bytes": [[b""] * 2]}, f"[content_region_bytes {STYLES}] [2] [1]"),
    (
        PAINT,
        {"style_bytes": [[png(26, 40)]]},
        f"[style_bytes{RESIZED} {PIXELS}] [26 40]",
    ),
    (PAINT, {"style_bytes": [[b"", png(10, 400)]]}, f"[style_bytes{RESIZED} {SIDES}] [1 40]"),
    (
        PAINT,
        {"style_bytes": [[png(9, 9), png(10, 40)]], "style_scale": floats([0.5, 2.0])},
        f"[style_bytes{RESIZED} {SIDES}] [20 80]",
    ),
    (PAINT, {"content_bytes": [png(10, 400)]}, f"[content_bytes{RESIZED} {SIDES}] [1 40]"),
    (PAINT, {"content_bytes": [png(25, 40)] * 2, "steps": ints(1, 6)}, f"{WORK} [0.012]"),
    (PAINT, {"content_bytes": [png(25, 40)], "steps": ints(1, 6), "style_bytes": [[b""], [b""]]}, f"{WORK} [0.012]"),
    *(
        (PAINT, files_of(field, b"no picture"), f"[{field.name} {contract.FILE_RULE}] [0 0]")
        for field in contract.FILES
    ),
]


@pytest.mark.parametrize(("signature", "inputs", "text"), REFUSED)
def test_refused(signature: str, inputs: dict[str, Any], text: str) -> None:
    with pytest.raises(RequestError) as caught:
        check(signature, **inputs)
    assert str(caught.value) == f"assertion failed: {text}"


@pytest.mark.parametrize("field", contract.FILES, ids=lambda field: field.name)
def test_files_are_refused_from_their_bytes_and_headers(field: contract.Field) -> None:
    limits = limits_of(Limits(max_encoded_pixels=999, max_encoded_bytes=2000))
    with pytest.raises(RequestError, match=rf"\[{field.name} must have at most 2000 bytes; got\] \[2001\]"):
        check(PAINT, limits, **files_of(field, bytes(2001)))
    pixels = rf"\[{field.name} must have at most 999 pixels; got height, width:\] \[25 40\]"
    with pytest.raises(RequestError, match=pixels):
        check(PAINT, limits, **files_of(field, png(25, 40)))


def test_shapes_are_enough_to_refuse() -> None:
    """One value stands for all: the message is small, and what it claims is not."""
    image = tf.make_tensor_proto(0.5, tf.float32, [1, 4, 4, 3])
    image.tensor_shape.dim[1].size = 2**40
    with pytest.raises(RequestError, match="1099511627776 4"):
        check(contract.DESCRIBE, image=image)
    for field in contract.SIGNATURES[PAINT].inputs:
        value = "" if field.dtype == "string" else 1
        claimed = tf.make_tensor_proto(value, field.dtype, [1] * len(field.shape))
        for dim in claimed.tensor_shape.dim:
            dim.size = 50_000_000
        with pytest.raises(RequestError, match=rf"\[{field.name} must have .*\] \[50000000\]"):
            check(PAINT, **{field.name: claimed})
        if len(field.shape) > 1:
            claimed.tensor_shape.dim[0].size = 1
            with pytest.raises(RequestError, match=rf"\[{field.name} must have .*\] \[50000000\]"):
                check(PAINT, **{field.name: claimed})


class Millions(Sequence[Any]):
    """50 million of the same, as a small message may bring; `seen` counts how many were looked at."""

    def __init__(self, item: Any) -> None:
        self.item = item
        self.seen = 0

    def __len__(self) -> int:
        return 50_000_000

    def __getitem__(self, at: Any) -> Any:
        many = len(range(len(self))[at]) if isinstance(at, slice) else 1
        self.seen += many
        assert self.seen < 10_000, "they are looked through"
        return [self.item] * many if isinstance(at, slice) else self.item


def proto_of(*, dims: Sequence[Any] = (), strings: Sequence[Any] = ()) -> tensor_pb2.TensorProto:
    shape = SimpleNamespace(dim=dims, unknown_rank=False)
    values: dict[str, Any] = {"string_val": strings, "int_val": [], "tensor_content": b""}
    return cast("tensor_pb2.TensorProto", SimpleNamespace(dtype=types_pb2.DT_STRING, tensor_shape=shape, **values))


@pytest.mark.parametrize("name", [field.name for field in contract.SIGNATURES[PAINT].inputs if len(field.shape) == 1])
@pytest.mark.parametrize("what", ["strings", "dimensions"])
def test_only_a_few_of_millions_are_read(name: str, what: str) -> None:
    one = tensor_shape_pb2.TensorShapeProto.Dim(size=1)
    strings, dims = Millions(b""), Millions(one)
    proto = proto_of(dims=[one], strings=strings) if what == "strings" else proto_of(dims=dims, strings=[b""])
    if what == "dimensions" or name not in (contract.COLORS.name, "loss", "optimizer", "image_format"):
        check_request(LIMITS, PAINT, RequestHeader({name: proto}, DEFAULTS[PAINT]))
    pixel_steps(RequestHeader({name: proto}, DEFAULTS[PAINT]))
    if what == "strings":
        assert to_array(proto).tolist() == [b""]
    else:
        with pytest.raises(TensorError):
            to_array(proto)


@pytest.mark.parametrize("as_content", [True, False])
def test_files_that_are_cut_or_repeated_are_held_against_the_limits(as_content: bool) -> None:
    small, large = png(25, 40), png(48, 48)
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=[small, *[large] * 9])
    if as_content:
        proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, tensor_content=_varint(len(small)) + small)
    proto.tensor_shape.dim.add(size=1)
    check(PAINT, content_bytes=proto)
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=[large])
    if as_content:
        proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, tensor_content=_varint(len(large)) + large)
    proto.tensor_shape.dim.add(size=1 if as_content else 2)
    with pytest.raises(RequestError, match=r"at most 1000 pixels; got height, width:\] \[40 40\]"):
        check(PAINT, content_bytes=proto)


def test_inputs_by_the_million_are_refused_by_their_number() -> None:
    signature = Signature("any", meta_graph_pb2.SignatureDef())
    with pytest.raises(RequestError, match=r"^input size does not match signature: 2000!=0$"):
        signature.check({f"input{number}": tensor_pb2.TensorProto() for number in range(2000)}, [])


def test_a_limit_that_came_as_float32_lets_through_what_is_at_the_limit() -> None:
    limits = limits_of(Limits(max_side=100, max_steps=7, max_batch=3, max_work=0.07))
    check(IMAGES, replace(limits, max_work=float(np.float32(0.07))), content_image=grey(100, 100), steps=ints(7))


def test_a_server_takes_requests_as_large_as_the_models(stand_in_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def limit(*limits: ModelLimits, **settings: Any) -> int:
        server = EmbeddedServer(stand_in_base, settings=ServerSettings(port=0, **settings))
        monkeypatch.setattr(server._manager, "limits", lambda: list(limits))
        return server._max_request_bytes()

    usual, large, huge = (limits_of(Limits(max_side=side, max_batch=8)) for side in (1024, 2048, 16384))
    assert limit() == limit(usual) == MAX_REQUEST_BYTES
    assert limit(usual, large) == 2 * 8 * 2048 * 2048 * 3 * 4 + 2**20
    assert limit(huge) == 2**31 - 1
    assert limit(large, max_request_bytes=1000) == 1000
    one = limits_of(Limits(max_side=2048, max_batch=1))
    assert limit(one) > 2048 * 2048 * 117 + 8 * 2_400_000, "the state of one picture, which is larger than two pictures"


def test_every_limit_of_a_request_is_read() -> None:
    """A caller may begin at any size, so the smallest octave is advice."""
    assert {field.name for field in contract.LIMIT_FIELDS} - {contract.SMALLEST_OCTAVE} == set(vars(LIMITS))
