"""Reduction of large pictures by a whole factor, the average of boxes of pixels, before their colours are converted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .decoded import DecodedImage, Levels
from .errors import MIN_SIDE_PX, UnreadableError, check_size

MAX_DECLARED_PIXELS: Final = 2**28
"""Most pixels of a picture that is reduced, the square of 16384; the header of a file declares them."""

_BAND_NUMBERS: Final = 2**20

ColourAndAlpha = tuple[Image.Image | Levels, Image.Image | None]
"""`colour` and `alpha` of a `DecodedImage`."""


@dataclass
class SizeLimit:
    """Check of the sizes that a file declares, which returns the factor to reduce by.

    Attributes:
        max_pixels: Most pixels of the picture after it is reduced.
        reduce: Whether a picture of up to `MAX_DECLARED_PIXELS` is reduced; else it is refused.
        declared: Width and height that were checked last.
        factor: Whole factor by which the sides of this size are divided.
    """

    max_pixels: int
    reduce: bool
    declared: tuple[int, int] = (0, 0)
    factor: int = 1

    def __call__(self, size: tuple[int, int]) -> int:
        """Factor for a width and height, before a pixel is decoded.

        Raises:
            OverLimitError: They are more pixels than can be reduced.
            UnreadableError: A side is too short.
        """
        check_size(size, max(self.max_pixels, MAX_DECLARED_PIXELS) if self.reduce else self.max_pixels)
        self.declared, self.factor = size, factor_within(size, self.max_pixels)
        if min(reduced_size(size, self.factor)) < MIN_SIDE_PX:
            raise UnreadableError(
                f"is {size[0]} x {size[1]} pixels, too narrow to be reduced to the {self.max_pixels:,} allowed",
                hint="Crop the longer side.",
            )
        return self.factor


def reduced_size(size: tuple[int, int], factor: int) -> tuple[int, int]:
    """Width and height after the reduction, where boxes at the right and lower margin may be smaller.

    >>> reduced_size((7, 4), 2)
    (4, 2)
    """
    width, height = size
    return -(-width // factor), -(-height // factor)


def factor_within(size: tuple[int, int], max_pixels: int) -> int:
    """Smallest whole factor that reduces a width and height to at most `max_pixels`, at least 1.

    >>> factor_within((20000, 10000), 64_000_000)
    2
    """
    factor = 1
    while math.prod(reduced_size(size, factor)) > max(max_pixels, 1):
        factor += 1
    return factor


def reduced(picture: DecodedImage, factor: int) -> DecodedImage:
    """Picture whose sides are divided by a factor; the same one for 1."""
    if factor == 1:
        return picture
    parts = (_rows(picture, top, bottom) for top, bottom in bands(picture.size, factor))
    colour, alpha = reduced_bands(parts, picture.size, factor)
    return replace(picture, colour=colour, alpha=alpha, encoded=None)


def bands(size: tuple[int, int], multiple: int) -> Iterator[tuple[int, int]]:
    """First row of each band of a picture, and the row after its last one.

    Args:
        size: Width and height.
        multiple: Number that divides the rows of each band but the last.
    """
    width, height = size
    rows = max(1, _BAND_NUMBERS // (width * multiple)) * multiple
    for top in range(0, height, rows):
        yield top, min(top + rows, height)


def reduced_bands(parts: Iterable[ColourAndAlpha], size: tuple[int, int], factor: int) -> ColourAndAlpha:
    """Colour and alpha of bands, reduced and joined.

    A band is reduced before the next one is converted, so the whole picture is in memory only as it was decoded.

    Args:
        parts: Bands from top to bottom; `factor` divides the rows of each but the last.
        size: Width and height of all bands together.
        factor: Number of pixels of the sides of a box.
    """
    whole: ColourAndAlpha | None = None
    top = 0
    for part in parts:
        colour, alpha = _averages(*part, factor) if factor > 1 else part
        if whole is None:
            width, height = reduced_size(size, factor)
            whole = _blank(colour, width, height), None if alpha is None else Image.new("L", (width, height))
        for target, band in zip(whole, (colour, alpha), strict=True):
            _put(target, band, top)
        top += colour.height if isinstance(colour, Image.Image) else len(colour)
    assert whole is not None  # noqa: S101 - a picture has rows
    return whole


def _put(target: Image.Image | Levels | None, band: Image.Image | Levels | None, top: int) -> None:
    if isinstance(target, Image.Image):
        target.paste(cast("Image.Image", band), (0, top))
    elif target is not None:
        rows = cast("Levels", band)
        target[top : top + len(rows)] = rows


def _blank(like: Image.Image | Levels, width: int, height: int) -> Image.Image | Levels:
    if isinstance(like, Image.Image):
        return Image.new(like.mode, (width, height))
    return np.empty((height, width, like.shape[2]), np.uint16)


def _rows(picture: DecodedImage, top: int, bottom: int) -> ColourAndAlpha:
    def cropped(image: Image.Image) -> Image.Image:
        return image.crop((0, top, image.width, bottom))

    colour, alpha = picture.colour, picture.alpha
    rows = cropped(colour) if isinstance(colour, Image.Image) else colour[top:bottom]
    return rows, None if alpha is None else cropped(alpha)


def _averages(colour: Image.Image | Levels, alpha: Image.Image | None, factor: int) -> ColourAndAlpha:
    """Averages of the boxes of a band; alpha is the weight of a colour, so that invisible ones do not count."""
    values = np.atleast_3d(np.asarray(colour))
    weights = np.ones((*values.shape[:2], 1), np.uint8) if alpha is None else np.asarray(alpha)[..., None]
    total = _sums(values if alpha is None else values * weights.astype(np.uint32), factor)
    average = _quotients(total, _sums(weights, factor)).astype(values.dtype)
    if isinstance(colour, Image.Image):
        height, width, _ = average.shape
        colour = Image.frombytes(colour.mode, (width, height), average.tobytes())
    else:
        colour = average
    if alpha is not None:
        opacity = _quotients(_sums(weights, factor), _sums(np.ones_like(weights), factor))
        alpha = Image.fromarray(opacity[..., 0].astype(np.uint8))
    return colour, alpha


def _sums(values: NDArray[Any], factor: int) -> NDArray[np.uint64]:
    """Sums of `[height, width, channels]` over boxes, which are smaller at the right and lower margin."""
    height, width, channels = values.shape
    columns, rows = reduced_size((width, height), factor)
    down, sums = np.zeros((rows, width, channels), np.uint64), np.zeros((rows, columns, channels), np.uint64)
    for first in range(factor):
        down[: -(-(height - first) // factor)] += values[first::factor]
    for first in range(factor):
        sums[:, : -(-(width - first) // factor)] += down[:, first::factor]
    return sums


def _quotients(total: NDArray[np.uint64], weight: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Quotients, rounded to the nearest; 0 without weight."""
    return (total + weight // 2) // np.maximum(weight, 1)
