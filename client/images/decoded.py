"""Pixels of a file, in the form that all readers return, and their reduction to 8 bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .colour.colour_space import ColourSpace
from .errors import UnreadableError

Levels: TypeAlias = NDArray[np.uint16]
"""`[height, width, 1 or 3]` uint16, grey or RGB: more than 8 bits, scaled so that 65535 is the brightest."""

SizeCheck: TypeAlias = Callable[[tuple[int, int]], int]
"""Check of width and height, which each reader calls before it decodes pixels.

It returns the whole factor by which the picture is to be reduced. A reader that can reduces while it decodes; any other
returns the picture in full size.
"""

MAX_LEVEL: Final = 65535

_T = TypeVar("_T", bound=np.generic)

_BAND_NUMBERS: Final = 2**20


@dataclass(kw_only=True)
class DecodedImage:
    """Image as its file holds it.

    Attributes:
        colour: Image of the mode L, RGB or CMYK, or levels of 16 bits, with straight alpha.
        alpha: Image of the mode L; None if there is no alpha channel and no transparent colour.
        space: Declared colour space or ICC profile; None is sRGB.
        orientation: EXIF orientation, 1 to 8, that is still to be applied.
        notes: Visible changes so far, as in "only the first of 3 frames is used".
        encoded: File that the service decodes to exactly `colour`; None if the image must be encoded again.
    """

    colour: Image.Image | Levels
    alpha: Image.Image | None = None
    space: ColourSpace | bytes | None = None
    orientation: int = 1
    notes: tuple[str, ...] = ()
    encoded: bytes | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, before the orientation is applied."""
        if isinstance(self.colour, Image.Image):
            return self.colour.size
        height, width, _ = self.colour.shape
        return width, height


def within_bits(levels: Levels, bits: int) -> Image.Image | Levels:
    """Colours as an image of 8 bits, where the file has no more; else the levels."""
    return eight_bit(levels) if bits <= 8 else levels


def eight_bit(colour: Image.Image | Levels) -> Image.Image:
    """Colours with 8 bits each, rounded to the nearest, in the mode L, RGB or CMYK."""
    if isinstance(colour, Image.Image):
        return colour
    return Image.fromarray(_rounded(colour[..., 0] if colour.shape[2] == 1 else colour))


def eight_bit_channel(levels: NDArray[np.uint16]) -> Image.Image:
    """Image of the mode L of `[height, width]` uint16, rounded to the nearest."""
    return Image.fromarray(_rounded(levels))


def _rounded(levels: NDArray[np.uint16]) -> NDArray[np.uint8]:
    return map_bands(lambda band: _NEAREST[band], levels)


_NEAREST: Final = ((np.arange(MAX_LEVEL + 1) + 128) // 257).astype(np.uint8)


def map_bands(function: Callable[[Any], NDArray[_T]], array: NDArray[Any]) -> NDArray[_T]:
    """Results of a function for bands of rows, joined.

    Conversions take up to 8 bytes for each number, which would not fit into memory for all of a large picture.

    Args:
        function: Converts some rows of the array.
        array: Array with at least one row.
    """
    rows = max(1, _BAND_NUMBERS // max(1, array[:1].size))
    return np.concatenate([function(array[start : start + rows]) for start in range(0, len(array), rows)])


def scaled_to_16_bits(samples: NDArray[Any], bits: int) -> NDArray[np.uint16]:
    """Unsigned samples of 1 to 32 bits, scaled so that the largest number of these bits becomes 65535."""
    if bits == 16:
        return samples.astype(np.uint16, copy=False)
    if bits > 16:
        return map_bands(lambda band: (band >> (bits - 16)).astype(np.uint16), samples)
    largest = (1 << bits) - 1
    table = np.rint(np.arange(largest + 1) * (MAX_LEVEL / largest)).astype(np.uint16)
    return map_bands(lambda band: table[band], samples)


def sixteen_bit_levels(samples: NDArray[Any]) -> NDArray[np.uint16]:
    """Integers up to 65535, or floats in [0, 1], as uint16.

    Raises:
        UnreadableError: A number is out of this range.
    """
    largest = 1.0 if samples.dtype.kind == "f" else float(MAX_LEVEL)
    low, high = samples.min(), samples.max()
    if not 0 <= low <= high <= largest:  # NaN included
        raise UnreadableError(
            f"has pixel values from {low:g} to {high:g}; allowed are 0 to {largest:g}",
            hint="Save it with 8 or 16 bits a channel.",
        )
    if samples.dtype.kind == "f":
        return map_bands(lambda band: np.rint(band.astype(np.float32) * MAX_LEVEL).astype(np.uint16), samples)
    return samples.astype(np.uint16)


def straight_colours(colour: NDArray[np.uint16], alpha: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """`[height, width, channels]` colours with straight alpha.

    Args:
        colour: Premultiplied colours of the same shape.
        alpha: `[height, width]`.
    """

    def divided(band: NDArray[np.uint16]) -> NDArray[np.uint16]:
        divisor = np.maximum(band[..., -1:], 1).astype(np.uint32)
        numerator = band[..., :-1].astype(np.uint32) * MAX_LEVEL + divisor // 2
        return np.minimum(numerator // divisor, MAX_LEVEL).astype(np.uint16)

    return map_bands(divided, np.concatenate([colour, alpha[..., None]], axis=-1))
