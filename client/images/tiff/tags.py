"""Directories of a TIFF or BigTIFF file: the tags of its pages and their values (TIFF 6.0, section 2).

Each value is read when it is asked for, up to a bound: a library would read all that a hostile file claims to have.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from PIL import ExifTags

Tag: TypeAlias = ExifTags.Base

_INTEGERS: Final = {1: "B", 2: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
"""Formats of `struct` for the types of integers; 2, ASCII, and 7, UNDEFINED, are bytes."""
_RATIONAL: Final = 5
_BYTES: Final = (1, 7)

_MAX_ENTRIES: Final = 512
_MAX_DIRECTORIES: Final = 4096
_MAX_SUB_DIRECTORIES: Final = 64


@dataclass(frozen=True)
class Directory:
    """Tags of one page, or of a picture that belongs to a page.

    Attributes:
        data: Whole file.
        order: Byte order, as in a format of `struct`.
        entries: Type, count and offset of the values, by tag.
        next_offset: Offset of the next directory; 0 is the end.
    """

    data: bytes = field(repr=False)
    order: Literal["<", ">"]
    entries: dict[int, tuple[int, int, int]]
    next_offset: int

    def integers(self, tag: int, *, most: int = 4096) -> tuple[int, ...]:
        """Integers of a tag, at most `most`; empty if the tag is missing or damaged."""
        kind, count, offset = self.entries.get(tag, (0, 0, 0))
        if kind not in _INTEGERS:
            return ()
        form = f"{self.order}{min(count, most)}{_INTEGERS[kind]}"
        if offset + struct.calcsize(form) > len(self.data):
            return ()
        return struct.unpack_from(form, self.data, offset)

    def integer(self, tag: int, default: int = 0) -> int:
        """First integer of a tag; `default` if the tag is missing or damaged."""
        return next(iter(self.integers(tag, most=1)), default)

    def rationals(self, tag: int, count: int) -> tuple[float, ...]:
        """Unsigned rationals of a tag; empty if the tag has another count, is damaged or divides by 0."""
        kind, found, offset = self.entries.get(tag, (0, 0, 0))
        if kind != _RATIONAL or found != count or offset + 8 * count > len(self.data):
            return ()
        pairs = list(struct.iter_unpack(f"{self.order}2I", self.data[offset : offset + 8 * count]))
        return tuple(above / below for above, below in pairs) if all(below for _, below in pairs) else ()

    def raw(self, tag: int) -> bytes:
        """Value of a tag of bytes; empty if the tag is missing or damaged."""
        kind, count, offset = self.entries.get(tag, (0, 0, 0))
        return self.data[offset : offset + count] if kind in _BYTES else b""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, before the orientation is applied."""
        return self.integer(Tag.ImageWidth), self.integer(Tag.ImageLength)

    @property
    def pixels(self) -> int:
        """Width times height."""
        width, height = self.size
        return width * height

    @property
    def bits(self) -> tuple[int, ...]:
        """Bits of each sample of a pixel."""
        return self.integers(Tag.BitsPerSample) or (1,)

    @property
    def samples(self) -> int:
        """Samples of each pixel: colours and extra samples."""
        return self.integer(Tag.SamplesPerPixel, 1)

    @property
    def photometric(self) -> int:
        """Photometric interpretation: the kind of the colours."""
        return self.integer(Tag.PhotometricInterpretation)

    @property
    def compression(self) -> int:
        """Number of the compression; 1 is none."""
        return self.integer(Tag.Compression, 1)

    @property
    def in_planes(self) -> bool:
        """Whether each sample has strips or tiles of its own."""
        return self.integer(Tag.PlanarConfiguration) == 2 and self.samples > 1


def is_tiff(data: bytes) -> bool:
    """Whether a file is a TIFF or BigTIFF."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_directories(data: bytes) -> tuple[list[Directory], bool]:
    """Directories of the first 4096 pages, and whether their chain is damaged or a circle."""
    order, big = _form(data)
    start = _offset(data, 8 if big else 4, order, big)
    found, seen = list[Directory](), set[int]()
    while start and start not in seen and len(found) < _MAX_DIRECTORIES:
        seen.add(start)
        page = _directory(data, start)
        if page is None:
            break
        found.append(page)
        start = page.next_offset
    return found, start != 0 and len(found) < _MAX_DIRECTORIES


def read_sub_directories(page: Directory) -> list[Directory]:
    """Directories of the pictures that belong to a page, such as previews or the picture in full size."""
    offsets = page.integers(Tag.SubIFDs, most=_MAX_SUB_DIRECTORIES)
    return [found for offset in offsets if (found := _directory(page.data, offset)) is not None]


def _directory(data: bytes, start: int) -> Directory | None:
    """Directory at an offset; None if there is none."""
    order, big = _form(data)
    head, form = (8, f"{order}HHQ8s") if big else (2, f"{order}HHI4s")
    size = struct.calcsize(form)
    if not 0 < start <= len(data) - head:
        return None
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, start)
    end = start + head + count * size
    if not 0 < count <= _MAX_ENTRIES or end > len(data):
        return None
    entries: dict[int, tuple[int, int, int]] = {}
    for at in range(start + head, end, size):
        tag, kind, number, _ = struct.unpack_from(form, data, at)
        inline = at + size - (8 if big else 4)
        fits = struct.calcsize(_INTEGERS.get(kind, "d")) * number <= (8 if big else 4)
        entries.setdefault(tag, (kind, number, inline if fits else _offset(data, inline, order, big)))
    next_offset = _offset(data, end, order, big) if end + (8 if big else 4) <= len(data) else 0
    return Directory(data, order, entries, next_offset)


def _form(data: bytes) -> tuple[Literal["<", ">"], bool]:
    """Byte order of a file, and whether it is a BigTIFF."""
    return ("<" if data.startswith(b"II") else ">"), b"+" in data[2:4]


def _offset(data: bytes, at: int, order: str, big: bool) -> int:
    value: int = struct.unpack_from(order + ("Q" if big else "I"), data, at)[0]
    return value
