"""Picture files, good ones and what becomes of them in hostile hands."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import imagecodecs
import numpy as np
import pillow_heif
import tifffile
from hypothesis import strategies as st
from PIL import Image

Mutation = Callable[[bytes], bytes]

SIDES = (24, 32)

_SAVED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "png": ("PNG", "RGB", {}),
    "png palette": ("PNG", "P", {"transparency": 3}),
    "png alpha": ("PNG", "RGBA", {"icc_profile": b"no profile" * 20}),
    "png 1 bit": ("PNG", "1", {}),
    "jpeg": ("JPEG", "RGB", {}),
    "jpeg progressive": ("JPEG", "RGB", {"progressive": True, "comment": "x" * 300}),
    "jpeg grey exif": (
        "JPEG",
        "L",
        {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"},
    ),
    "jpeg cmyk": ("JPEG", "CMYK", {}),
    "gif": ("GIF", "P", {}),
    "gif animated": ("GIF", "P", {"save_all": True, "frames": 4, "duration": 20, "loop": 0}),
    "bmp": ("BMP", "RGB", {}),
    "bmp palette": ("BMP", "P", {}),
    "webp": ("WEBP", "RGB", {}),
    "webp lossless": ("WEBP", "RGBA", {"lossless": True}),
    "webp extended": ("WEBP", "RGB", {"exif": b"Exif\0\0" + bytes(60)}),
    "webp animated": ("WEBP", "RGBA", {"save_all": True, "frames": 3}),
}
"""Formats that the model decodes."""

_ONLY_READ_BY_THE_CLIENT: dict[str, tuple[str, str, dict[str, Any]]] = {
    "tiff": ("TIFF", "RGB", {}),
    "tiff deflate": ("TIFF", "I;16", {"compression": "tiff_adobe_deflate"}),
    "tiff lzw": ("TIFF", "RGBA", {"compression": "tiff_lzw"}),
    "ppm": ("PPM", "RGB", {}),
    "pgm": ("PPM", "L", {}),
    "jpeg 2000": ("JPEG2000", "RGB", {}),
    "avif": ("AVIF", "RGB", {}),
    "mpo": ("MPO", "RGB", {"save_all": True, "frames": 2}),
}


def _tiff(**options: Any) -> bytes:
    with io.BytesIO() as file:
        tifffile.imwrite(file, np.moveaxis(_levels_of_16_bits(), -1, 0), photometric="rgb", **options)
        return file.getvalue()


def _heic() -> bytes:
    with io.BytesIO() as file:
        pillow_heif.from_pillow(_drawn(0, "RGB")).save(file, quality=90)
        return file.getvalue()


def _png_of_16_bits() -> bytes:
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in _levels_of_16_bits())
    header = struct.pack(">IIBBBBB", SIDES[1], SIDES[0], 16, 2, 0, 0, 0)
    chunks = {b"IHDR": header, b"cICP": b"\x0c\x0d\0\1", b"tRNS": bytes(6), b"IDAT": zlib.compress(rows), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks.items()
    )


def _levels_of_16_bits() -> Any:
    return np.asarray(_drawn(0, "RGB")).astype(np.uint16) * 257


_MADE: dict[str, Callable[[], bytes]] = {
    "png of 16 bits": _png_of_16_bits,
    "tiff planes": lambda: _tiff(planarconfig="separate"),
    "tiff planes deflate": lambda: _tiff(planarconfig="separate", compression="zlib", predictor=True),
    "tiff tiles lzw": lambda: _tiff(planarconfig="separate", compression="lzw", tile=(16, 16), bigtiff=True),
    "jpeg 2000 of 12 bits": lambda: bytes(
        imagecodecs.jpeg2k_encode(_levels_of_16_bits() >> 4, bitspersample=12, level=0)
    ),
    "heic": _heic,
}
"""Kinds that Pillow does not write, and that only the client reads."""

SERVED = tuple(_SAVED)
READ = (*SERVED, *_ONLY_READ_BY_THE_CLIENT, *_MADE)


@cache
def good_file(kind: str) -> bytes:
    """A small picture of a kind in `READ`; empty where this build of Pillow does not write it."""
    if kind in _MADE:
        return _MADE[kind]()
    file_format, mode, options = {**_SAVED, **_ONLY_READ_BY_THE_CLIENT}[kind]
    Image.init()
    if file_format not in Image.SAVE:
        return b""
    options = dict(options)
    frames = [_drawn(seed, mode) for seed in range(options.pop("frames", 1))]
    if len(frames) > 1:
        options["append_images"] = frames[1:]
    with io.BytesIO() as file:
        frames[0].save(file, file_format, **options)
        return file.getvalue()


def _drawn(seed: int, mode: str) -> Image.Image:
    random = np.random.default_rng(seed)
    if mode == "I;16":
        return Image.fromarray(random.integers(0, 2**16, SIDES, np.uint16))
    # Few colours, so that codes of variable length have something to do.
    pixels = random.integers(0, 256, (SIDES[0] // 4, SIDES[1] // 4, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    return Image.fromarray(pixels).convert(mode)


def _flip(at: float, bit: int) -> Mutation:
    def mutate(data: bytes) -> bytes:
        place = int(at * (len(data) - 1))
        return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]

    return mutate


def _cut(at: float) -> Mutation:
    return lambda data: data[: int(at * len(data))]


def _overwrite(at: float, what: bytes) -> Mutation:
    def mutate(data: bytes) -> bytes:
        place = int(at * len(data))
        return data[:place] + what + data[place + len(what) :]

    return mutate


def _insert(at: float, what: bytes) -> Mutation:
    def mutate(data: bytes) -> bytes:
        place = int(at * len(data))
        return data[:place] + what + data[place:]

    return mutate


def _repeat(start: float, length: int, times: int) -> Mutation:
    def mutate(data: bytes) -> bytes:
        place = int(start * len(data))
        return data[:place] + data[place : place + length] * times + data[place + length :]

    return mutate


def resized(data: bytes, width: int, height: int) -> bytes:
    """The file with another size in its header, and correct checksums."""
    change = next((change for magic, at, change in _RESIZED if data[at : at + len(magic)] == magic), None)
    return data if change is None else change(data, width, height)


def _png_resized(data: bytes, width: int, height: int) -> bytes:
    header = struct.pack(">II", width % 2**32, height % 2**32) + data[24:29]
    return data[:16] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + data[33:]


def _packed(at: int, form: str) -> Callable[[bytes, int, int], bytes]:
    """Changes a width and a height that stand side by side."""
    most = 2 ** (4 * struct.calcsize(form))

    def change(data: bytes, width: int, height: int) -> bytes:
        both = struct.pack(form, width % most, height % most)
        return data[:at] + both + data[at + len(both) :]

    return change


def _extended_webp_resized(data: bytes, width: int, height: int) -> bytes:
    return data[:24] + (width % 2**24).to_bytes(3, "little") + (height % 2**24).to_bytes(3, "little") + data[30:]


def _lossless_webp_resized(data: bytes, width: int, height: int) -> bytes:
    bits = int.from_bytes(data[21:25], "little") & 0xF0000000 | width % 2**14 | height % 2**14 << 14
    return data[:21] + bits.to_bytes(4, "little") + data[25:]


def _jpeg_resized(data: bytes, width: int, height: int) -> bytes:
    for marker in (b"\xff\xc0", b"\xff\xc2"):
        at = data.find(marker)
        if at >= 0:
            return data[: at + 5] + struct.pack(">HH", height % 2**16, width % 2**16) + data[at + 9 :]
    return data


def _tiff_resized(data: bytes, width: int, height: int) -> bytes:
    for tag, side in ((256, width), (257, height)):
        at = max(data.find(struct.pack("<HH", tag, kind)) for kind in (3, 4))
        if at >= 0:
            data = data[: at + 8] + struct.pack("<I", side % 2**32) + data[at + 12 :]
    return data


def _jpeg_2000_resized(data: bytes, width: int, height: int) -> bytes:
    at = data.find(b"\xff\x4f\xff\x51") + 8
    return data[:at] + struct.pack(">II", width % 2**32, height % 2**32) + data[at + 8 :]


def _heif_resized(data: bytes, width: int, height: int) -> bytes:
    at = data.find(b"ispe") + 8
    return data[:at] + struct.pack(">II", width % 2**32, height % 2**32) + data[at + 8 :]


_RESIZED: list[tuple[bytes, int, Callable[[bytes, int, int], bytes]]] = [
    (b"\x89PNG", 0, _png_resized),
    (b"GIF8", 0, _packed(6, "<HH")),
    (b"BM", 0, _packed(18, "<II")),
    (b"\xff\xd8", 0, _jpeg_resized),
    (b"VP8X", 12, _extended_webp_resized),
    (b"VP8L", 12, _lossless_webp_resized),
    (b"VP8 ", 12, _packed(26, "<HH")),
    (b"II*\0", 0, _tiff_resized),
    (b"\0\0\0\x0cjP  ", 0, _jpeg_2000_resized),
    (b"ftyp", 4, _heif_resized),
]
"""Magic bytes, where they stand, and how the size behind them is changed."""

_PLACES = st.floats(0.0, 1.0)
_DIMENSIONS = st.one_of(
    st.sampled_from([0, 1, 2**14 - 1, 2**15, 2**16 - 1, 2**24 - 1, 2**31 - 1, 2**31, 2**32 - 1]), st.integers(0, 70_000)
)
_SNIPPETS = st.one_of(
    st.sampled_from(
        [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\x80", b"\xff\xd8\xff", b"IDAT", b";"]
    ),
    st.binary(min_size=1, max_size=16),
)

mutations: st.SearchStrategy[Mutation] = st.one_of(
    st.builds(_flip, _PLACES, st.integers(0, 7)),
    st.builds(_cut, _PLACES),
    st.builds(_overwrite, _PLACES, _SNIPPETS),
    st.builds(_insert, _PLACES, _SNIPPETS),
    st.builds(_repeat, _PLACES, st.integers(1, 200), st.integers(2, 20)),
    st.builds(lambda width, height: lambda data: resized(data, width, height), _DIMENSIONS, _DIMENSIONS),
)


def _mutated(data: bytes, changes: Sequence[Mutation]) -> bytes:
    for change in changes:
        data = change(data) if data else data
    return data


def hostile_files(kinds: Sequence[str]) -> st.SearchStrategy[bytes]:
    """Files of these kinds with up to three changes each, and now and then no picture at all."""
    files = st.sampled_from([kind for kind in kinds if good_file(kind)]).map(good_file)
    return st.one_of(
        st.builds(_mutated, files, st.lists(mutations, max_size=3)),
        st.builds(_mutated, files, st.lists(mutations, min_size=1, max_size=3)),
        st.binary(max_size=200),
    )
