"""Samples of a TIFF page of any depth, layout and byte order, as numbers.

Strips and tiles are decompressed by zlib, or by the libtiff in Pillow, which is given each of them as a page of bytes:
other decoders of LZW were seen to crash on damaged data.
The predictors are those of TIFF 6.0, section 14, and of Adobe's TIFF technical note 3.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..errors import Unreadable
from ..formats import pillow_reader
from . import tags as tiff_tags
from .tags import Directory

NO_COMPRESSION: Final = 1
_DEFLATE: Final = (8, 32946)
_BY_LIBTIFF: Final = (5, 32773, 34925, 50000)
COMPRESSIONS: Final = (NO_COMPRESSION, *_DEFLATE, *_BY_LIBTIFF)
"""Those without loss that are decompressed within a bound: none, deflate, LZW, PackBits, LZMA, Zstandard."""

_DIFFERENCES, _FLOATING_POINT = 2, 3
_WITHOUT_PREDICTOR: Final = (NO_COMPRESSION, 32773)
"""Compressions for which libtiff ignores the tag Predictor: none, PackBits."""
_IN_PLANES: Final = 2
_UNPACKED_ROWS: Final = 2**20
"""Numbers that are unpacked at once, each from single bits."""


@dataclass(frozen=True)
class Layout:
    """The parts of a page: strips or tiles.

    Attributes:
        width: of a part, in pixels.
        height: of a part, in pixels; the last strip may be shorter.
        samples: samples of each pixel in a part.
        count: number of parts that fill the page.
        places: offset and length of those that the file has.
        tiled: whether they are tiles, which are whole also at the margins.
    """

    width: int
    height: int
    samples: int
    count: int
    places: list[tuple[int, int]]
    tiled: bool


def layout(page: Directory) -> Layout:
    """The parts of a page, as its tags have them."""
    (width, height), samples = page.size, page.number(tiff_tags.SAMPLES_PER_PIXEL, 1)
    tiled = tiff_tags.TILE_WIDTH in page.entries
    if tiled:
        across, down = page.number(tiff_tags.TILE_WIDTH), page.number(tiff_tags.TILE_LENGTH)
        tags = tiff_tags.TILE_OFFSETS, tiff_tags.TILE_BYTE_COUNTS
    else:
        across, down = width, min(height, page.number(tiff_tags.ROWS_PER_STRIP, height))
        tags = tiff_tags.STRIP_OFFSETS, tiff_tags.STRIP_BYTE_COUNTS
    across, down = max(across, 1), max(down, 1)
    planes = samples if page.number(tiff_tags.PLANAR_CONFIGURATION) == _IN_PLANES else 1
    count = -(-width // across) * -(-height // down) * planes
    offsets, lengths = (page.numbers(tag, most=count) for tag in tags)
    return Layout(across, down, samples // planes, count, list(zip(offsets, lengths, strict=False)), tiled)


def read(page: Directory) -> NDArray[Any]:
    """`[height, width, samples]`: unsigned integers or floats, as the file has them.

    Args:
        page: with 1 to 16 or 32 bits in each sample, or floats of 16, 32 or 64; compressed by one of `COMPRESSIONS`.

    Raises:
        Unreadable: a part is missing or too short.
        Exception: any error of a decompressor, on damaged data.
    """
    parts = layout(page)
    inside = all(offset > 0 and offset + length <= len(page.data) for offset, length in parts.places)
    if len(parts.places) < parts.count or not inside:
        raise incomplete()
    width, height = page.size
    bits = page.number(tiff_tags.BITS_PER_SAMPLE, 1)
    kind = "f" if page.number(tiff_tags.SAMPLE_FORMAT, 1) == 3 else "u"
    dtype = np.dtype(f"{kind}{1 if bits <= 8 else 2 if bits <= 16 else bits // 8}")
    samples = np.empty((height, width, page.number(tiff_tags.SAMPLES_PER_PIXEL, 1)), dtype)
    for (offset, length), (sample, top, left) in zip(parts.places, _corners(page, parts), strict=True):
        rows = parts.height if parts.tiled else min(parts.height, height - top)
        part = _part(page, parts, page.data[offset : offset + length], rows, bits, dtype)
        place = samples[top : top + rows, left : left + parts.width, sample : sample + parts.samples]
        place[...] = part[: place.shape[0], : place.shape[1]]
    return samples


def incomplete() -> Unreadable:
    """The error for a page of which parts are missing."""
    return Unreadable("is damaged or cut short: parts of its first page are missing", hint="Save or fetch it again.")


def _corners(page: Directory, parts: Layout) -> Iterator[tuple[int, int, int]]:
    """First sample, row and column of each part, in the order of the file."""
    width, height = page.size
    for sample in range(0, page.number(tiff_tags.SAMPLES_PER_PIXEL, 1), parts.samples):
        for top in range(0, height, parts.height):
            for left in range(0, width, parts.width):
                yield sample, top, left


def _part(page: Directory, parts: Layout, data: bytes, rows: int, bits: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """`[rows, width, samples]` of one strip or tile."""
    numbers = parts.width * parts.samples
    row_bytes = -(-numbers * bits // 8)
    compression = page.number(tiff_tags.COMPRESSION, NO_COMPRESSION)
    raw = _decompressed(data, compression, row_bytes, rows)
    shape = rows, parts.width, parts.samples
    predictor = 1 if compression in _WITHOUT_PREDICTOR else page.number(tiff_tags.PREDICTOR, 1)
    if predictor == _FLOATING_POINT:
        return _floats(raw.reshape(rows, -1), parts.samples, dtype).reshape(shape)
    if bits == 8 * dtype.itemsize:
        values = raw.view(dtype.newbyteorder(page.order)).astype(dtype, copy=False).reshape(shape)
    else:
        values = _unpacked(raw.reshape(rows, row_bytes), numbers, bits, dtype).reshape(shape)
    if predictor != _DIFFERENCES:
        return values
    words = np.dtype(f"u{dtype.itemsize}")  # floats are subtracted as integers of their bits
    return np.cumsum(values.view(words), axis=1, dtype=words).view(dtype)


def _decompressed(data: bytes, compression: int, row_bytes: int, rows: int) -> NDArray[np.uint8]:
    size = row_bytes * rows
    if compression in _DEFLATE:
        data = zlib.decompressobj().decompress(data, size)
    elif compression in _BY_LIBTIFF:
        image = pillow_reader.opened(_page_of_bytes(data, compression, row_bytes, rows), "TIFF")
        assert image is not None  # noqa: S101 - it is a TIFF
        with image:
            data = image.tobytes()
    if len(data) < size:
        raise incomplete()
    return np.frombuffer(data, np.uint8, size)


def _page_of_bytes(data: bytes, compression: int, width: int, height: int) -> bytes:
    """A TIFF of one strip, whose 8-bit greys are the bytes that were compressed."""
    tags = {256: width, 257: height, 258: 8, 259: compression, 262: 1, 273: 0, 277: 1, 278: height, 279: len(data)}
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + rows + bytes(4) + data


def _unpacked(raw: NDArray[np.uint8], numbers: int, bits: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """`[rows, numbers]` of bits that follow each other, the highest first; each row begins with a byte of its own."""
    values = np.empty((len(raw), numbers), dtype)
    weights = (1 << np.arange(bits - 1, -1, -1)).astype(dtype)
    step = max(1, _UNPACKED_ROWS // numbers)
    for start in range(0, len(raw), step):
        singles = np.unpackbits(raw[start : start + step], axis=1)[:, : numbers * bits]
        values[start : start + step] = singles.reshape(len(singles), numbers, bits) @ weights
    return values


def _floats(raw: NDArray[np.uint8], samples: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Floats whose bytes stand in planes, the highest first, each but the first as a difference."""
    rows = len(raw)
    planes = np.cumsum(raw.reshape(rows, -1, samples), axis=1, dtype=np.uint8).reshape(rows, dtype.itemsize, -1)
    return np.ascontiguousarray(planes.swapaxes(1, 2)).view(dtype.newbyteorder(">")).astype(dtype)
