"""Facts about a run in the file of its result: read, and put into a PNG file that is kept byte for byte otherwise."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from PIL import Image, PngImagePlugin

from ..errors import ImageError
from .pillow_warnings import silenced
from .save import IMAGE_DESCRIPTION, check_output, write_atomically

_HEADER_END: Final = 33  # of a PNG: 8 bytes of signature, 25 of the chunk IHDR


def save_png_file(file: bytes, path: str | os.PathLike[str], *, text: Mapping[str, str]) -> Path:
    """Path of a PNG file, saved with the pixels that it has, which Pillow would reduce to 8 bits.

    Args:
        file: PNG file.
        path: Path, ending in .png.
        text: Facts about the picture, each under its name.

    Raises:
        OutputError: It cannot be written there.
    """
    path = check_output(path)
    chunks = PngImagePlugin.PngInfo()
    for key, value in text.items():
        chunks.add_text(key, value)
    packed = b"".join(_chunk(kind, data) for kind, data, *_ in chunks.chunks)
    write_atomically(path, lambda target: target.writelines((file[:_HEADER_END], packed, file[_HEADER_END:])))
    return path


def read_text(path: Path, key: str) -> str | None:
    """The fact of this name in a picture's file; None where there is none.

    Args:
        path: Path of the file.
        key: Name of the fact, the last one in the description of formats that keep all facts in one text.

    Raises:
        OSError: There is no such file.
        ImageError: It is no picture.
    """
    try:
        with path.open("rb") as file, silenced(), Image.open(file) as image:
            if image.format == "PNG":
                found = image.info.get(key)
                return found if isinstance(found, str) else None
            description = str(image.getexif().get(IMAGE_DESCRIPTION, ""))
    except OSError as error:
        if error.errno is None:  # of Pillow
            raise ImageError(f"{path} is no picture") from error
        raise
    except Exception as error:  # Pillow's plugins raise nearly anything on damaged files
        raise ImageError(f"{path} is no picture") from error
    _, found, text = description.partition(f"; {key}: ")
    return text.rstrip("\0") if found else None


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
