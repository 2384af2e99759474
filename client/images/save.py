"""Results as files, written atomically, with the facts of the run in their metadata."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
import tempfile
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from styleserve.atomic_write import atomic_write

from ..errors import OutputError

if TYPE_CHECKING:
    from PIL import Image

_FORMATS: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": "4:4:4"}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": "4:4:4"}),
    ".webp": ("WEBP", {"lossless": True}),
    ".avif": ("AVIF", {"quality": 95, "subsampling": "4:4:4"}),
    ".bmp": ("BMP", {"dpi": (0, 0)}),  # open; Pillow would write 96
    ".tif": ("TIFF", {"compression": "tiff_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_deflate"}),
}
EXTENSIONS: Final = tuple(_FORMATS)
"""Extensions of the files that a result can be saved as."""
SIXTEEN_BIT_EXTENSIONS: Final = (".png", ".tif", ".tiff")
"""Extensions of the files that hold 16 bits a channel."""

_CODECS: Final = {".webp": "webp", ".avif": "avif"}
"""Names of the modules of Pillow that a build may lack, by extension."""


def check_output(
    path: str | os.PathLike[str], *, extensions: Sequence[str] | None = EXTENSIONS, needed_bytes: int = 0
) -> Path:
    """Path of a file that can be written; checked before minutes of work.

    Args:
        path: Path of the file.
        extensions: Extensions that it may have; None allows all names.
        needed_bytes: Expected size of the file.

    Raises:
        OutputError: The extension is unknown, the name is too long or that of a folder or device, the folder is missing
            or not writable, or the disk has too little room.
    """
    path = Path(path)
    if extensions is not None and path.suffix.lower() not in extensions:
        came = f"has the extension {path.suffix!r}" if path.suffix else "has no extension"
        raise OutputError(f"{path} {came}", hint=f"Name it with one of: {', '.join(extensions)}.")
    if extensions is not None:
        _check_codec(path)
    _check_name(path)
    folder = Path(os.path.realpath(path)).parent if path.is_symlink() else path.parent  # a link stays a link
    if not folder.is_dir():
        raise OutputError(f"there is no folder {folder}", hint=f"Create it: mkdir -p {folder}")
    try:  # permissions do not show read-only file systems
        with tempfile.TemporaryFile(dir=folder):
            pass
        free_bytes = shutil.disk_usage(folder).free
    except OSError as error:
        raise OutputError(f"cannot write into the folder {folder}: {error.strerror}") from error
    if free_bytes < needed_bytes:
        raise OutputError(
            f"{path} may take {needed_bytes:,} bytes, and its disk has {free_bytes:,} left",
            hint="Free some space, or name a file on another disk.",
        )
    return path


def largest_picture_bytes(pixels: int, *, channel_bytes: int = 1) -> int:
    """Most bytes of a saved picture: RGB that does not compress, and metadata.

    >>> largest_picture_bytes(512 * 512)
    851968
    """
    return 3 * channel_bytes * pixels + 65_536


def _check_codec(path: Path) -> None:
    codec = _CODECS.get(path.suffix.lower())
    if codec is None:
        return
    from PIL import features  # noqa: PLC0415 - slow

    if not features.check_module(codec):
        raise OutputError(f"this build of Pillow cannot write {path.suffix}", hint="Name a .png file.")


def _check_name(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:  # ValueError: a null byte
        reason = error.strerror if isinstance(error, OSError) else error
        raise OutputError(f"cannot write {path}: {reason}", hint="Name another file.") from error
    if stat.S_ISDIR(mode):
        raise OutputError(f"{path} is a folder", hint="Name a file in it.")
    if not stat.S_ISREG(mode):  # a device or a pipe would be replaced by a file
        raise OutputError(f"{path} is not a regular file", hint="Name another file.")


def is_same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, by links or by other spellings; it need not exist.

    >>> is_same_file(Path("a/../out.png"), Path("out.png"))
    True
    """
    try:
        return one.samefile(other)
    except OSError:
        return case_folded(os.path.realpath(one)) == case_folded(os.path.realpath(other))


def case_folded(file: str | os.PathLike[str]) -> str:
    """Name of a file, equal for all spellings that are one name on macOS or Windows.

    >>> case_folded("Lake.png") == case_folded("lake.PNG")
    True
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", os.fspath(file)).casefold())


def write_atomically(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Writes a file with `atomic_write`; a symbolic link is followed.

    Args:
        path: Path of the file.
        write: Writes into the open file.

    Raises:
        OutputError: The folder cannot be written to, or the disk is full.
    """
    path = Path(os.path.realpath(path))  # a link stays; the file that it leads to is replaced
    try:
        with atomic_write(path) as file:
            write(file)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def save_or_fall_back(save: Callable[[Path], Path], path: Path) -> Path:
    """Path of the file that `save` wrote; if that fails, saves the file in another folder and raises the error.

    Args:
        save: Writes a file to a path and returns it.
        path: Path of the file.

    Raises:
        OutputError: The file cannot be written there; the hint names the file that was saved instead.
    """
    try:
        return save(path)
    except OutputError as error:
        name = f"styleserve-{secrets.token_hex(4)}{path.suffix}"
        for folder in _fallback_folders():
            try:
                saved = save(folder / name)
            except OutputError:
                continue
            raise OutputError(error.message, hint=f"Saved as {saved} instead.") from error
        raise


def _fallback_folders() -> Iterator[Path]:
    yield Path()
    yield Path(os.path.expanduser("~"))  # noqa: PTH111 - Path.home() raises where there is no home
    with contextlib.suppress(OSError):  # no folder for temporary files
        yield Path(tempfile.gettempdir())


def save_image(
    image: Image.Image, path: str | os.PathLike[str], *, text: Mapping[str, str], dpi: int | None = None
) -> Path:
    """Saves a picture in the format of the extension, in sRGB, and returns its path.

    Args:
        image: RGB image.
        path: Path that ends in one of `EXTENSIONS`.
        text: Facts about the picture, by their names. PNG has a text chunk for each; other formats have one image
            description for all. BMP has a place neither for them nor for a colour profile.
        dpi: Resolution in pixels per inch; None leaves it open. WebP and AVIF have it in EXIF.

    Raises:
        OutputError: The file cannot be written.
    """
    from .colour.icc import srgb_profile  # noqa: PLC0415 - slow, and commands import this module for the extensions
    from .metadata import exif, png_text  # noqa: PLC0415

    path = check_output(path)
    file_format, options = _FORMATS[path.suffix.lower()]
    extra: dict[str, Any] = dict(options)
    if file_format != "BMP":
        extra["icc_profile"] = srgb_profile()
        extra |= {"pnginfo": png_text(text)} if file_format == "PNG" else {"exif": exif(text, dpi)}
    if dpi is not None:
        extra["dpi"] = (dpi, dpi)
    write_atomically(path, lambda file: image.save(file, file_format, **extra))
    return path
