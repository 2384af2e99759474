"""Results as files: all or nothing, with what made them written inside."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from .errors import OutputError

if TYPE_CHECKING:
    from PIL import Image

_FORMATS: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": "4:4:4"}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": "4:4:4"}),
    ".webp": ("WEBP", {"lossless": True}),
    ".avif": ("AVIF", {"quality": 95, "subsampling": "4:4:4"}),
    ".bmp": ("BMP", {}),
    ".tif": ("TIFF", {"compression": "tiff_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_deflate"}),
}
EXTENSIONS: Final = tuple(_FORMATS)
"""What a result can be saved as."""

_IMAGE_DESCRIPTION: Final = 0x010E  # EXIF and TIFF tags
_SOFTWARE: Final = 0x0131


def check_output(path: str | os.PathLike[str], *, extensions: Sequence[str] | None = EXTENSIONS) -> Path:
    """The path, once it was found that a file can be saved there: to be asked before minutes of work.

    Args:
        path: of the file.
        extensions: that it may have; None is any, or none.

    Raises:
        OutputError: unknown extension, or the folder is missing or not writable.
    """
    path = Path(path)
    if extensions is not None and path.suffix.lower() not in extensions:
        came = f"has the extension {path.suffix!r}" if path.suffix else "has no extension"
        raise OutputError(f"{path} {came}", hint=f"Name it with one of: {', '.join(extensions)}.")
    if path.is_dir():
        raise OutputError(f"{path} is a folder", hint="Name a file in it.")
    if not path.parent.is_dir():
        raise OutputError(f"there is no folder {path.parent}", hint=f"Create it: mkdir -p {path.parent}")
    try:  # permissions do not tell of read-only file systems, so: try
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OutputError(f"cannot write into the folder {path.parent}: {error.strerror}") from error
    return path


def write_atomically(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Writes a file so that at every moment there is the whole new one under its name, or what was there before.

    Args:
        path: of the file.
        write: is given the open file.

    Raises:
        OutputError: the folder cannot be written to, or the disk is full.
    """
    path = Path(os.path.realpath(path))  # a link stays, what it points to is replaced
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        try:
            with part.open("xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:  # Ctrl-C as well
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def save_image(image: Image.Image, path: str | os.PathLike[str], *, text: Mapping[str, str]) -> Path:
    """Saves a picture in the format that the extension names, and returns its path.

    Args:
        image: RGB.
        path: ends in one of `EXTENSIONS`.
        text: facts about the picture. PNG keeps each under its name; other formats, all in the image description; BMP
            has no place for them.

    Raises:
        OutputError: it cannot be written there.
    """
    from PIL import Image, PngImagePlugin  # noqa: PLC0415 - not for a command that only names the extensions

    path = check_output(path)
    file_format, options = _FORMATS[path.suffix.lower()]
    extra: dict[str, Any] = dict(options)
    if file_format == "PNG":
        chunks = PngImagePlugin.PngInfo()
        for key, value in text.items():
            chunks.add_text(key, value)  # becomes an international chunk by itself where Latin-1 does not suffice
        extra["pnginfo"] = chunks
    elif file_format != "BMP":
        exif = Image.Exif()
        exif[_IMAGE_DESCRIPTION] = "; ".join(f"{key}: {value}" for key, value in text.items() if key != "Software")
        if "Software" in text:
            exif[_SOFTWARE] = text["Software"]
        extra["exif"] = exif.tobytes()
    write_atomically(path, lambda file: image.save(file, file_format, **extra))
    return path
