"""Reading of picture files: the reader of each format, then conversion to upright sRGB on white.

A new format is a reader in `formats/`, a line in `_read`, and its extensions in `files.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

from PIL import Image

from ..errors import ImageError
from . import tiff
from .colour.convert import to_srgb
from .decoded import DecodedImage, SizeCheck
from .errors import DamagedError, UnreadableError, check_size
from .formats import camera_raw, heif, jpeg2000, pillow_reader, png
from .picture import MAX_PIXELS, Picture, encode_png
from .pillow_warnings import ignore_warnings

_UPRIGHT: Final = {  # EXIF orientation -> transposition that sets the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def picture_from_file(data: bytes, name: str, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Picture in a file.

    Args:
        data: Bytes of the file.
        name: Name for messages.
        max_pixels: Most pixels that its header may declare.

    Raises:
        ImageError: The file is not a picture that can be read exactly.
    """
    if not data:
        raise ImageError(f"{name} is empty", hint="Give a picture.")
    with _image_errors(name):
        return _prepare(_read(data, lambda size: check_size(size, max_pixels)), name)


def picture_from_image(image: Image.Image, name: str, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Picture of a Pillow image, which is not changed.

    Args:
        image: Image in any mode.
        name: Name for messages.
        max_pixels: Most pixels that it may have.

    Raises:
        ImageError: The image has too many or too few pixels, or levels out of range.
    """
    with _image_errors(name):
        check_size(image.size, max_pixels)
        return _prepare(pillow_reader.decode(image, frames=1), name)


def _read(data: bytes, check: SizeCheck) -> DecodedImage:
    """Image as its file holds it, from the reader of its format."""
    if (raw := camera_raw.kind_by_magic(data)) is not None:
        raise camera_raw.refusal(raw)
    readers: tuple[tuple[bool, Callable[[bytes, SizeCheck], DecodedImage]], ...] = (
        (data.startswith(png.SIGNATURE), png.read),
        (tiff.is_tiff(data), tiff.read),
        (jpeg2000.is_jpeg2000(data), jpeg2000.read),
        (heif.is_heif(data), heif.read),
        (True, pillow_reader.read),
    )
    return next(read for is_format, read in readers if is_format)(data, check)


@contextmanager
def _image_errors(name: str) -> Generator[None]:
    with ignore_warnings():
        try:
            yield
        except UnreadableError as error:
            raise error.to_image_error(name) from error
        except Image.DecompressionBombError as error:  # the plugins for WebP and TIFF check the limit of the process
            raise ImageError(
                f"{name} has more pixels than Pillow allows in this process: {error}",
                hint="Give a smaller picture, or raise PIL.Image.MAX_IMAGE_PIXELS.",
            ) from error
        except Exception as error:  # Pillow's plugins raise many types on damaged files
            raise DamagedError(str(error)).to_image_error(name) from error


def _prepare(decoded: DecodedImage, name: str) -> Picture:
    """Picture with sRGB colours, on white and upright."""
    notes = list(decoded.notes)
    is_cmyk = isinstance(decoded.colour, Image.Image) and decoded.colour.mode == "CMYK"
    if is_cmyk and not isinstance(decoded.space, bytes):
        notes.append("CMYK without a colour profile: its colours are a guess")
    rgb, converted = to_srgb(decoded.colour, decoded.space, notes)
    if decoded.alpha is not None and decoded.alpha.getextrema() != (255, 255):
        rgb = Image.composite(rgb, Image.new("RGB", rgb.size, "white"), decoded.alpha)
        notes.append("transparent parts were laid on white")
    if decoded.orientation in _UPRIGHT:
        rgb = rgb.transpose(_UPRIGHT[decoded.orientation])
    rgb.info.clear()  # the old profile and transparency no longer describe these pixels
    changed = converted or decoded.alpha is not None or decoded.orientation in _UPRIGHT
    encoded = encode_png(rgb) if changed or decoded.encoded is None else decoded.encoded
    return Picture(name, rgb, encoded, tuple(notes))
