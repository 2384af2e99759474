"""AV1: code points of the colours in the sequence header of a still picture.

AV1 Bitstream & Decoding Process Specification, 5.3.2 (OBU header), 5.5.1 (sequence header), 5.5.2 (color_config).
"""

from __future__ import annotations

from typing import Final

_SEQUENCE_HEADER, _TEMPORAL_DELIMITER = 1, 2  # types of OBU
_HEADER_BYTES: Final = 32
"""Bytes that hold the colours of any reduced sequence header."""


def code_points(data: bytes) -> tuple[int, int] | None:
    """Primaries and transfer function of a still picture with a reduced header, as numbered in ITU-T H.273.

    Args:
        data: OBUs of one picture.

    Returns:
        None for other data, for a picture without colours, such as alpha, and if nothing is declared.
    """
    at = 0
    while at + 2 <= len(data):
        kind, extended, sized = data[at] >> 3 & 15, data[at] & 4, data[at] & 2
        at += 2 if extended else 1
        size, shift = 0, 0
        while sized and at < len(data):  # LEB128
            byte = data[at]
            size |= (byte & 0x7F) << shift
            at, shift, sized = at + 1, shift + 7, byte & 0x80
        if kind == _SEQUENCE_HEADER:
            return _of_sequence_header(data[at : at + _HEADER_BYTES])
        if kind != _TEMPORAL_DELIMITER:
            return None
        at += size
    return None


def _of_sequence_header(data: bytes) -> tuple[int, int] | None:
    bits = "".join(f"{byte:08b}" for byte in data.ljust(_HEADER_BYTES, b"\0"))  # a header cut short
    at = 0

    def take(count: int) -> int:
        nonlocal at
        at += count
        return int(bits[at - count : at], 2)

    profile, _still, reduced, _level = take(3), take(1), take(1), take(5)
    if not reduced:
        return None
    width_bits, height_bits = take(4) + 1, take(4) + 1
    take(width_bits + height_bits)
    take(6)  # superblocks, intra filters and edges, super-resolution, CDEF, restoration
    high_depth = take(1)
    if profile == 2 and high_depth:
        take(1)
    monochrome = take(1) if profile != 1 else 0
    described = take(1)
    found = take(8), take(8)
    return found if described and not monochrome and at <= 8 * len(data) else None
