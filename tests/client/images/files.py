"""Picture files built byte by byte, independent of the libraries that read them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

COLOURS = np.array([[200, 80, 60], [60, 200, 80], [90, 60, 200], [250, 180, 150], [12, 30, 20]], np.uint8)
"""Inside sRGB also where they are meant in a larger space, but for the second."""

PATCHES = COLOURS.repeat(16, 0)[None].repeat(16, 0)
"""`[16, 80, 3]` uint8: the colours side by side."""


def patches(image: Image.Image) -> Any:
    """The colours in the middle of each patch, `[5, 3]`."""
    return np.asarray(image)[8, 8::16].astype(int)


def linear(signal: Any) -> Any:
    """Linear light by IEC 61966-2-1."""
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)


def bt709_linear(signal: Any) -> Any:
    """Linear light by ITU-R BT.709, 1.2, inverted."""
    return np.where(signal < 0.081, signal / 4.5, ((signal + 0.099) / 1.099) ** (1 / 0.45))


def as_srgb(light: Any, matrix: Any = None) -> Any:
    """Levels of 8 bits of linear light, by way of a matrix to the primaries of sRGB."""
    light = np.clip(light if matrix is None else light @ np.array(matrix).T, 0, 1)
    return np.rint(255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)).astype(int)


# Published matrices from linear light with other primaries to those of sRGB.
P3 = [[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]]  # CSS Color 4
BT2020 = [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]  # ITU-R BT.2407
ADOBE = [[1.39836, -0.39836, 0.0], [0.0, 1.0, 0.0], [0.0, -0.04293, 1.04293]]  # Lindbloom


def encoded(image: Image.Image, file_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def chunk(kind: bytes, body: bytes, *, intact: bool = True) -> bytes:
    checksum = zlib.crc32(kind + body) ^ (not intact)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def png(levels: Any, depth: int, colour_type: int, *extra: bytes, end: bytes = chunk(b"IEND", b"")) -> bytes:
    """A PNG of `[height, width, channels]` levels, with chunks between header and pixels."""
    height, width, channels = levels.shape
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0))
    bits = levels.reshape(height, width * channels)[..., None] >> np.arange(depth - 1, -1, -1) & 1
    rows = np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", data) + end


def levels_of_png(data: bytes) -> Any:
    """`[height, width, 1 or 3]` levels of a PNG of 16 bits, grey or RGB, with the filters None and Sub."""
    width, height, depth, colour_type = struct.unpack_from(">2IBB", data, 16)
    assert depth == 16
    at, compressed = 8, b""
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        compressed += data[at + 8 : at + 8 + length] if data[at + 4 : at + 8] == b"IDAT" else b""
        at += length + 12
    rows = np.frombuffer(zlib.decompress(compressed), np.uint8).reshape(height, -1)
    assert set(rows[:, 0]) <= {0, 1}
    pixels = rows[:, 1:].reshape(height, width, {0: 2, 2: 6}[colour_type])
    differences = rows[:, 0, None, None] == 1
    return np.where(differences, np.cumsum(pixels, axis=1, dtype=np.uint8), pixels).view(">u2").astype(int)


def png_of_patches(*extra: bytes) -> bytes:
    return png(PATCHES, 8, 2, *extra)


Tag = tuple[int, int, Sequence[int]]


def tiff(
    size: tuple[int, int],
    bits: Sequence[int],
    photometric: int,
    strips: Sequence[bytes],
    *tags: Tag,
    order: str = "<",
    start: int = 8,
    following: int = 0,
) -> bytes:
    """A TIFF of one page; `tags` are further (tag, type, values), and replace those that it has.

    Values are those of the types 1, 2, 3, 4, and 7, or numerators and denominators in turn of type 5.
    Its directory begins at `start`, so that the bytes from there on can stand behind another page.
    """
    width, height = size
    every: dict[int, tuple[int, Sequence[int]]] = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, bits),
        259: (3, [1]),
        262: (3, [photometric]),
        273: (4, [0] * len(strips)),
        277: (3, [len(bits)]),
        278: (4, [height]),
        279: (4, [len(strip) for strip in strips]),
    }
    every |= {tag: (kind, values) for tag, kind, values in tags}
    lengths = {1: "B", 2: "B", 3: "H", 4: "I", 5: "I", 7: "B"}
    behind_at = start + 2 + 12 * len(every) + 4
    spare = sum(-(-struct.calcsize(f"{len(v)}{lengths[k]}") // 2) * 2 for k, v in every.values())
    data_at = behind_at + spare
    offsets = [data_at + sum(map(len, strips[:index])) for index in range(len(strips))]
    every[273] = (4, offsets)
    rows, behind = b"", b""
    for tag, (kind, values) in sorted(every.items()):
        raw = struct.pack(f"{order}{len(values)}{lengths[kind]}", *values)
        if len(raw) > 4:
            raw, behind = struct.pack(f"{order}I", behind_at + len(behind)), behind + raw + b"\0" * (len(raw) % 2)
        rows += struct.pack(f"{order}HHI", tag, kind, len(values) // (2 if kind == 5 else 1)) + raw.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    body = struct.pack(f"{order}H", len(every)) + rows + struct.pack(f"{order}I", following)
    return (head if start == 8 else b"") + body + behind.ljust(spare, b"\0") + b"".join(strips)


def packed(levels: Any, bits: int) -> bytes:
    """Rows of `[height, numbers]` levels with so many bits each, the highest bit first; rows begin on whole bytes."""
    shifted = levels.astype(np.int64)[..., None] >> np.arange(bits - 1, -1, -1) & 1
    return np.packbits(shifted.reshape(len(levels), -1).astype(np.uint8), axis=1).tobytes()


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content) + 8) + kind + content


def jp2(codestream: bytes, size: tuple[int, int], channels: int, bits: int, colour: bytes, *extra: bytes) -> bytes:
    """A JPEG 2000 file around a codestream, whose box `colr` has this content."""
    header = box(b"ihdr", struct.pack(">IIHBBBB", size[1], size[0], channels, bits - 1, 7, 0, 0))
    return (
        box(b"jP  ", b"\r\n\x87\n")
        + box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
        + box(b"jp2h", header + box(b"colr", colour) + b"".join(extra))
        + box(b"jp2c", codestream)
    )


def enumerated(number: int) -> bytes:
    return b"\1\0\0" + struct.pack(">I", number)


def exif(color_space: int, index: bytes = b"", *, orientation: int = 1) -> bytes:
    """EXIF with an orientation, a ColorSpace and, if given, an InteroperabilityIndex, as cameras write it."""

    def directory(*entries: tuple[int, int, int, bytes]) -> bytes:
        rows = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3].ljust(4, b"\0") for entry in entries)
        return struct.pack("<H", len(entries)) + rows + bytes(4)

    photo_at, interoperability_at = 8 + 30, 8 + 30 + 30
    return (
        b"II*\0"
        + struct.pack("<I", 8)
        + directory((0x0112, 3, 1, struct.pack("<H", orientation)), (0x8769, 4, 1, struct.pack("<I", photo_at)))
        + directory(
            (0xA001, 3, 1, struct.pack("<H", color_space)), (0xA005, 4, 1, struct.pack("<I", interoperability_at))
        )
        + directory((1, 2, len(index) + 1, index + b"\0"), (2, 7, 4, b"0100"))
    )
