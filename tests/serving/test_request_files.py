"""Sizes of pictures from the first bytes of their files."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image
from tensorflow.core.framework import tensor_pb2

from styleserve.serving.requests import file_headers as request_files
from styleserve.serving.requests.file_headers import FileHeader, file_headers
from styleserve.serving.requests.picture_headers import picture_size
from styleserve.serving.requests.request_header import RequestHeader
from styleserve.serving.requests.tensors import _varint

HEIGHT, WIDTH = 25, 300
SAVED: dict[str, tuple[str, dict[str, Any]]] = {
    "PNG": ("PNG", {}),
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


def test_a_jpeg_of_nothing_but_markers() -> None:
    """A size behind thousands of them is left to the graph, and so is a file that has none."""
    start, frame = b"\xff\xd8\xff", saved("JPEG")[2:]
    assert picture_size(start + b"\xff" * 1000 + frame) == (HEIGHT, WIDTH)
    assert picture_size(start + b"\xff" * 10_000 + frame) is None


def proto_of(*files: bytes, shape: tuple[int, ...], as_content: bool = False) -> tensor_pb2.TensorProto:
    proto = tensor_pb2.TensorProto(dtype=7)
    if as_content:
        proto.tensor_content = b"".join([*(_varint(len(file)) for file in files), *files])
    else:
        proto.string_val.extend(files)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


@pytest.mark.parametrize("as_content", [False, True])
def test_facts_of_the_files_of_a_request(as_content: bool) -> None:
    png, text = saved("PNG", 25, 40), b"no picture"
    styles = proto_of(png, text, b"", png, shape=(2, 2), as_content=as_content)
    contents = proto_of(png, shape=(1,), as_content=as_content)
    files = RequestHeader({"content_bytes": contents, "style_bytes": styles}, {}).files
    known = FileHeader(len(png), has_known_format=True, size=(25, 40))
    unknown, none = FileHeader(10, has_known_format=False, size=None), FileHeader(0, has_known_format=False, size=None)
    assert files["content_bytes"] == [[known]]
    assert files["style_bytes"] == [[known, unknown], [none, known]]
    assert "start_bytes" not in files


@pytest.mark.parametrize(
    "proto",
    [
        proto_of(b"x", shape=()),
        proto_of(b"x", shape=(1, 1, 1)),
        proto_of(b"x", shape=(-1,)),
        proto_of(b"x", shape=(33, 32)),
        tensor_pb2.TensorProto(dtype=1),
    ],
    ids=["no rank", "rank 3", "negative", "too many", "numbers"],
)
def test_files_that_are_left_to_the_graph(proto: tensor_pb2.TensorProto) -> None:
    assert file_headers(proto) == []


def test_a_header_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where one value stands for many elements."""
    parsed: list[bytes] = []
    monkeypatch.setattr(request_files, "picture_size", parsed.append)
    header = RequestHeader({"style_bytes": proto_of(b"first", b"others", shape=(4, 4))}, {})
    assert [[file.length for file in row] for row in header.files["style_bytes"]] == [[5, 6, 6, 6], *[[6] * 4] * 3]
    assert header.files is header.files
    assert parsed == [b"first", b"others"]
