"""Colours that a TIFF page declares by tags: primaries, transfer function, YCbCr (TIFF 6.0, sections 20 and 21)."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..colour.colour_space import D65, SRGB_PRIMARIES, ColourSpace, Floats, Primaries, of_gamma_and_primaries
from ..decoded import TOP, by_bands
from ..errors import Unreadable
from . import tags as tiff_tags
from .tags import Directory

_BT601: Final = (0.299, 0.587, 0.114)
_FULL_RANGE: Final = (0.0, 255.0, 128.0, 255.0, 128.0, 255.0)
_WHITE_IS_ZERO, _PALETTE = 0, 3


def declared_space(page: Directory) -> ColourSpace | None:
    """The colour space by PrimaryChromaticities, WhitePoint and TransferFunction; None if there is none of them.

    Raises:
        Unreadable: the transfer function differs between the colours, or is of indices or inverted greys.
    """
    xy = page.fractions(tiff_tags.PRIMARY_CHROMATICITIES, 6)
    white = page.fractions(tiff_tags.WHITE_POINT, 2) or D65
    space = of_gamma_and_primaries(None, Primaries("", (*xy, *white)) if xy else None)
    levels = 1 << page.number(tiff_tags.BITS_PER_SAMPLE, 1)
    table = np.array(page.numbers(tiff_tags.TRANSFER_FUNCTION, most=3 * levels)) / TOP
    if len(table) not in (levels, 3 * levels):
        return space
    tables: Floats = table.reshape(-1, levels)
    if page.number(tiff_tags.PHOTOMETRIC) in (_WHITE_IS_ZERO, _PALETTE) or (tables != tables[0]).any():
        raise Unreadable("is a TIFF with a TransferFunction that is not supported", hint="Save it as sRGB.")

    curve: Floats = tables[0]

    def to_linear(signal: Floats) -> Floats:
        return np.interp(signal, np.linspace(0.0, 1.0, levels), curve)

    return ColourSpace(
        "its transfer function and primaries" if space else "its transfer function",
        space.primaries if space else SRGB_PRIMARIES,
        to_linear,
    )


def rgb_of_ycbcr(levels: NDArray[np.uint16], page: Directory) -> NDArray[np.uint16]:
    """RGB of `[height, width, 3]` YCbCr of 8 bits, scaled to 65535, by YCbCrCoefficients and ReferenceBlackWhite.

    Raises:
        Unreadable: they describe no colours.
    """
    red, green, blue = page.fractions(tiff_tags.YCBCR_COEFFICIENTS, 3) or _BT601
    reference = page.fractions(tiff_tags.REFERENCE_BLACK_WHITE, 6) or _FULL_RANGE
    black, white = np.array(reference[::2]), np.array(reference[1::2])
    if green <= 0 or (white <= black).any():
        raise Unreadable(
            "is a TIFF with YCbCr that is not supported: its tags describe no colours", hint="Save as RGB."
        )
    scale = np.array([255, 127, 127]) / (white - black)

    def converted(band: NDArray[Any]) -> NDArray[np.uint16]:
        y, cb, cr = np.moveaxis((band / 257 - black) * scale, -1, 0)
        r, b = y + (2 - 2 * red) * cr, y + (2 - 2 * blue) * cb
        g = (y - red * r - blue * b) / green
        return np.clip(np.rint(np.stack([r, g, b], -1) * 257), 0, TOP).astype(np.uint16)

    return by_bands(converted, levels)
