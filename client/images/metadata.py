"""Metadata of result files: facts about the run, resolution and colour profile."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from PIL import ExifTags, Image, PngImagePlugin

from ..errors import ImageError
from .colour.icc import srgb_profile
from .formats import pillow_reader
from .pillow_warnings import ignore_warnings

SOFTWARE: Final = "Software"
"""Name of the fact for which EXIF and TIFF have a tag of its own."""

_DESCRIPTION: Final = ExifTags.Base.ImageDescription
_INCH: Final = 2
"""ResolutionUnit of TIFF and EXIF."""
_METRES_PER_INCH: Final = 0.0254
_PER_METRE: Final = 1
"""Unit of the PNG chunk pHYs."""


def description(text: Mapping[str, str]) -> str:
    """All facts but the software in one text, for formats with one description.

    >>> description({"Software": "styleserve 1", "Model": "style_transfer", "Steps": "100"})
    'Model: style_transfer; Steps: 100'
    """
    return "; ".join(f"{key}: {value}" for key, value in text.items() if key != SOFTWARE)


def exif(text: Mapping[str, str], dpi: int | None) -> bytes:
    """EXIF with the facts, and with the resolution if there is one."""
    found = Image.Exif()
    found[_DESCRIPTION] = description(text)
    if SOFTWARE in text:
        found[ExifTags.Base.Software] = text[SOFTWARE]
    if dpi is not None:
        found[ExifTags.Base.XResolution] = found[ExifTags.Base.YResolution] = dpi
        found[ExifTags.Base.ResolutionUnit] = _INCH
    return found.tobytes()


def png_text(text: Mapping[str, str]) -> PngImagePlugin.PngInfo:
    """Text chunks of a PNG file, for `PIL.Image.Image.save`."""
    info = PngImagePlugin.PngInfo()
    for key, value in text.items():
        info.add_text(key, value)  # an international chunk where Latin-1 does not suffice
    return info


def png_chunks(text: Mapping[str, str], dpi: int | None) -> Iterator[tuple[bytes, bytes]]:
    """Types and contents of the PNG chunks that Pillow would write before the pixels."""
    yield b"iCCP", b"ICC Profile\0\0" + zlib.compress(srgb_profile())
    if dpi is not None:
        per_metre = round(dpi / _METRES_PER_INCH)
        yield b"pHYs", struct.pack(">2IB", per_metre, per_metre, _PER_METRE)
    for kind, content, *_ in png_text(text).chunks:
        yield kind, content


def read_text(path: Path, key: str) -> str | None:
    """Fact in the metadata of a picture file; None if it is missing.

    Args:
        path: Path of the file.
        key: Name of the fact; in formats with one description for all facts, the last one in it.

    Raises:
        OSError: The file cannot be read.
        ImageError: The file is not a picture.
    """
    facts: object = None
    try:
        data = path.read_bytes()
        with ignore_warnings():
            # Not `Image.open`, which refuses large prints.
            image = pillow_reader.open_image(data, *pillow_reader.FORMATS)
            if image is not None:
                facts = image.info.get(key) if image.format == "PNG" else image.getexif().get(_DESCRIPTION, "")
    except OSError as error:
        if error.errno is None:  # an error of Pillow
            raise ImageError(f"{path} is not a picture") from error
        raise
    except Exception as error:  # Pillow's plugins raise many types on damaged files
        raise ImageError(f"{path} is not a picture") from error
    if image is None:
        raise ImageError(f"{path} is not a picture")
    if image.format == "PNG":
        return facts if isinstance(facts, str) else None
    _, found, text = str(facts).partition(f"; {key}: ")
    return text.rstrip("\0") if found else None
