"""Conversion from the colour space of a file to sRGB, the space of the photographs that VGG-19 was trained on."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..decoded import MAX_LEVEL, Levels, eight_bit, map_bands
from . import icc, icc_matrix
from .colour_space import SRGB_PRIMARIES, ColourSpace, Floats, Primaries

_BRADFORD: Final = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
"""Bradford matrix, for white points other than D65: ICC.1:2022, annex E."""


def to_srgb(
    colour: Image.Image | Levels, space: ColourSpace | bytes | None, notes: list[str]
) -> tuple[Image.Image | Levels, bool]:
    """Image in sRGB, and whether its colours changed: of the mode RGB, or levels of 16 bits if Pillow is not needed.

    Args:
        colour: Image of the mode L, RGB or CMYK, or levels of 16 bits.
        space: Declared colour space or ICC profile; None is sRGB.
        notes: List that gets a note if the colour space changed the colours, or could not be used.
    """
    if isinstance(space, bytes):
        profile, space = space, None
        if not isinstance(colour, Image.Image):
            space = icc_matrix.colour_space(profile, colour.shape[2])
        if space is None:  # Pillow converts 8 bits only
            return icc.to_srgb(eight_bit(colour), profile, notes)
    if space is None or (isinstance(colour, Image.Image) and colour.mode == "CMYK"):
        return _unconverted(colour), False
    levels: NDArray[Any] = np.asarray(colour)
    grey = levels.ndim == 2 or levels.shape[2] == 1
    matrix = np.eye(3) if grey else matrix_to_srgb(space.primaries)
    if _is_srgb(space, matrix):
        return _unconverted(colour), False
    notes.append(f"converted from {space.name} to sRGB")
    converted = _converted(levels, space, matrix)
    return (Image.fromarray(converted).convert("RGB") if isinstance(colour, Image.Image) else converted), True


def _unconverted(colour: Image.Image | Levels) -> Image.Image | Levels:
    return colour.convert("RGB") if isinstance(colour, Image.Image) else colour


def matrix_to_srgb(primaries: Primaries) -> Floats:
    """`[3, 3]` matrix from linear RGB with these primaries to linear sRGB; white stays white."""
    to_xyz, srgb = primaries.to_xyz(), SRGB_PRIMARIES.to_xyz()
    white, d65 = _BRADFORD @ to_xyz.sum(axis=1), _BRADFORD @ srgb.sum(axis=1)
    adapted = np.linalg.inv(_BRADFORD) @ np.diag(d65 / white) @ _BRADFORD
    return np.linalg.inv(srgb) @ adapted @ to_xyz


def _is_srgb(space: ColourSpace, matrix: Floats) -> bool:
    """Whether the conversion changes no colour visibly."""
    chart = icc.rgb_chart()
    change = _converted(chart, space, matrix).astype(np.int16) - chart
    return int(np.abs(change).max()) <= icc.INVISIBLE_LEVELS


def _converted(levels: NDArray[Any], space: ColourSpace, matrix: Floats) -> NDArray[Any]:
    """Grey or RGB levels of 8 or 16 bits, as sRGB of as many bits."""
    largest = 255 if levels.dtype == np.uint8 else MAX_LEVEL
    signal = np.arange(largest + 1) / largest
    if not space.full_range:
        step = (largest + 1) / 256 / largest
        signal = np.clip((signal - 16 * step) / (219 * step), 0.0, 1.0)
    linear, to_srgb_light = space.to_linear(signal).astype(np.float32), matrix.T.astype(np.float32)
    rgb = levels.ndim == 3 and levels.shape[2] == 3

    def converted(band: NDArray[Any]) -> NDArray[Any]:
        light = linear[band]
        light = np.clip(light @ to_srgb_light if rgb else light, 0.0, 1.0)
        if largest == MAX_LEVEL:
            return _srgb_levels(light, MAX_LEVEL).astype(np.uint16)
        return _TABLE_OF_8_BITS[np.rint(light * MAX_LEVEL).astype(np.uint16)]

    return map_bands(converted, levels)


def _srgb_levels(light: NDArray[Any], largest: int) -> NDArray[Any]:
    """SRGB levels of linear light in [0, 1], rounded to the nearest (IEC 61966-2-1)."""
    return np.rint(largest * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055))


_TABLE_OF_8_BITS: Final = _srgb_levels(np.arange(MAX_LEVEL + 1) / MAX_LEVEL, 255).astype(np.uint8)
"""Levels of 65536 levels of linear light, which is exact for 8 bits and spares the power."""
