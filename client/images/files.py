"""Picture files: the extensions of their names, and their bytes within a limit."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from PIL import Image

from ..errors import ImageError
from .formats.pillow_reader import FORMATS
from .reduction import MAX_DECLARED_PIXELS

MAX_FILE_BYTES: Final = MAX_DECLARED_PIXELS * 8 + 2**20
"""Size of the largest file that is read: four channels of 16 bits, uncompressed, and metadata."""

_HEIC_EXTENSIONS: Final = frozenset({".heic", ".heif", ".hif"})
"""Extensions that pillow-heif reads; without it, the error names the extra."""


def picture_extensions() -> frozenset[str]:
    """Extensions of the formats that are read, in lower case and with their dot."""
    pillows = {extension for extension, kind in Image.registered_extensions().items() if kind in FORMATS}
    return frozenset(pillows | _HEIC_EXTENSIONS)


def read_file(path: Path, *, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Bytes of a file.

    Args:
        path: Path of the file.
        max_bytes: Size of the largest file that is read.

    Raises:
        ImageError: The file is missing, cannot be read, or is too large.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except FileNotFoundError as error:
        raise ImageError(f"there is no file {path}", hint="Check the name and the folder.") from error
    except IsADirectoryError as error:
        raise ImageError(f"{path} is a folder", hint="Give a picture in it.") from error
    except PermissionError as error:
        raise ImageError(f"{path} cannot be read: permission denied", hint="Check its permissions.") from error
    except (OSError, ValueError) as error:
        raise ImageError(f"{path} cannot be read: {error}") from error
    if len(data) > max_bytes:
        raise ImageError(f"{path} has more than the {max_bytes:,} bytes allowed", hint="Give a smaller picture.")
    return data
