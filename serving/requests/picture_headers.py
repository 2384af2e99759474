"""Format and size of a picture by the first bytes of its file. Nothing is decoded."""

from __future__ import annotations

from typing import Final

_FRAME_MARKERS: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers that start a frame in a JPEG file; the three others in this range are tables."""

_MAX_MARKERS: Final = 4096
"""Most markers of a JPEG file before its frame. Pictures have some dozens; a hostile file has one in every byte."""


def has_known_format(data: bytes) -> bool:
    """Whether a file begins like one of the formats that models decode."""
    chunk = data[12:16]
    return (
        data.startswith(b"\xff\xd8\xff")
        or (data.startswith(b"\x89PNG\r\n\x1a\n") and chunk == b"IHDR")
        or (data.startswith(b"RIFF") and data[8:12] == b"WEBP" and chunk in (b"VP8 ", b"VP8L", b"VP8X"))
    )


def picture_size(data: bytes) -> tuple[int, int] | None:
    r"""Height and width in the header of a JPEG, PNG or WebP file.

    None for other files, for truncated ones, and for a JPEG file with thousands of markers before its frame.

    >>> picture_size(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes([0, 0, 1, 2, 0, 0, 0, 3]))
    (3, 258)
    >>> picture_size(b"no picture") is None
    True
    """
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg_size(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n") and data[12:16] == b"IHDR" and len(data) >= 24:
        return int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP" and len(data) >= 30:
        return _webp_size(data)
    return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    at = 2
    for _ in range(_MAX_MARKERS):
        if at + 9 > len(data) or data[at] != 0xFF:
            break
        marker = data[at + 1]
        if marker == 0xFF:  # fill bytes may stand before a marker
            at += 1
        elif marker in _FRAME_MARKERS:
            return int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without data
            at += 2
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        return _little(data, 27, 3) + 1, _little(data, 24, 3) + 1
    if kind == b"VP8L":
        both = _little(data, 21, 4)  # 14 bits each
        return both // 2**14 % 2**14 + 1, both % 2**14 + 1
    return (_little(data, 28, 2) % 2**14, _little(data, 26, 2) % 2**14) if kind == b"VP8 " else None


def _little(data: bytes, start: int, size: int) -> int:
    return int.from_bytes(data[start : start + size], "little")
