"""What is refused before it is parsed or decoded: with which text, and from which bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
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
from styleserve.serving.effort import pixel_steps
from styleserve.serving.errors import RequestError
from styleserve.serving.limits import ModelLimits
from styleserve.serving.picture_headers import picture_size
from styleserve.serving.server import MAX_REQUEST_BYTES, EmbeddedServer, ServerSettings
from styleserve.serving.signature import Signature
from styleserve.serving.tensors import TensorError, _varint, to_array

HEIGHT, WIDTH = 25, 300
SAVED: dict[str, tuple[str, dict[str, Any]]] = {
    "PNG": ("PNG", {}),
    "BMP": ("BMP", {}),
    "JPEG": ("JPEG", {}),
    "progressive JPEG": ("JPEG", {"progressive": True}),
    "JPEG with EXIF and a comment": ("JPEG", {"exif": b"Exif\0\0" + bytes(5000), "comment": "x" * 1000}),
    "WebP": ("WEBP", {}),
    "lossless WebP": ("WEBP", {"lossless": True}),
    "extended WebP": ("WEBP", {"exif": b"Exif\0\0" + bytes(100)}),
}


def saved(name: str, height: int = HEIGHT, width: int = WIDTH) -> bytes:
    kind, options = SAVED[name]
    file = io.BytesIO()
    Image.new("RGB", (width, height), "grey").save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("name", SAVED)
def test_size_of_a_picture(name: str) -> None:
    assert picture_size(saved(name)) == (HEIGHT, WIDTH)


@pytest.mark.parametrize("name", SAVED)
def test_size_of_a_picture_that_is_cut_short(name: str) -> None:
    data = saved(name)
    assert {picture_size(data[:length]) for length in range(len(data))} <= {None, (HEIGHT, WIDTH)}


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"\xff\xd8\xff", b"\xff" * 100, b"\xff\xd8" + b"\xff\xe0\0\0" * 50, b"%PDF", b"GIF89a" + b"\1" * 99),
        b"\x89PNG\r\n\x1a\n\0\0\0\x08teSt" + b"\0\0\0\1" * 9,
    ],
)
def test_size_of_something_else(data: bytes) -> None:
    assert picture_size(data) is None


_LIMITS = Limits(max_side=48, max_batch=2, max_pixels=1000, max_batch_pixels=1500, max_work=0.01)
LIMITS = ModelLimits(min_side=4, **_LIMITS.numbers())
DEFAULTS = {"steps": np.array([1], np.int32), "max_side": np.array([40], np.int32)}


def check(limits: ModelLimits = LIMITS, defaults: Any = None, **inputs: Any) -> None:
    protos = {name: tf.make_tensor_proto(value) for name, value in inputs.items()}
    limits.check(protos, DEFAULTS if defaults is None else defaults)


def grey(height: int, width: int, batch: int = 1) -> Any:
    return np.full((batch, height, width, 3), 0.5, np.float32)


@pytest.mark.parametrize(
    "inputs",
    [
        {"content_image": grey(25, 40), "style_image": grey(48, 4), "steps": np.array([10], np.int32)},
        {"content_image": grey(25, 30, 2), "steps": np.array([5], np.int32)},
        {"content_image": np.zeros((1, 0, 0, 3), np.float32), "content_bytes": [saved("PNG", 25, 40)]},
        {"content_bytes": [saved("PNG", 25, 40)] * 2, "steps": np.array([5, 4], np.int32)},
        {"image": grey(25, 40)},
        # What follows is the graph's to refuse.
        {"content_image": grey(25, 40)[0]},
        {"content_bytes": [b""]},
        {"content_bytes": [b"GIF89a"]},
        {"content_image": grey(25, 40), "steps": np.array([0.5])},
        {"content_image": grey(25, 40), "steps": np.ones((1, 1), np.int32)},
    ],
)
def test_what_is_let_through(inputs: dict[str, Any]) -> None:
    check(**inputs)


RESIZED = "[style_bytes, resized to a longest side of max_side,"
WORK = (
    "[steps must be fewer, or pictures smaller, or examples fewer: one call may take 0.01 megapixel-steps "
    "(pixels x steps x examples / 1000000); got]"
)

STEPS = "[steps must be from 0 to 5000; got]"
TOGETHER = "must have at most 1500 pixels in all its images together"
PARTNER = "must have batch size 1 or that of the batch; got, and the batch has:"


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({"image": grey(3, 9)}, "[image must have sides from 4 to 48 pixels; got height, width:] [3 9]"),
        ({"style_image": grey(49, 9)}, "[style_image must have sides from 4 to 48 pixels; got height, width:] [49 9]"),
        ({"image": grey(26, 40)}, "[image must have at most 1000 pixels; got height, width:] [26 40]"),
        ({"style_image": grey(31, 25, 2)}, f"[style_image {TOGETHER}; got batch, height, width:] [2 31 25]"),
        ({"image": grey(4, 4, 3)}, "[image must have a batch size from 1 to 2; got] [3]"),
        ({"image": grey(4, 4, 0)}, "[image must have a batch size from 1 to 2; got] [0]"),
        ({"content_bytes": [b""] * 3}, "[content_bytes must have a batch size from 1 to 2; got] [3]"),
        (
            {"style_bytes": [saved("PNG", 26, 40)]},
            f"{RESIZED} must have at most 1000 pixels; got height, width:] [26 40]",
        ),
        (
            {"style_bytes": [saved("PNG", 10, 400)]},
            f"{RESIZED} must have sides from 4 to 48 pixels; got height, width:] [1 40]",
        ),
        ({"content_image": grey(25, 40), "steps": np.array([11], np.int32)}, f"{WORK} [0.011]"),
        ({"content_image": grey(25, 30, 2), "steps": np.array([1, 8], np.int32)}, f"{WORK} [0.012]"),
        ({"content_bytes": [saved("PNG", 25, 40)] * 2, "steps": np.array([1, 6], np.int32)}, f"{WORK} [0.012]"),
        ({"content_image": grey(25, 40), "style_weight": np.ones(3, np.float32)}, f"[style_weight {PARTNER}] [3] [1]"),
        ({"content_bytes": [b""] * 2, "max_side": np.full(3, 20, np.int32)}, f"[max_side {PARTNER}] [3] [2]"),
        ({"state": [b""] * 2, "steps": np.ones(3, np.int32)}, f"[steps {PARTNER}] [3] [2]"),
        ({"content_image": grey(25, 40, 2), "steps": np.ones(0, np.int32)}, f"[steps {PARTNER}] [0] [2]"),
        ({"content_image": grey(25, 40), "steps": np.array([99999], np.int32)}, f"{STEPS} [99999]"),
        ({"content_bytes": [b""] * 2, "steps": np.array([1, -1], np.int32)}, f"{STEPS} [1 -1]"),
        ({"max_side": np.array([2000], np.int32)}, "[max_side must be from 16 to 48; got] [2000]"),
        ({"style_weight": np.array([-0.1], np.float32)}, "[style_weight must be from 0 to 1e+12; got] [-0.1]"),
        ({"content_weight": np.array([np.nan], np.float32)}, "[content_weight must be from 0 to 1e+12; got] [nan]"),
        ({"learning_rate": np.array([1.0001], np.float32)}, "[learning_rate must be from 0 to 1; got] [1.0001]"),
        ({"style_bytes": [b"no picture"]}, f"[style_bytes {contract.FILE_RULE}] [0 0]"),
        ({"example": np.ones(3, np.int32)}, "[example must have a batch size from 1 to 2; got] [3]"),
    ],
)
def test_refusals(inputs: dict[str, Any], text: str) -> None:
    with pytest.raises(RequestError) as caught:
        check(**inputs)
    assert str(caught.value) == f"assertion failed: {text}"


def test_files_are_refused_from_their_bytes_and_headers() -> None:
    limits = ModelLimits(min_side=4, **Limits(max_encoded_pixels=999, max_encoded_bytes=2000).numbers())
    with pytest.raises(RequestError, match=r"\[content_bytes must have at most 2000 bytes; got\] \[2001\]"):
        check(limits, content_bytes=[bytes(2001)])
    with pytest.raises(
        RequestError, match=r"\[content_bytes must have at most 999 pixels; got height, width:\] \[25 40\]"
    ):
        check(limits, content_bytes=[saved("PNG", 25, 40)])


def test_shapes_are_enough_to_refuse() -> None:
    """One value stands for all: the message is small, and what it claims is not."""
    proto = tf.make_tensor_proto(0.5, tf.float32, [1, 4, 4, 3])
    proto.tensor_shape.dim[1].size = 2**40
    with pytest.raises(RequestError, match="1099511627776 4"):
        LIMITS.check({"image": proto}, {})
    control = tf.make_tensor_proto(0.5, tf.float32, [1])
    for name in (control.name for control in contract.CONTROLS):
        control.tensor_shape.dim[0].size = 50_000_000
        with pytest.raises(RequestError, match=rf"\[{name} must have batch size 1 .*\] \[50000000\] \[1\]"):
            LIMITS.check({name: control}, {})


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


@pytest.mark.parametrize("name", ["content_bytes", "style_bytes", "content_image", "state", "steps", "max_side"])
@pytest.mark.parametrize("what", ["strings", "dimensions"])
def test_what_comes_by_the_million_is_not_looked_through(name: str, what: str) -> None:
    one = tensor_shape_pb2.TensorShapeProto.Dim(size=1)
    strings, dims = Millions(b""), Millions(one)
    proto = proto_of(dims=[one], strings=strings) if what == "strings" else proto_of(dims=dims, strings=[b""])
    LIMITS.check({name: proto}, DEFAULTS)
    pixel_steps({name: proto}, DEFAULTS)
    if what == "strings":
        assert to_array(proto).tolist() == [b""]
    else:
        with pytest.raises(TensorError):
            to_array(proto)


@pytest.mark.parametrize("as_content", [True, False])
def test_files_that_are_cut_or_repeated_are_held_against_the_limits(as_content: bool) -> None:
    small, large = saved("PNG", 25, 40), saved("PNG", 48, 48)
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=[small, *[large] * 9])
    if as_content:
        proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, tensor_content=_varint(len(small)) + small)
    proto.tensor_shape.dim.add(size=1)
    LIMITS.check({"content_bytes": proto}, DEFAULTS)
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=[large])
    if as_content:
        proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, tensor_content=_varint(len(large)) + large)
    proto.tensor_shape.dim.add(size=1 if as_content else 2)
    with pytest.raises(RequestError, match=r"at most 1000 pixels; got height, width:\] \[40 40\]"):
        LIMITS.check({"content_bytes": proto}, DEFAULTS)


def test_inputs_by_the_million_are_refused_by_their_number() -> None:
    signature = Signature("any", meta_graph_pb2.SignatureDef())
    with pytest.raises(RequestError, match=r"^input size does not match signature: 2000!=0$"):
        signature.check({f"input{number}": tensor_pb2.TensorProto() for number in range(2000)}, [])


def test_a_jpeg_of_nothing_but_markers() -> None:
    """A size behind thousands of them is left to the graph, and so is a file that has none."""
    start, frame = b"\xff\xd8\xff", saved("JPEG")[2:]
    assert picture_size(start + b"\xff" * 1000 + frame) == (HEIGHT, WIDTH)
    assert picture_size(start + b"\xff" * 10_000 + frame) is None


def test_a_limit_that_came_as_float32_lets_through_what_is_at_the_limit() -> None:
    numbers = Limits(max_side=100, max_steps=7, max_batch=3, max_work=0.07).numbers()
    limits = ModelLimits(min_side=4, **{**numbers, "max_work": float(np.float32(0.07))})
    check(limits, content_image=grey(100, 100), steps=np.array([7], np.int32))


def test_images_of_a_run_in_chunks_have_no_limit_together() -> None:
    one_by_one = {**DEFAULTS, "state": np.array([b""], object)}
    check(defaults=one_by_one, content_image=grey(25, 40, 2), steps=np.array([1], np.int32))


def test_a_model_of_an_older_export_has_no_limit_for_images_together() -> None:
    numbers = {name: value for name, value in _LIMITS.numbers().items() if name != "max_batch_pixels"}
    check(ModelLimits(min_side=4, **numbers), content_image=grey(25, 40, 2), steps=np.array([5], np.int32))


def test_a_server_takes_requests_as_large_as_the_models(stand_in_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def limit(*limits: ModelLimits, **settings: Any) -> int:
        server = EmbeddedServer(stand_in_base, settings=ServerSettings(port=0, **settings))
        monkeypatch.setattr(server._manager, "limits", lambda: list(limits))
        return server._max_request_bytes()

    usual, large, huge = (
        ModelLimits(min_side=16, **Limits(max_side=side, max_batch=8).numbers()) for side in (1024, 2048, 16384)
    )
    assert limit() == limit(usual) == MAX_REQUEST_BYTES
    assert limit(usual, large) == 2 * 8 * 2048 * 2048 * 3 * 4 + 2**20
    assert limit(huge) == 2**31 - 1
    assert limit(large, max_request_bytes=1000) == 1000


def test_every_limit_is_held_against_requests() -> None:
    assert {field.name for field in contract.LIMIT_FIELDS} == set(vars(LIMITS))
