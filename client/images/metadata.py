"""Facts about a run in the metadata of its result: reading them, and adding them to a PNG file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Final

from PIL import Image, PngImagePlugin

from ..errors import ImageError
from .pillow_warnings import ignore_warnings
from .save import IMAGE_DESCRIPTION, check_output, png_info, write_atomically

_HEADER_BYTES: Final = 33
"""Signature of a PNG file, 8 bytes, and its chunk IHDR, 25 bytes."""


def save_png_file(file: bytes, path: str | os.PathLike[str], *, text: Mapping[str, str]) -> Path:
    """Saves a PNG file with text chunks and returns its path; the pixels keep all their bits, unlike in Pillow.

    Args:
        file: PNG file.
        path: Path that ends in .png.
        text: Facts about the picture, by their names.

    Raises:
        OutputError: The file cannot be written.
    """
    path = check_output(path)

    def write(target: IO[bytes]) -> None:
        target.write(file[:_HEADER_BYTES])
        for kind, content, *_ in png_info(text).chunks:
            PngImagePlugin.putchunk(target, kind, content)
        target.write(file[_HEADER_BYTES:])

    write_atomically(path, write)
    return path


def read_text(path: Path, key: str) -> str | None:
    """Fact in the metadata of a picture file; None if it is missing.

    Args:
        path: Path of the file.
        key: Name of the fact; in formats with one description for all facts, the last one in it.

    Raises:
        OSError: The file cannot be read.
        ImageError: The file is not a picture.
    """
    try:
        with path.open("rb") as file, ignore_warnings(), Image.open(file) as image:
            if image.format == "PNG":
                found = image.info.get(key)
                return found if isinstance(found, str) else None
            description = str(image.getexif().get(IMAGE_DESCRIPTION, ""))
    except OSError as error:
        if error.errno is None:  # an error of Pillow
            raise ImageError(f"{path} is not a picture") from error
        raise
    except Exception as error:  # Pillow's plugins raise many types on damaged files
        raise ImageError(f"{path} is not a picture") from error
    _, found, text = description.partition(f"; {key}: ")
    return text.rstrip("\0") if found else None
