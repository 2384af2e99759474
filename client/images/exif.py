"""Orientation and colour space in EXIF: the two entries that change pixels."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Final

from PIL import ExifTags, Image

from .colour.colour_space import ADOBE_RGB, ColourSpace

_INTEROPERABILITY_INDEX: Final = 1
_ADOBE_RGB_INDEX: Final = "R03"  # DCF 2.0, "DCF optional file"; ColorSpace is 0xFFFF then, which alone says nothing
_ADOBE_RGB_COLOR_SPACE: Final = 2  # in no version of EXIF, but written by cameras before DCF 2.0


def from_info(info: Mapping[str, bytes | str]) -> Image.Exif:
    """EXIF in entries of `Image.info`, such as "exif"; empty if it is damaged."""
    holder = Image.new("L", (1, 1))
    holder.info.update(info)
    return from_image(holder)


def from_image(image: Image.Image) -> Image.Exif:
    """EXIF of an image, with the orientation in XMP; empty if it is damaged."""
    try:
        return image.getexif()
    except Exception:  # Pillow raises many types; damaged metadata leaves the pixels right
        return Image.Exif()


def from_tiff(data: bytes) -> Image.Exif:
    """EXIF of a TIFF file, which is a directory in it; empty if it is damaged."""
    exif = Image.Exif()
    try:
        exif.load_from_fp(io.BytesIO(data))
    except Exception:  # as above
        return Image.Exif()
    return exif


def orientation(exif: Image.Exif) -> int:
    """EXIF orientation, 1 to 8; 1, upright, if it is missing or damaged."""
    try:
        value = exif.get(ExifTags.Base.Orientation, 1)
    except Exception:  # as above
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def colour_space(exif: Image.Exif) -> ColourSpace | None:
    """Adobe RGB if EXIF declares it; else None, sRGB."""
    try:
        photo = exif.get_ifd(ExifTags.IFD.Exif)
        if photo.get(ExifTags.Base.ColorSpace) == _ADOBE_RGB_COLOR_SPACE:
            return ADOBE_RGB
        index = exif.get_ifd(ExifTags.IFD.Interop).get(_INTEROPERABILITY_INDEX)
    except Exception:  # as above
        return None
    return ADOBE_RGB if isinstance(index, str) and index.strip("\0 ") == _ADOBE_RGB_INDEX else None
