"""Picture files: the extensions of their names, and their bytes within a limit."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from PIL import Image

from ..errors import ImageError
from .errors import OverLimitError
from .formats.pillow_reader import FORMATS
from .picture import MAX_PIXELS

_BYTES_PER_PIXEL: Final = 8
"""Four channels of 16 bits, uncompressed."""
_METADATA_BYTES: Final = 2**20

_HEIC_EXTENSIONS: Final = frozenset({".heic", ".heif", ".hif"})
"""Extensions that pillow-heif reads; without it, the error names the extra."""


def picture_extensions() -> frozenset[str]:
    """Extensions of the formats that are read, in lower case and with their dot."""
    pillows = {extension for extension, kind in Image.registered_extensions().items() if kind in FORMATS}
    return frozenset(pillows | _HEIC_EXTENSIONS)


def max_file_bytes(max_pixels: int) -> int:
    """Size of the largest file that is read for a limit of pixels."""
    return max_pixels * _BYTES_PER_PIXEL + _METADATA_BYTES


def read_file(path: Path, *, max_pixels: int = MAX_PIXELS) -> bytes:
    """Bytes of a file.

    Args:
        path: Path of the file.
        max_pixels: Most pixels of the picture in it, which bound its bytes.

    Raises:
        ImageError: The file is missing, cannot be read, or is too large for a picture of so many pixels.
    """
    most = max_file_bytes(max_pixels)
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except FileNotFoundError as error:
        raise ImageError(f"there is no file {path}", hint="Check the name and the folder.") from error
    except IsADirectoryError as error:
        raise ImageError(f"{path} is a folder", hint="Give a picture in it.") from error
    except PermissionError as error:
        raise ImageError(f"{path} cannot be read: permission denied", hint="Check its permissions.") from error
    except (OSError, ValueError) as error:
        raise ImageError(f"{path} cannot be read: {error}") from error
    if len(data) > most:
        error = OverLimitError(f"has more than the {most:,} bytes allowed")
        raise error.to_image_error(str(path)) from error
    return data
