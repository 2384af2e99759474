"""WebP: check that the service decodes a file as Pillow does."""

from __future__ import annotations

from typing import Final

_ANIMATION_OR_ALPHA: Final = 0x12
"""Flags in the chunk VP8X of files that TensorFlow does not decode to three channels."""


def size(data: bytes) -> tuple[int, int] | None:
    """Width and height in the header of a WebP file; None for other files.

    Pillow's decoder allocates the canvas when it opens a file. WebP container specification, "Extended File Format";
    RFC 6386, 9.1; WebP lossless bitstream specification, 3.
    """
    kind, start = data[12:16], data[20:30]
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(start) < 10:
        return None
    if kind == b"VP8X":
        return int.from_bytes(start[4:7], "little") + 1, int.from_bytes(start[7:10], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(start[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(start[6:8], "little") & 0x3FFF, int.from_bytes(start[8:10], "little") & 0x3FFF


def can_be_sent_unchanged(data: bytes) -> bool:
    """Whether a WebP file can be sent unchanged: a still without alpha that ends where its header says."""
    size = int.from_bytes(data[4:8], "little")
    flags = data[20] if data[12:16] == b"VP8X" and len(data) > 20 else 0
    return len(data) == 8 + size + size % 2 and not flags & _ANIMATION_OR_ALPHA
