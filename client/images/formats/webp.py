"""WebP: check that the service decodes a file as Pillow does."""

from __future__ import annotations

from typing import Final

_ANIMATION_OR_ALPHA: Final = 0x12
"""Flags in the chunk VP8X of files that TensorFlow does not decode to three channels."""


def can_be_sent_unchanged(data: bytes) -> bool:
    """Whether a WebP file can be sent unchanged: a still without alpha that ends where its header says."""
    size = int.from_bytes(data[4:8], "little")
    flags = data[20] if data[12:16] == b"VP8X" and len(data) > 20 else 0
    return len(data) == 8 + size + size % 2 and not flags & _ANIMATION_OR_ALPHA
