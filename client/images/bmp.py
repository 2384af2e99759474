"""BMP: the ICC profile that version 5 of its header may name, and that Pillow leaves aside."""

from __future__ import annotations

import struct
from typing import Final

_HEADER_AT: Final = 14
_V5_BYTES: Final = 124
_EMBEDDED: Final = b"DEBM"  # PROFILE_EMBEDDED, "MBED", little-endian


def icc_profile(data: bytes) -> bytes | None:
    """The profile embedded in a BMP file; None if there is none (BITMAPV5HEADER)."""
    if len(data) < _HEADER_AT + _V5_BYTES or int.from_bytes(data[_HEADER_AT : _HEADER_AT + 4], "little") < _V5_BYTES:
        return None
    start, size = struct.unpack_from("<II", data, _HEADER_AT + 112)
    embedded = data[_HEADER_AT + 56 : _HEADER_AT + 60] == _EMBEDDED
    return data[_HEADER_AT + start : _HEADER_AT + start + size] or None if embedded else None
