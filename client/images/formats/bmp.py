"""BMP: the colour space in a header of version 4 or 5, which Pillow ignores."""

from __future__ import annotations

import struct
from typing import Final

from ..colour.colour_space import D65, ColourSpace, Primaries, space_from_gamma_and_primaries
from ..errors import UnreadableError

_HEADER_AT: Final = 14
_V4_BYTES, _V5_BYTES = 108, 124
_CALIBRATED: Final = b"\0\0\0\0"  # LCS_CALIBRATED_RGB
_EMBEDDED: Final = b"DEBM"  # PROFILE_EMBEDDED, "MBED", little-endian
_SAME: Final = 0.005


def colour_space(data: bytes) -> ColourSpace | bytes | None:
    """ICC profile of a BMP file, or the colour space by its endpoints and gamma; None if it declares nothing.

    BITMAPV4HEADER and BITMAPV5HEADER of the Windows documentation.

    Raises:
        UnreadableError: The gamma differs between red, green and blue.
    """
    size = int.from_bytes(data[_HEADER_AT : _HEADER_AT + 4], "little")
    kind = data[_HEADER_AT + 56 : _HEADER_AT + 60]
    if len(data) < _HEADER_AT + size:
        return None
    if size >= _V5_BYTES and kind == _EMBEDDED:
        start, length = struct.unpack_from("<II", data, _HEADER_AT + 112)
        return data[_HEADER_AT + start : _HEADER_AT + start + length] or None
    return _calibrated(data) if size >= _V4_BYTES and kind == _CALIBRATED else None


def _calibrated(data: bytes) -> ColourSpace | None:
    endpoints = [value / 2**30 for value in struct.unpack_from("<9i", data, _HEADER_AT + 60)]
    gammas = [value / 2**16 for value in struct.unpack_from("<3I", data, _HEADER_AT + 96)]
    if max(gammas) - min(gammas) > _SAME:
        raise UnreadableError("is a BMP with a gamma for each colour, which is not supported", hint="Save it as sRGB.")
    gamma = gammas[0] or None
    if gamma is not None and gamma < 1:  # some writers store the exponent from light to signal
        gamma = 1 / gamma
    return space_from_gamma_and_primaries(gamma, _primaries([endpoints[at : at + 3] for at in (0, 3, 6)]))


def _primaries(endpoints: list[list[float]]) -> Primaries | None:
    """Primaries by the XYZ of red, green and blue; some writers store chromaticities, which leave white at D65."""
    sums = [sum(xyz) for xyz in endpoints]
    if min(sums) <= 0:
        return None
    white = D65
    if max(abs(each - 1) for each in sums) > _SAME:
        x, y, _ = (sum(axis) / sum(sums) for axis in zip(*endpoints, strict=True))
        white = x, y
    return Primaries("", (*(xyz[axis] / sum(xyz) for xyz in endpoints for axis in (0, 1)), *white))
