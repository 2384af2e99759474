"""Whatever a caller has for a picture: the name of a file, its bytes, an image of Pillow, an array."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .errors import ImageError
from .images import MAX_PIXELS, Picture, picture_of_file, picture_of_image, read_file


@dataclass(frozen=True, eq=False)
class PictureFile:
    """The bytes of a file, with their name for messages."""

    data: bytes
    name: str


PictureSource: TypeAlias = str | os.PathLike[str] | bytes | Image.Image | NDArray[Any] | Picture | PictureFile


def load_picture(source: PictureSource, *, name: str = "the picture", max_pixels: int = MAX_PIXELS) -> Picture:
    """The picture, upright 8-bit sRGB.

    Args:
        source: path of a file, or its bytes; an image of Pillow; an array `[height, width, 3]` or `[height, width]`,
            uint8, or of floats in [0, 1]. A `Picture` is passed on.
        name: for messages, where `source` is not a path.
        max_pixels: most pixels of a file or image, from its header; the default is that of `styleserve export`.
            `StyleClient` asks the model for its own limit if a picture has more.

    Raises:
        ImageError: there is no such file, or it is not a picture that can be used.
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, bytes):
        return picture_of_file(source, name, max_pixels=max_pixels)
    if isinstance(source, PictureFile):
        return picture_of_file(source.data, source.name, max_pixels=max_pixels)
    if isinstance(source, Image.Image):
        return picture_of_image(source, name, max_pixels=max_pixels)
    if isinstance(source, np.ndarray):
        return picture_of_image(Image.fromarray(_levels(source, name)), name, max_pixels=max_pixels)
    try:
        path = Path(source)
    except TypeError as error:
        raise ImageError(
            f"{name} is of the type {type(source).__name__}",
            hint="Give a path, the bytes of a file, an image of Pillow, a NumPy array or a Picture.",
        ) from error
    return picture_of_file(read_file(path, max_pixels=max_pixels), str(source), max_pixels=max_pixels)


def _levels(array: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """The array as 8-bit levels, rounded to the nearest."""
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3) or not array.size:
        raise ImageError(
            f"{name} is an array of the shape {list(array.shape)}",
            hint="Give [height, width, 3] or [height, width], one picture at a time.",
        )
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind != "f":
        raise ImageError(f"{name} is an array of {array.dtype}", hint="Give uint8, or floats in [0, 1].")
    low, high = float(array.min()), float(array.max())
    if not 0.0 <= low <= high <= 1.0:  # NaN included
        raise ImageError(
            f"{name} is an array of floats from {low:g} to {high:g}; 0 to 1 is understood",
            hint="Divide by the largest value, or give uint8.",
        )
    return np.rint(array * 255.0).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Pair:
    """What goes into a painting.

    Attributes:
        content: the picture to paint.
        style: the painting to follow.
    """

    content: Picture
    style: Picture

    @classmethod
    def loaded(cls, content: PictureSource, style: PictureSource, *, max_pixels: int = MAX_PIXELS) -> Pair:
        """Both, with names of their own for messages.

        Args:
            content: picture to paint.
            style: painting to follow.
            max_pixels: most pixels that each may have.

        Raises:
            ImageError: one cannot be used.
        """
        return cls(
            load_picture(content, name="the content", max_pixels=max_pixels),
            load_picture(style, name="the style", max_pixels=max_pixels),
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to them and can be seen."""
        return tuple(f"{picture.name}: {note}" for picture in (self.content, self.style) for note in picture.notes)

    def pixels(self, max_side: int) -> int:
        """Pixels that are worked on: those of the content, as the style costs one evaluation."""
        width, height = self.content.size_within(max_side)
        return width * height
