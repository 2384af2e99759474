"""Boxes of ISO base media files: AVIF, HEIF and JPEG 2000 (ISO/IEC 14496-12, 4.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_MAX_BOXES: Final = 10_000
"""Boxes of one container that are read; a picture has dozens."""


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Type of each box between two offsets, and start and end of its content, up to the first damaged box."""
    end = len(data) if end is None else end
    for _ in range(_MAX_BOXES):
        if start + 8 > end:
            return
        size, kind, content = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8], start + 8
        if size == 1:
            size, content = int.from_bytes(data[content : content + 8], "big"), content + 8
        following = end if size == 0 else start + size
        if not content <= following <= end:
            return
        yield kind, content, following
        start = following


def box(data: bytes, kind: bytes, start: int = 0, end: int | None = None) -> tuple[int, int] | None:
    """Start and end of the content of the first box of a type; None if there is none."""
    return next(((first, last) for found, first, last in boxes(data, start, end) if found == kind), None)
