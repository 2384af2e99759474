"""JPEG: checks of the segments, for files that Pillow does not read exactly or the service decodes differently."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ..errors import DamagedError, UnreadableError

SIGNATURE: Final = b"\xff\xd8"

_SENT_FRAMES: Final = (0xC0, 0xC1, 0xC2)
"""SOF markers of baseline, extended and progressive JPEG with Huffman codes (ITU-T T.81, table B.1). TensorFlow decodes
no lossless, hierarchical or arithmetic-coded file."""
_DCT_FRAMES: Final = (*_SENT_FRAMES, 0xC9, 0xCA)
"""SOF markers of frames of cosine transforms, Huffman or arithmetic-coded; the others are lossless or hierarchical."""
_LS_FRAME: Final = 0xF7  # ITU-T T.87, SOF55
_FRAMES: Final = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), _LS_FRAME)
_END, _SCAN = 0xD9, 0xDA
_WITHOUT_LENGTH: Final = (0x01, *range(0xD0, 0xD8), _END)
_MAX_SEGMENTS: Final = 100_000

_PADDING: Final = re.compile(rb"\xff+")
_AFTER_SCAN: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""First marker after the codes of a scan, which hold stuffed zeros and restart markers."""


@dataclass(frozen=True)
class Frame:
    """Header of a JPEG frame.

    Attributes:
        marker: SOF marker, without 0xFF.
        bits: Bits of a sample.
        components: Number of components.
    """

    marker: int
    bits: int
    components: int


def check(data: bytes) -> None:
    """Refuses a file that Pillow cannot read exactly.

    Raises:
        UnreadableError: It is a JPEG-LS, has other than 8 bits, or ends inside a segment; decoders would invent pixels.
    """
    found = _frame(data)
    if found is not None and found.marker == _LS_FRAME:
        raise UnreadableError("is a JPEG-LS picture, which is not supported", hint="Save it as PNG.")
    if found is not None and found.bits != 8:
        raise UnreadableError(f"is a JPEG of {found.bits} bits, which is not supported", hint="Save it with 8 bits.")
    if any(end > len(data) for _, _, end in _segments(data)):
        raise DamagedError("it ends inside a segment")


def can_be_sent_unchanged(data: bytes, *, several: bool = False) -> bool:
    """Whether a JPEG file can be sent unchanged: 8 bits, one or three components, Huffman-coded and complete.

    Args:
        data: JPEG file.
        several: Whether more pictures may follow the first, as in an MPO.
    """
    found, frames, last, end = _frame(data), 0, 0, 0
    for marker, _, segment_end in _segments(data):
        frames += marker in _FRAMES
        last, end = marker, segment_end
    plain = found is not None and found.marker in _SENT_FRAMES and found.bits == 8 and found.components in (1, 3)
    # Decoders differ for files that are cut short.
    whole = last == _END and (end == len(data) or (several and data.endswith(b"\xff\xd9")))
    return plain and frames == 1 and whole


def can_be_scaled(data: bytes) -> bool:
    """Whether a JPEG file can be decoded at 1/2, 1/4 or 1/8 of its size, which needs its cosine transforms."""
    found = _frame(data)
    return found is not None and found.marker in _DCT_FRAMES


def _frame(data: bytes) -> Frame | None:
    """Header of the first frame; None if there is none, or damage before it."""
    frames = (start for marker, start, _ in _segments(data) if marker in _FRAMES)
    start = next(frames, len(data))
    # A length of two bytes, and after it precision, height, width and number of components.
    return Frame(data[start - 1], data[start + 2], data[start + 7]) if start + 8 <= len(data) else None


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment, up to the end of the first picture or the first byte that is no marker.

    The end that a segment declares may be after that of the file.
    """
    at = len(SIGNATURE)
    for _ in range(_MAX_SEGMENTS):
        padding = _PADDING.match(data, at)
        if padding is None or padding.end() == len(data):
            return
        start = padding.end() + 1
        marker = data[start - 1]
        end = start if marker in _WITHOUT_LENGTH else start + int.from_bytes(data[start : start + 2], "big")
        yield marker, start, end
        if marker == _END:
            return
        at = end
        if marker == _SCAN:
            following = _AFTER_SCAN.search(data, end)
            at = len(data) if following is None else following.start()
