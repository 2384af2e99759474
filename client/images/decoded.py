"""Pixels as a file holds them, in the one form that all readers return, and their reduction to 8 bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .colour.colour_space import ColourSpace
from .errors import Unreadable

Levels: TypeAlias = NDArray[np.uint16]
"""`[height, width, 1 or 3]` uint16, grey or RGB: more than 8 bits, scaled so that 65535 is the brightest."""

SizeCheck: TypeAlias = Callable[[tuple[int, int]], None]
"""Refuses a width and height; each reader calls it before it decodes pixels."""

TOP: Final = 65535

_T = TypeVar("_T", bound=np.generic)

_BAND_NUMBERS: Final = 2**20


@dataclass(kw_only=True)
class Decoded:
    """A picture as its file holds it.

    Attributes:
        colour: image of the mode L, RGB or CMYK, or levels of 16 bits; not premultiplied by alpha.
        alpha: image of the mode L; None if there is no alpha channel and no transparent colour.
        space: declared colour space or ICC profile; None is sRGB.
        orientation: EXIF orientation, 1 to 8, that is still to be applied.
        notes: visible changes so far, as in "only the first of 3 frames is used".
        sendable: file that the service decodes to exactly `colour`; None if the picture must be encoded anew.
    """

    colour: Image.Image | Levels
    alpha: Image.Image | None = None
    space: ColourSpace | bytes | None = None
    orientation: int = 1
    notes: tuple[str, ...] = ()
    sendable: bytes | None = None


def eight_bit(colour: Image.Image | Levels) -> Image.Image:
    """The colours with 8 bits each, rounded to the nearest, in the mode L, RGB or CMYK."""
    if isinstance(colour, Image.Image):
        return colour
    return Image.fromarray(_rounded(colour[..., 0] if colour.shape[2] == 1 else colour))


def eight_bit_channel(levels: NDArray[np.uint16]) -> Image.Image:
    """`[height, width]` uint16 as an image of the mode L, rounded to the nearest."""
    return Image.fromarray(_rounded(levels))


def _rounded(levels: NDArray[np.uint16]) -> NDArray[np.uint8]:
    return by_bands(lambda band: _NEAREST[band], levels)


_NEAREST: Final = ((np.arange(TOP + 1) + 128) // 257).astype(np.uint8)


def by_bands(function: Callable[[Any], NDArray[_T]], array: NDArray[Any]) -> NDArray[_T]:
    """The results of a function for bands of rows, one below the other.

    Conversions need up to 8 bytes for each number, which the whole of a large picture would not leave room for.

    Args:
        function: takes some rows of the array.
        array: at least one row.
    """
    rows = max(1, _BAND_NUMBERS // max(1, array[:1].size))
    return np.concatenate([function(array[start : start + rows]) for start in range(0, len(array), rows)])


def scaled(samples: NDArray[Any], bits: int) -> NDArray[np.uint16]:
    """Unsigned samples of 1 to 32 bits, scaled so that the largest number of these bits becomes 65535."""
    if bits == 16:
        return samples.astype(np.uint16)
    if bits > 16:
        return by_bands(lambda band: (band >> (bits - 16)).astype(np.uint16), samples)
    top = (1 << bits) - 1
    table = np.rint(np.arange(top + 1) * (TOP / top)).astype(np.uint16)
    return by_bands(lambda band: table[band], samples)


def sixteen_bit_levels(samples: NDArray[Any]) -> NDArray[np.uint16]:
    """Numbers up to 65535, or floats in [0, 1], as uint16.

    Raises:
        Unreadable: there are others.
    """
    top = 1.0 if samples.dtype.kind == "f" else float(TOP)
    low, high = samples.min(), samples.max()
    if not 0 <= low <= high <= top:  # NaN included
        raise Unreadable(
            f"has pixel values from {low:g} to {high:g}; 0 to {top:g} is understood",
            hint="Save it with 8 or 16 bits a channel.",
        )
    if samples.dtype.kind == "f":
        return by_bands(lambda band: np.rint(band.astype(np.float32) * TOP).astype(np.uint16), samples)
    return samples.astype(np.uint16)


def unassociated(colour: NDArray[np.uint16], alpha: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Colours `[height, width, channels]` without the alpha `[height, width]` that they are multiplied by."""

    def divided(band: NDArray[np.uint16]) -> NDArray[np.uint16]:
        divisor = np.maximum(band[..., -1:], 1).astype(np.uint32)
        return np.minimum((band[..., :-1].astype(np.uint32) * TOP + divisor // 2) // divisor, TOP).astype(np.uint16)

    return by_bands(divided, np.concatenate([colour, alpha[..., None]], axis=-1))
