"""Every row of the table of errors: the status and the form of the text that TensorFlow Serving gives."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from styleserve.contract import DEFAULT_MODEL_NAME, DESCRIBE, STYLIZE_ENCODED, STYLIZE_LBFGS, STYLIZE_LBFGS_ENCODED

if TYPE_CHECKING:
    from .conftest import Target

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION

ARGUMENT = "_arg_serving_default_content_image_0_0"
IMAGE = np.full((1, 16, 16, 3), 0.5, np.float32)


def _with(change: Callable[[Any], object]) -> Callable[[Target], Any]:
    """A good request, changed."""

    def make(server: Target) -> Any:
        request = server.images()
        change(request)
        return request

    return make


def _without(request: Any, name: str) -> None:
    del request.inputs[name]


def _content(**fields: Any) -> Callable[[Target], Any]:
    """A good request whose content image has other fields."""

    def change(request: Any) -> None:
        for name, value in fields.items():
            if name == "sizes":
                request.inputs["content_image"].ClearField("tensor_shape")
                for size in value:
                    request.inputs["content_image"].tensor_shape.dim.add(size=size)
            elif name == "float_val":
                request.inputs["content_image"].float_val.extend(value)
            else:
                setattr(request.inputs["content_image"], name, value)

    return _with(change)


REQUESTS: dict[str, tuple[Callable[[Target], Any], grpc.StatusCode, str]] = {
    "wrong dtype": (
        lambda server: server.images(content_image=IMAGE.astype(np.float64)),
        INVALID,
        # Of content_image, content_weight, learning_rate, ... the first.
        r"Expects arg\[0\] to be float but double is provided",
    ),
    "wrong dtype of a later input": (
        lambda server: server.images(style_image=IMAGE.astype(np.float64)),
        INVALID,
        r"Expects arg\[4\] to be float but double is provided",
    ),
    "missing input": (
        _with(lambda request: _without(request, "style_image")),
        INVALID,
        (
            r"Signature input alias: style_image\(.*\) not found in request and no default value provided\. "
            r"Inputs expected to be in the request \{content_image,steps\}, or default input alias set: "
        ),
    ),
    "missing input, no defaults": (
        lambda server: server.request(DESCRIBE),
        INVALID,
        r"input size does not match signature: 0!=1 .* Sent extra: \{\}\. Missing but required: \{image\}\.",
    ),
    "extra input, no defaults": (
        lambda server: server.request(DESCRIBE, image=IMAGE, foo=IMAGE),
        INVALID,
        r"input size does not match signature: 2!=1 .* Sent extra: \{foo\}\. Missing but required: \{\}\.",
    ),
    "extra input": (
        lambda server: server.images(foo=IMAGE),
        INVALID,
        r"Inputs contains invalid name\. Used request inputs: .*, request input: .*foo",
    ),
    "corrupt tensor": (_content(tensor_content=b"123"), INVALID, r"tensor parsing error: content_image"),
    "size below zero": (_content(sizes=[-1, 16, 16, 3]), INVALID, r"tensor parsing error: content_image"),
    "unknown type": (_content(dtype=999), INVALID, r"tensor parsing error: content_image"),
    "wrong rank": (
        lambda server: server.images(content_image=IMAGE[0]),
        INVALID,
        rf"Shape of tensor {ARGUMENT} \[16,16,3\] is not compatible with expected shape \[\?,\?,\?,3\]",
    ),
    "wrong number of channels": (
        lambda server: server.images(content_image=IMAGE[..., :1]),
        INVALID,
        rf"Shape of tensor {ARGUMENT} \[1,16,16,1\] is not compatible with expected shape \[\?,\?,\?,3\]",
    ),
    "wrong rank of a later input": (
        lambda server: server.images(style_image=IMAGE[0]),
        INVALID,
        r"Shape of tensor _arg_serving_default_style_image_0_4 \[16,16,3\] is not compatible with expected shape",
    ),
    "assertion: too many steps": (
        lambda server: server.images(steps=99999),
        INVALID,
        r"assertion failed: \[steps must be from 0 to 5000; got\] \[99999\]",
    ),
    "assertion: steps": (lambda server: server.images(steps=-1), INVALID, r"assertion failed: .*steps"),
    "learning rate of an optimiser that has none": (
        lambda server: server.images(STYLIZE_LBFGS, learning_rate=np.array([0.1], np.float32)),
        INVALID,
        r"Inputs contains invalid name\. Used request inputs: .*learning_rate",
    ),
    "assertion: NaN weight": (
        lambda server: server.images(style_weight=np.array([np.nan], np.float32)),
        INVALID,
        r"assertion failed: .*style_weight",
    ),
    "assertion: steps, L-BFGS": (
        lambda server: server.images(STYLIZE_LBFGS, steps=-1),
        INVALID,
        r"assertion failed: .*steps",
    ),
    "assertion: NaN image, L-BFGS": (
        lambda server: server.images(STYLIZE_LBFGS, content_image=IMAGE * np.float32(np.nan)),
        INVALID,
        r"assertion failed: .*content_image",
    ),
    "assertion: NaN image": (
        lambda server: server.images(content_image=IMAGE * np.float32(np.nan)),
        INVALID,
        r"assertion failed: .*content_image",
    ),
    "assertion: no pixels": (
        lambda server: server.images(content_image=IMAGE[:, :0, :0]),
        INVALID,
        r"assertion failed: .*content_image",
    ),
    "unknown signature": (
        lambda server: server.images("nosuch"),
        PRECONDITION,
        r'Serving signature key "nosuch" not found\.',
    ),
    "the initialiser as a signature": (
        lambda server: server.request("__saved_model_init_op"),
        grpc.StatusCode.OUT_OF_RANGE,
        r"Node '.*' \(type: '.*', num of outputs: 0\) does not have output 0",
    ),
    "unknown model": (
        _with(lambda request: setattr(request.model_spec, "name", "nomodel")),
        NOT_FOUND,
        r"Servable not found for request: Latest\(nomodel\)",
    ),
    "unknown version": (
        _with(lambda request: setattr(request.model_spec.version, "value", 42)),
        NOT_FOUND,
        rf"Servable not found for request: Specific\({DEFAULT_MODEL_NAME}, 42\)",
    ),
    "unknown label": (
        _with(lambda request: setattr(request.model_spec, "version_label", "stable")),
        INVALID,
        r"Unrecognized servable version label: stable",
    ),
    "no model name": (
        _with(lambda request: request.model_spec.ClearField("name")),
        INVALID,
        r"ModelSpec has no name specified\.",
    ),
    "no model spec": (_with(lambda request: request.ClearField("model_spec")), INVALID, r"Missing ModelSpec"),
    "unknown output": (
        _with(lambda request: request.output_filter.append("nope")),
        INVALID,
        r"output tensor alias not found in signature: nope Outputs expected to be in the set \{.*losses.*\}\.",
    ),
    "output twice": (
        _with(lambda request: request.output_filter.extend(["losses", "losses"])),
        INVALID,
        r"duplicate output tensor alias: losses",
    ),
}


@pytest.mark.parametrize("row", REQUESTS)
def test_predict_refuses(server: Target, row: str) -> None:
    make, code, text = REQUESTS[row]
    with pytest.raises(grpc.RpcError, match=text) as caught:
        server.predict(make(server))
    assert caught.value.code() == code
    details = caught.value.details() or ""
    assert len(details) <= 1024
    if server.embedded:
        assert "Graph execution error" not in details
        assert "{{" not in details


def test_a_million_strings_for_one(server: Target, png: bytes) -> None:
    """What is more than the shape has room for is cut, as TensorFlow cuts it."""
    request = server.files(STYLIZE_ENCODED, png)
    good = server.predict(request)
    request.inputs["content_bytes"].string_val.extend([b""] * 10**6)
    assert server.predict(request).outputs["png_bytes"] == good.outputs["png_bytes"]


def test_strings_in_tensor_content(server: Target, png: bytes) -> None:
    request = server.files(STYLIZE_ENCODED, png)
    good = server.predict(request)
    proto = request.inputs["content_bytes"]
    proto.ClearField("string_val")
    assert len(png) in range(2**7, 2**14)  # a length of two bytes
    proto.tensor_content = bytes([len(png) & 0x7F | 0x80, len(png) >> 7]) + png
    assert server.predict(request).outputs["png_bytes"] == good.outputs["png_bytes"]


def test_values_that_are_not_sent(server: Target) -> None:
    """The last one stands for the rest, and zeros for all; the rank need not be known where there is a shape."""
    whole, short = server.images(content_image=IMAGE, steps=2), server.images(content_image=IMAGE, steps=2)
    proto = short.inputs["content_image"]
    proto.ClearField("tensor_content")
    proto.float_val.extend([0.5, 0.5])
    proto.tensor_shape.unknown_rank = True
    assert server.predict(short).outputs == server.predict(whole).outputs
    whole, short = server.images(content_image=IMAGE * 0), server.images(content_image=IMAGE * 0)
    short.inputs["content_image"].ClearField("tensor_content")
    assert server.predict(short).outputs == server.predict(whole).outputs


@pytest.mark.parametrize("signature", [STYLIZE_ENCODED, STYLIZE_LBFGS_ENCODED])
@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda _: b"this is text, and not a picture", r"content_bytes must be a file of one of the formats JPEG, PNG"),
        (lambda _: b"", r"content_bytes must be a file of one of the formats JPEG, PNG"),
        (lambda png: png[:200], r"Invalid PNG data, size 200"),
    ],
    ids=["not an image", "empty", "cut short"],
)
def test_encoded_refuses(
    server: Target, png: bytes, change: Callable[[bytes], bytes], text: str, signature: str
) -> None:
    request = server.files(signature, png, content_bytes=[change(png)])
    with pytest.raises(grpc.RpcError) as caught:
        server.predict(request)
    assert caught.value.code() == INVALID
    assert re.search(text, caught.value.details())


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (["foo"], "Metadata field foo is not supported"),
        ([], "GetModelMetadataRequest must specify at least one metadata_field"),
    ],
    ids=["unknown field", "no field"],
)
def test_metadata_refuses(server: Target, fields: list[str], text: str) -> None:
    with pytest.raises(grpc.RpcError, match=text) as caught:
        server.metadata(*fields)
    assert caught.value.code() == INVALID


def test_metadata_of_an_unknown_model(server: Target) -> None:
    with pytest.raises(grpc.RpcError, match=r"Servable not found for request: Latest\(nomodel\)") as caught:
        server.metadata("signature_def", name="nomodel")
    assert caught.value.code() == NOT_FOUND


@pytest.mark.parametrize(
    ("name", "version", "text"),
    [
        ("nomodel", None, "Could not find any versions of model nomodel"),
        (DEFAULT_MODEL_NAME, 42, f"Could not find version 42 of model {DEFAULT_MODEL_NAME}"),
    ],
)
def test_status_refuses(server: Target, name: str, version: int | None, text: str) -> None:
    with pytest.raises(grpc.RpcError, match=text) as caught:
        server.states(name, version)
    assert caught.value.code() == NOT_FOUND


@pytest.mark.parametrize("method", ["Predict", "GetModelMetadata"])
@pytest.mark.parametrize("payload", [b"\xff" * 64, b"\x0a\x7f", bytes(range(256))], ids=["ones", "cut", "all bytes"])
def test_bytes_that_are_no_message(server: Target, method: str, payload: bytes) -> None:
    call = server.channel.unary_unary(f"/tensorflow.serving.PredictionService/{method}")
    with pytest.raises(grpc.RpcError):
        call(payload, timeout=10.0)
    assert server.predict(server.images(steps=0)).outputs


def _one_value_for_terabytes(request: Any) -> None:
    proto = request.inputs["content_image"]
    proto.Clear()
    proto.dtype = 1
    proto.float_val.append(0.5)
    for size in (2**12, 2**14, 2**14, 3):
        proto.tensor_shape.dim.add(size=size)


HOSTILE: dict[str, Callable[[Target], Any]] = {
    "a shape of gigabytes, two values": _content(tensor_content=b"", float_val=[0, 1], sizes=[1, 16000, 16000, 3]),
    "huge shape, no data": _content(tensor_content=b"", sizes=[2**12, 2**10, 2**10, 3]),
    "huge shape, one value": _with(_one_value_for_terabytes),
    "huge shape, little content": _content(sizes=[2**12, 2**10, 2**10, 3]),
    "overflowing shape": _content(sizes=[2**62, 2**62, 2**62, 3]),
    "zero in an overflowing shape": _content(tensor_content=b"", sizes=[0, 2**62, 2**62, 3]),
    "rank of 300": _content(sizes=[1] * 300),
    "a type that is not asked for": _content(tensor_content=b"", dtype=7),
}


@pytest.mark.parametrize("row", HOSTILE)
def test_hostile_tensors_leave_the_server_alive(server: Target, row: str) -> None:
    if not server.embedded:
        pytest.skip("what a real server makes of these is its own affair; some of them ask it for terabytes")
    with pytest.raises(grpc.RpcError) as caught:
        server.predict(HOSTILE[row](server))
    assert caught.value.code() == INVALID
    assert server.predict(server.images(steps=0)).outputs
