"""Samples of a TIFF page: integers or floats of any depth, layout and byte order, from strips or tiles.

They are decompressed by zlib up to the size of the strip, or by the libtiff in Pillow. tifffile is not used: without
imagecodecs (80 MB) it reads neither LZW nor 10 to 14 bits, and it inflates without a bound.

Predictors: TIFF 6.0, section 14, and Adobe's TIFF technical note 3.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import DamagedError
from ..formats import pillow_reader
from ..reduction import bands
from .tags import Directory, Tag

NO_COMPRESSION: Final = 1
_DEFLATE: Final = (8, 32946)
_LIBTIFF: Final = (5, 32773, 34925, 50000)  # LZW, PackBits, LZMA, Zstandard
LOSSLESS_COMPRESSIONS: Final = (NO_COMPRESSION, *_DEFLATE, *_LIBTIFF)

INCOMPLETE_PAGE: Final = "parts of its first page are missing"

_HORIZONTAL_DIFFERENCES, _FLOATING_POINT = 2, 3  # predictors
_WITHOUT_PREDICTOR: Final = (NO_COMPRESSION, 32773)
"""Compressions for which libtiff ignores the tag Predictor: none, PackBits."""
_UNPACKED_AT_ONCE: Final = 2**20
"""Numbers that are unpacked from single bits at once."""


@dataclass(frozen=True)
class Layout:
    """Strips or tiles of a page.

    Attributes:
        width: Width of a strip or tile in pixels.
        height: Height of a strip or tile in pixels; the last strip may be shorter.
        samples: Samples of each pixel in a strip or tile.
        count: Number of strips or tiles that fill the page.
        extents: Offset and length of those that the file has.
        is_tiled: Whether they are tiles, which have their full size also at the margins.
    """

    width: int
    height: int
    samples: int
    count: int
    extents: list[tuple[int, int]]
    is_tiled: bool

    def extent(self, page: Directory, sample: int, top: int, left: int) -> tuple[int, int]:
        """Offset and length of the strip or tile that begins at this sample, row and column of a page."""
        across, down = (-(-side // own) for side, own in zip(page.size, (self.width, self.height), strict=True))
        plane = sample // self.samples
        return self.extents[(plane * down + top // self.height) * across + left // self.width]


def layout_of(page: Directory) -> Layout:
    """Strips or tiles that the tags of a page declare."""
    width, height = page.size
    is_tiled = Tag.TileWidth in page.entries
    if is_tiled:
        across, down = page.integer(Tag.TileWidth), page.integer(Tag.TileLength)
        tags = Tag.TileOffsets, Tag.TileByteCounts
    else:
        across, down = width, min(height, page.integer(Tag.RowsPerStrip, height))
        tags = Tag.StripOffsets, Tag.StripByteCounts
    across, down = max(across, 1), max(down, 1)
    planes = page.samples if page.in_planes else 1
    count = -(-width // across) * -(-height // down) * planes
    offsets, lengths = (page.integers(tag, most=count) for tag in tags)
    extents = list(zip(offsets, lengths, strict=False))
    return Layout(across, down, page.samples // planes, count, extents, is_tiled)


def bands_of_samples(page: Directory, multiple: int) -> Iterator[NDArray[Any]]:
    """`[rows, width, samples]` of each band of a page: unsigned integers or floats in any byte order, unscaled.

    Args:
        page: Page with 1 to 16 or 32 bits a sample, or floats of 16, 32 or 64 bits, in one of `LOSSLESS_COMPRESSIONS`.
        multiple: Number that divides the rows of each band but the last.

    Raises:
        DamagedError: A strip or tile is missing or too short.
        Exception: Any error of a decompressor, on damaged data.
    """
    layout = layout_of(page)
    inside = all(offset > 0 and offset + length <= len(page.data) for offset, length in layout.extents)
    if len(layout.extents) < layout.count or not inside:
        raise DamagedError(INCOMPLETE_PAGE)
    width, height = page.size
    bits = page.bits[0]
    kind = "f" if page.integer(Tag.SampleFormat, 1) == 3 else "u"
    dtype = np.dtype(f"{kind}{1 if bits <= 8 else 2 if bits <= 16 else bits // 8}")
    for start, stop in bands((width, height), math.lcm(layout.height, multiple)):
        samples: NDArray[Any] | None = None
        for sample, top, left in _corners(page, layout, start, stop):
            offset, length = layout.extent(page, sample, top, left)
            rows = layout.height if layout.is_tiled else min(layout.height, height - top)
            decoded = _decoded(page, layout, memoryview(page.data)[offset : offset + length], rows, dtype)
            if decoded.shape == (stop - start, width, page.samples):  # a strip that may be the whole page
                samples = decoded
                break
            if samples is None:
                samples = np.empty((stop - start, width, page.samples), dtype)
            at = top - start
            target = samples[at : at + rows, left : left + layout.width, sample : sample + layout.samples]
            target[...] = decoded[: target.shape[0], : target.shape[1]]
        assert samples is not None  # noqa: S101 - a band has rows
        for top, bottom in bands((width, stop - start), multiple):
            yield samples[top:bottom]


def _corners(page: Directory, layout: Layout, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """First sample, row and column of each strip or tile between two rows."""
    for sample in range(0, page.samples, layout.samples):
        for top in range(start, stop, layout.height):
            for left in range(0, page.size[0], layout.width):
                yield sample, top, left


def _decoded(page: Directory, layout: Layout, data: memoryview, rows: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """`[rows, width, samples]` of one strip or tile."""
    bits, numbers = page.bits[0], layout.width * layout.samples
    row_bytes = -(-numbers * bits // 8)
    raw = _decompressed(data, page.compression, row_bytes, rows)
    shape = rows, layout.width, layout.samples
    predictor = 1 if page.compression in _WITHOUT_PREDICTOR else page.integer(Tag.Predictor, 1)
    if predictor == _FLOATING_POINT:
        return _floats(raw.reshape(rows, -1), layout.samples, dtype).reshape(shape)
    if bits == 8 * dtype.itemsize:
        values = raw.view(dtype.newbyteorder(page.order)).reshape(shape)
    else:
        values = _unpacked(raw.reshape(rows, row_bytes), numbers, bits, dtype).reshape(shape)
    if predictor != _HORIZONTAL_DIFFERENCES:
        return values
    words = np.dtype(f"u{dtype.itemsize}")  # differences of floats are those of their bits
    return np.cumsum(values.astype(dtype, copy=False).view(words), axis=1, dtype=words).view(dtype)


def _decompressed(data: memoryview | bytes, compression: int, row_bytes: int, rows: int) -> NDArray[np.uint8]:
    size = row_bytes * rows
    if compression in _DEFLATE:
        data = zlib.decompressobj().decompress(data, size)
    elif compression in _LIBTIFF:
        image = pillow_reader.open_image(_page_of_bytes(data, compression, row_bytes, rows), "TIFF")
        assert image is not None  # noqa: S101 - it is a TIFF
        with image:
            image.im = Image.new(image.mode, image.size).im  # as in `reader`: no limit of the process
            data = image.tobytes()
    if len(data) < size:
        raise DamagedError(INCOMPLETE_PAGE)
    return np.frombuffer(data, np.uint8, size)


def _page_of_bytes(data: memoryview | bytes, compression: int, width: int, height: int) -> bytes:
    """TIFF of one strip whose 8-bit greys are the decompressed bytes."""
    tags = {256: width, 257: height, 258: 8, 259: compression, 262: 1, 273: 0, 277: 1, 278: height, 279: len(data)}
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + rows + bytes(4) + bytes(data)


def _unpacked(raw: NDArray[np.uint8], numbers: int, bits: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """`[rows, numbers]` of numbers without bits between them, the highest bit first; a row begins on a whole byte."""
    values = np.empty((len(raw), numbers), dtype)
    weights = (1 << np.arange(bits - 1, -1, -1)).astype(dtype)
    step = max(1, _UNPACKED_AT_ONCE // numbers)
    for start in range(0, len(raw), step):
        singles = np.unpackbits(raw[start : start + step], axis=1)[:, : numbers * bits]
        values[start : start + step] = singles.reshape(len(singles), numbers, bits) @ weights
    return values


def _floats(raw: NDArray[np.uint8], samples: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Floats behind the floating-point predictor: planes of bytes, the highest first, as differences."""
    rows = len(raw)
    planes = np.cumsum(raw.reshape(rows, -1, samples), axis=1, dtype=np.uint8).reshape(rows, dtype.itemsize, -1)
    return np.ascontiguousarray(planes.swapaxes(1, 2)).view(dtype.newbyteorder(">")).astype(dtype)
