"""WebP: whether the service decodes a file as Pillow does."""

from __future__ import annotations


def is_sent(data: bytes) -> bool:
    """Whether a WebP can be sent unchanged: it ends where its header says."""
    size = int.from_bytes(data[4:8], "little")
    return len(data) == 8 + size + size % 2
