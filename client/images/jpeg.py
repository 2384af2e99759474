"""JPEG: what kind a file is, and whether the service decodes it as Pillow does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_SENT_FRAMES: Final = (0xC0, 0xC1, 0xC2)
"""SOF markers of baseline, extended and progressive JPEG with Huffman codes (ITU-T T.81, table B.1). TensorFlow decodes
no lossless, hierarchical or arithmetic-coded file."""
_FRAMES: Final = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
_WITHOUT_LENGTH: Final = (0x01, *range(0xD0, 0xD8))


@dataclass(frozen=True)
class Frame:
    """The header of a JPEG frame.

    Attributes:
        marker: its SOF marker, without 0xFF.
        bits: bits of a sample.
        components: number of components.
    """

    marker: int
    bits: int
    components: int


def frame(data: bytes) -> Frame | None:
    """The header of the first frame; None if there is none, or damage before it."""
    at = 2
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _FRAMES:
            return Frame(marker, data[at + 4], data[at + 9])
        if marker == 0xFF:  # padding
            at += 1
        elif marker in _WITHOUT_LENGTH:
            at += 2
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def is_sent(data: bytes) -> bool:
    """Whether a JPEG can be sent unchanged: 8 bits, grey or three components, Huffman-coded, and complete."""
    found = frame(data)
    plain = found is not None and found.marker in _SENT_FRAMES and found.bits == 8 and found.components in (1, 3)
    return plain and data.endswith(b"\xff\xd9")  # decoders differ in what they make of a cut file
