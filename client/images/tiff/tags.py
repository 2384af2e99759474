"""Directories of a TIFF file (TIFF 6.0, section 2; BigTIFF): tags and values, without a pixel."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final, Literal

NEW_SUBFILE_TYPE: Final = 254
SUBFILE_TYPE: Final = 255
IMAGE_WIDTH: Final = 256
IMAGE_LENGTH: Final = 257
BITS_PER_SAMPLE: Final = 258
COMPRESSION: Final = 259
PHOTOMETRIC: Final = 262
FILL_ORDER: Final = 266
STRIP_OFFSETS: Final = 273
SAMPLES_PER_PIXEL: Final = 277
ROWS_PER_STRIP: Final = 278
STRIP_BYTE_COUNTS: Final = 279
ORIENTATION: Final = 274
PLANAR_CONFIGURATION: Final = 284
TRANSFER_FUNCTION: Final = 301
PREDICTOR: Final = 317
COLOR_MAP: Final = 320
WHITE_POINT: Final = 318
PRIMARY_CHROMATICITIES: Final = 319
TILE_WIDTH: Final = 322
TILE_LENGTH: Final = 323
TILE_OFFSETS: Final = 324
TILE_BYTE_COUNTS: Final = 325
SUB_IFDS: Final = 330
INK_SET: Final = 332
EXTRA_SAMPLES: Final = 338
SAMPLE_FORMAT: Final = 339
YCBCR_COEFFICIENTS: Final = 529
YCBCR_SUBSAMPLING: Final = 530
REFERENCE_BLACK_WHITE: Final = 532
ICC_PROFILE: Final = 34675
TIFF_EP_STANDARD_ID: Final = 37398
DNG_VERSION: Final = 50706
DNG_PRIVATE_DATA: Final = 50740

_CODES: Final = {1: "B", 2: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
"""Types of whole numbers, as `struct` has them; 2 and 7 are bytes."""
_FRACTION: Final = 5

_MOST_ENTRIES: Final = 512
_MOST_DIRECTORIES: Final = 4096
_MOST_SUB_DIRECTORIES: Final = 64


@dataclass(frozen=True)
class Directory:
    """One page of a TIFF, or a picture that belongs to one.

    Attributes:
        data: whole file.
        order: byte order, as `struct` has it.
        entries: type, count and offset of the values, by tag.
        following: offset of the next directory; 0 is the end.
    """

    data: bytes = field(repr=False)
    order: Literal["<", ">"]
    entries: dict[int, tuple[int, int, int]]
    following: int

    def numbers(self, tag: int, *, most: int = 4096) -> tuple[int, ...]:
        """The whole numbers of a tag, no more than `most`; empty if it is missing or damaged."""
        kind, count, offset = self.entries.get(tag, (0, 0, 0))
        if kind not in _CODES:
            return ()
        form = f"{self.order}{min(count, most)}{_CODES[kind]}"
        if offset + struct.calcsize(form) > len(self.data):
            return ()
        return struct.unpack_from(form, self.data, offset)

    def number(self, tag: int, default: int = 0) -> int:
        """The first number of a tag."""
        return next(iter(self.numbers(tag, most=1)), default)

    def fractions(self, tag: int, count: int) -> tuple[float, ...]:
        """So many unsigned fractions of a tag; empty if it has not as many, is damaged or divides by 0."""
        kind, found, offset = self.entries.get(tag, (0, 0, 0))
        if kind != _FRACTION or found != count or offset + 8 * count > len(self.data):
            return ()
        pairs = struct.iter_unpack(f"{self.order}2I", self.data[offset : offset + 8 * count])
        values = [(above, below) for above, below in pairs if below]
        return tuple(above / below for above, below in values) if len(values) == count else ()

    def raw(self, tag: int) -> bytes:
        """The bytes of a tag of bytes; empty if it is missing or damaged."""
        kind, count, offset = self.entries.get(tag, (0, 0, 0))
        return self.data[offset : offset + count] if kind in (1, 7) else b""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, before its orientation is applied."""
        return self.number(IMAGE_WIDTH), self.number(IMAGE_LENGTH)

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.number(IMAGE_WIDTH) * self.number(IMAGE_LENGTH)


def is_tiff(data: bytes) -> bool:
    """Whether a file is a TIFF or BigTIFF."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def pages(data: bytes) -> tuple[list[Directory], bool]:
    """The directories of the first 4096 pages, and whether their chain breaks off, by damage or as a circle.

    Args:
        data: TIFF or BigTIFF file.
    """
    order, big = _form(data)
    start = _number(data, 8 if big else 4, order, big)
    found, seen = list[Directory](), set[int]()
    while start and start not in seen and len(found) < _MOST_DIRECTORIES:
        seen.add(start)
        page = directory(data, start)
        if page is None:
            break
        found.append(page)
        start = page.following
    return found, start != 0 and len(found) < _MOST_DIRECTORIES


def directory(data: bytes, start: int) -> Directory | None:
    """The directory at an offset; None if there is none."""
    order, big = _form(data)
    head, form = (8, f"{order}HHQ8s") if big else (2, f"{order}HHI4s")
    size = struct.calcsize(form)
    if not 0 < start <= len(data) - head:
        return None
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, start)
    end = start + head + count * size
    if not 0 < count <= _MOST_ENTRIES or end > len(data):
        return None
    entries: dict[int, tuple[int, int, int]] = {}
    for at in range(start + head, end, size):
        tag, kind, number, _ = struct.unpack_from(form, data, at)
        inline = at + size - (8 if big else 4)
        fits = struct.calcsize(_CODES.get(kind, "d")) * number <= (8 if big else 4)
        entries.setdefault(tag, (kind, number, inline if fits else _number(data, inline, order, big)))
    following = _number(data, end, order, big) if end + (8 if big else 4) <= len(data) else 0
    return Directory(data, order, entries, following)


def sub_directories(page: Directory) -> list[Directory]:
    """The pictures that belong to a page, as previews or as the full size of one."""
    offsets = page.numbers(SUB_IFDS, most=_MOST_SUB_DIRECTORIES)
    return [found for offset in offsets if (found := directory(page.data, offset)) is not None]


def _form(data: bytes) -> tuple[Literal["<", ">"], bool]:
    """The byte order of a file, and whether it is a BigTIFF."""
    return ("<" if data.startswith(b"II") else ">"), b"+" in data[2:4]


def _number(data: bytes, at: int, order: str, big: bool) -> int:
    value: int = struct.unpack_from(order + ("Q" if big else "I"), data, at)[0]
    return value
