"""Every row of the table of errors: the status and the form of the text that TensorFlow Serving gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from styleserve.contract import CONTRACT_VERSION, DEFAULT_MODEL_NAME, DESCRIBE, SIGNATURES, STYLIZE_LBFGS

from .pictures import flat, noise

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
    "unknown input of paint": (
        lambda server: server.paint(style_image=IMAGE),
        INVALID,
        r"Inputs contains invalid name\. Used request inputs: .*, request input: .*style_image",
    ),
    "styles without a second dimension": (
        lambda server: server.paint(style_bytes=[noise(8, 8)]),
        INVALID,
        r"Shape of tensor .*style_bytes.* \[1\] is not compatible with expected shape \[\?,\?\]",
    ),
    "files as numbers": (
        lambda server: server.paint(content_bytes=np.zeros([1], np.float32)),
        INVALID,
        r"Expects arg\[\d+\] to be string but float is provided",
    ),
    "a choice as a number": (
        lambda server: server.paint(colors=np.zeros([1], np.int32)),
        INVALID,
        r"Expects arg\[\d+\] to be string but int32 is provided",
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


def test_a_signature_of_another_contract(server: Target) -> None:
    """A real server has its own text alone; the embedded one adds what there is and what to do."""
    with pytest.raises(grpc.RpcError) as caught:
        server.predict(server.request("stylize_lbfgs_encoded", content_bytes=[noise(8, 8)]))
    assert caught.value.code() == PRECONDITION
    details = caught.value.details() or ""
    assert details.startswith('Serving signature key "stylize_lbfgs_encoded" not found.')
    if server.embedded:
        assert details.endswith(
            f" The model has the signatures {', '.join(sorted(SIGNATURES))} of wire contract {CONTRACT_VERSION}. For a "
            "call of another contract, update the client."
        )


def test_a_million_strings_for_one(server: Target) -> None:
    """Values beyond the shape are dropped, as TensorFlow drops them."""
    request = server.paint()
    good = server.predict(request)
    request.inputs["content_bytes"].string_val.extend([b""] * 10**6)
    assert server.predict(request).outputs["image_bytes"] == good.outputs["image_bytes"]


def test_one_string_for_many(server: Target) -> None:
    """The last one stands for the rest."""
    style = noise(16, 16)
    whole, short = server.paint(style_bytes=[[style] * 3]), server.paint(style_bytes=[[style]])
    short.inputs["style_bytes"].tensor_shape.dim[1].size = 3
    assert server.predict(short).outputs == server.predict(whole).outputs


@pytest.mark.parametrize("name", ["content_bytes", "style_bytes"])
def test_strings_in_tensor_content(server: Target, name: str) -> None:
    request = server.paint()
    good = server.predict(request)
    proto = request.inputs[name]
    (file,) = proto.string_val
    proto.ClearField("string_val")
    assert len(file) in range(2**7, 2**14)  # a length of two bytes
    proto.tensor_content = bytes([len(file) & 0x7F | 0x80, len(file) >> 7]) + file
    assert server.predict(request).outputs["image_bytes"] == good.outputs["image_bytes"]


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


PICTURES = ("content_bytes", "style_bytes", "start_bytes", "reference_bytes")
MASKS = ("content_region_bytes", "style_region_bytes", "reference_weight_bytes")
FORMATS = "must be a file of one of the formats JPEG, PNG"


def _file(name: str, file: bytes) -> dict[str, Any]:
    beside = {"reference_bytes": [noise(8, 8)]} if name == "reference_weight_bytes" else {}
    per_style = name in ("style_bytes", "content_region_bytes", "style_region_bytes")
    return {**beside, name: [[file]] if per_style else [file]}


@pytest.mark.parametrize("name", [*PICTURES, *MASKS])
@pytest.mark.parametrize(
    ("file", "text"),
    [
        (b"this is text, and not a picture", FORMATS),
        (noise(24, 32)[:200], "Invalid PNG data, size 200"),
        (b"GIF89a", FORMATS),
        (b"\x89PNG\r\n\x1a\n", FORMATS),
        (b"\xff\xd8\xff" + bytes(100), ""),
    ],
    ids=["not an image", "cut short", "another format", "PNG without a header", "JPEG without a frame"],
)
def test_files_that_are_no_pictures(server: Target, name: str, file: bytes, text: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        server.predict(server.paint(**_file(name, file)))
    assert caught.value.code() == INVALID
    assert text in (caught.value.details() or "")
    if text == FORMATS:
        assert f"[{name} {FORMATS}" in (caught.value.details() or "")


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("black", [flat(24, 32, 0), flat(3, 90, 0), flat(24, 32, (0, 0, 1))], ids=str)
def test_masks_that_are_black(server: Target, name: str, black: bytes) -> None:
    """A colour counts by its luma, and the darkest blue has none."""
    with pytest.raises(grpc.RpcError) as caught:
        server.predict(server.paint(**_file(name, black)))
    assert caught.value.code() == INVALID
    assert f"[{name} must not be black everywhere; got the mean of each:]" in (caught.value.details() or "")


UNEQUAL: dict[str, tuple[dict[str, Any], str]] = {
    "two contents for three styles' rows": (
        {"content_bytes": [noise(8, 8)] * 2, "style_bytes": [[noise(8, 8)]] * 3},
        "must have batch size 1 or match each other; sizes:] [2 3",
    ),
    "a start too many": (
        {"content_bytes": [noise(8, 8)] * 2, "start_bytes": [noise(8, 8)] * 3},
        "must have batch size 1 or match each other; sizes:] [2 1 1 1 3",
    ),
    "a mask without its reference": (
        {"reference_weight_bytes": [noise(8, 8)]},
        "reference_weight_bytes needs a picture in reference_bytes",
    ),
    "no style": ({"style_bytes": [[b""]]}, "give either state, or content_bytes and style_bytes"),
    "one of two styles is empty": ({"style_bytes": [[noise(8, 8), b""]]}, f"style_bytes {FORMATS}"),
    "one of two contents is empty": ({"content_bytes": [noise(8, 8), b""]}, "give either state, or content_bytes"),
}


@pytest.mark.parametrize("row", UNEQUAL)
def test_files_that_do_not_go_together(server: Target, row: str) -> None:
    inputs, text = UNEQUAL[row]
    with pytest.raises(grpc.RpcError) as caught:
        server.predict(server.paint(**inputs))
    assert caught.value.code() == INVALID
    assert text in (caught.value.details() or "")


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
