"""Sources of a picture: path of a file, bytes of a file, Pillow image, NumPy array."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import ImageError
from .files import read_file
from .picture import MAX_PIXELS, Picture
from .reading import ReadOptions, picture_from_file, picture_from_image


@dataclass(frozen=True, eq=False)
class PictureFile:
    """Bytes of a file that was read already, with its path."""

    data: bytes
    path: Path


PictureSource: TypeAlias = str | os.PathLike[str] | bytes | Image.Image | NDArray[Any] | Picture | PictureFile


def load_picture(
    source: PictureSource,
    *,
    name: str = "the picture",
    max_pixels: int = MAX_PIXELS,
    reduce: bool = True,
    keep_16_bits: bool = False,
) -> Picture:
    """Picture of a source, as upright sRGB.

    Args:
        source: Path of a file, or its bytes; a Pillow image; an array `[height, width, 3]` or `[height, width]`, uint8
            or floats in [0, 1]. A `Picture` is returned unchanged.
        name: Name for messages, where `source` is not a path.
        max_pixels: Most pixels of the picture; the default is that of `styleserve export`. `StyleClient` asks the model
            for its own limit if a picture has more.
        reduce: Whether a picture of more pixels, up to `MAX_DECLARED_PIXELS`, is reduced by a whole factor; else it is
            refused.
        keep_16_bits: Whether `encoded` has 16 bits a channel if the file has more than 8; `image` always has 8.

    Raises:
        ImageError: The file is missing, or no picture can be made of the source.
    """
    options = ReadOptions(max_pixels, reduce=reduce, keep_16_bits=keep_16_bits)
    if isinstance(source, Picture):
        return source
    if isinstance(source, bytes):
        return _of_file(source, name, options)
    if isinstance(source, PictureFile):
        return replace(_of_file(source.data, str(source.path), options), path=source.path)
    if isinstance(source, Image.Image):
        return picture_from_image(source, name, options)
    if isinstance(source, np.ndarray):
        return picture_from_image(Image.fromarray(_levels(source, name)), name, options)
    try:
        path = Path(source)
    except TypeError as error:
        raise ImageError(
            f"{name} is of the type {type(source).__name__}",
            hint="Give a path, the bytes of a file, a Pillow image, a NumPy array or a Picture.",
        ) from error
    return replace(_of_file(read_file(path), str(source), options), path=path)


def _of_file(data: bytes, name: str, options: ReadOptions) -> Picture:
    return replace(picture_from_file(data, name, options), file_sha256=hashlib.sha256(data).hexdigest())


def _levels(array: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Array as 8-bit levels, rounded to the nearest."""
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
            f"{name} is an array of floats from {low:g} to {high:g}; allowed are 0 to 1",
            hint="Divide by the largest value, or give uint8.",
        )
    return np.rint(array * 255.0).astype(np.uint8)
