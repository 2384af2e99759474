"""Colour space and YCbCr coefficients in the tags of a TIFF page (TIFF 6.0, sections 20 and 21)."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..colour.colour_space import D65, SRGB_PRIMARIES, ColourSpace, Floats, Primaries, space_from_gamma_and_primaries
from ..decoded import MAX_LEVEL, map_bands
from ..errors import UnreadableError
from .tags import Directory, Tag

_BT601: Final = (0.299, 0.587, 0.114)
_FULL_RANGE: Final = (0.0, 255.0, 128.0, 255.0, 128.0, 255.0)
_WHITE_IS_ZERO, _PALETTE = 0, 3


def colour_space(page: Directory) -> ColourSpace | None:
    """Colour space by PrimaryChromaticities, WhitePoint and TransferFunction; None without these tags.

    Raises:
        UnreadableError: The transfer function differs between the colours, or is that of a palette or inverted greys.
    """
    xy = page.rationals(Tag.PrimaryChromaticities, 6)
    white = page.rationals(Tag.WhitePoint, 2) or D65
    space = space_from_gamma_and_primaries(None, Primaries("", (*xy, *white)) if xy else None)
    levels = 1 << page.bits[0]
    table = np.array(page.integers(Tag.TransferFunction, most=3 * levels)) / MAX_LEVEL
    if len(table) not in (levels, 3 * levels):
        return space
    tables: Floats = table.reshape(-1, levels)
    if page.photometric in (_WHITE_IS_ZERO, _PALETTE) or (tables != tables[0]).any():
        raise UnreadableError("is a TIFF with a TransferFunction that is not supported", hint="Save it as sRGB.")

    curve: Floats = tables[0]

    def to_linear(signal: Floats) -> Floats:
        return np.interp(signal, np.linspace(0.0, 1.0, levels), curve)

    return ColourSpace(
        "its transfer function and primaries" if space else "its transfer function",
        space.primaries if space else SRGB_PRIMARIES,
        to_linear,
    )


def rgb_of_ycbcr(levels: NDArray[np.uint16], page: Directory) -> NDArray[np.uint16]:
    """`[height, width, 3]` RGB of YCbCr of 8 bits, scaled to 65535, by YCbCrCoefficients and ReferenceBlackWhite.

    Raises:
        UnreadableError: These tags describe no colours.
    """
    red, green, blue = page.rationals(Tag.YCbCrCoefficients, 3) or _BT601
    reference = page.rationals(Tag.ReferenceBlackWhite, 6) or _FULL_RANGE
    black, white = np.array(reference[::2]), np.array(reference[1::2])
    if green <= 0 or (white <= black).any():
        raise UnreadableError(
            "is a TIFF with YCbCr that is not supported: its tags describe no colours", hint="Save as RGB."
        )
    scale = np.array([255, 127, 127]) / (white - black)

    def converted(band: NDArray[Any]) -> NDArray[np.uint16]:
        y, cb, cr = np.moveaxis((band / 257 - black) * scale, -1, 0)
        r, b = y + (2 - 2 * red) * cr, y + (2 - 2 * blue) * cb
        g = (y - red * r - blue * b) / green
        return np.clip(np.rint(np.stack([r, g, b], -1) * 257), 0, MAX_LEVEL).astype(np.uint16)

    return map_bands(converted, levels)
