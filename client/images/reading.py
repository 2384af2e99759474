"""Reading of picture files: the reader of each format, then conversion to upright sRGB on white.

A new format is a reader in `formats/`, a line in `_read`, and its extensions in `files.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import ImageError
from . import tiff
from .colour.convert import to_srgb
from .decoded import MAX_LEVEL, DecodedImage, Levels, SizeCheck, eight_bit
from .errors import DamagedError, UnreadableError
from .formats import camera_raw, heif, jpeg2000, pillow_reader, png
from .formats.png_writer import encode_png_16_bits
from .picture import MAX_PIXELS, Picture, encode_png
from .pillow_warnings import ignore_warnings
from .reduction import SizeLimit, bands, factor_within, reduced

_UPRIGHT: Final[Mapping[int, Callable[[NDArray[Any]], NDArray[Any]]]] = {  # EXIF orientation -> upright pixels
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}
_TURNED: Final = range(5, 9)
"""Orientations that exchange width and height."""


@dataclass(frozen=True)
class ReadOptions:
    """Options of reading.

    Attributes:
        max_pixels: Most pixels of a picture.
        reduce: Whether a picture of more pixels, up to `MAX_DECLARED_PIXELS`, is reduced by a whole factor; else it is
            refused.
        keep_16_bits: Whether `Picture.encoded` has 16 bits a channel if the file has more than 8.
    """

    max_pixels: int = MAX_PIXELS
    reduce: bool = True
    keep_16_bits: bool = False

    def limit(self) -> SizeLimit:
        """Check of the size of one picture."""
        return SizeLimit(self.max_pixels, self.reduce)


_DEFAULTS: Final = ReadOptions()


def picture_from_file(data: bytes, name: str, options: ReadOptions = _DEFAULTS) -> Picture:
    """Picture in a file.

    Args:
        data: Bytes of the file.
        name: Name for messages.
        options: Limit of pixels, and what is kept.

    Raises:
        ImageError: The file is not a picture that can be read exactly.
    """
    if not data:
        raise ImageError(f"{name} is empty", hint="Give a picture.")
    with _image_errors(name):
        limit = options.limit()
        return _prepare(_read(data, limit), limit, name, keep_16_bits=options.keep_16_bits)


def picture_from_image(image: Image.Image, name: str, options: ReadOptions = _DEFAULTS) -> Picture:
    """Picture of a Pillow image, which is not changed.

    Args:
        image: Image in any mode.
        name: Name for messages.
        options: Limit of pixels, and what is kept.

    Raises:
        ImageError: The image has too many or too few pixels, or levels out of range.
    """
    with _image_errors(name):
        limit = options.limit()
        decoded = pillow_reader.decode(image, factor=limit(image.size), frames=1)
        return _prepare(decoded, limit, name, keep_16_bits=options.keep_16_bits)


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
        except Image.DecompressionBombError as error:  # the plugin for GIF checks the limit of the process
            raise ImageError(
                f"{name} has more pixels than Pillow allows in this process: {error}",
                hint="Give a smaller picture, or raise PIL.Image.MAX_IMAGE_PIXELS.",
            ) from error
        except Exception as error:  # Pillow's plugins raise many types on damaged files
            raise DamagedError(str(error)).to_image_error(name) from error


def _prepare(decoded: DecodedImage, limit: SizeLimit, name: str, *, keep_16_bits: bool) -> Picture:
    """Picture with sRGB colours, on white, upright and within the limit."""
    decoded = reduced(decoded, factor_within(decoded.size, limit.max_pixels))  # where the reader did not
    notes = list(decoded.notes)
    is_cmyk = isinstance(decoded.colour, Image.Image) and decoded.colour.mode == "CMYK"
    if is_cmyk and not isinstance(decoded.space, bytes):
        notes.append("CMYK without a colour profile: its colours are a guess")
    colour, converted = to_srgb(decoded.colour, decoded.space, notes)
    if decoded.alpha is not None and decoded.alpha.getextrema() != (255, 255):
        colour = _on_white(colour, decoded.alpha)
        notes.append("transparent parts were laid on white")
    if decoded.orientation in _UPRIGHT:
        colour = _upright(colour, decoded.orientation)
    image = eight_bit(colour).convert("RGB")
    image.info.clear()  # the old profile and transparency no longer describe these pixels
    if limit.factor > 1:
        declared = limit.declared[::-1] if decoded.orientation in _TURNED else limit.declared
        notes.append("reduced from {} x {} to {} x {} pixels".format(*declared, *image.size))
    is_changed = converted or decoded.alpha is not None or decoded.orientation in _UPRIGHT or limit.factor > 1
    # Levels are what an unchanged file of 16 bits holds.
    kept = colour if keep_16_bits or isinstance(colour, Image.Image) else image
    encoded = decoded.encoded if not is_changed and kept is colour else None
    if encoded is None:
        encoded = encode_png(image) if isinstance(kept, Image.Image) else encode_png_16_bits(kept)
    return Picture(name, image, encoded, tuple(notes))


def _on_white(colour: Image.Image | Levels, alpha: Image.Image) -> Image.Image | Levels:
    if isinstance(colour, Image.Image):
        return Image.composite(colour, Image.new("RGB", colour.size, "white"), alpha)
    laid = np.empty_like(colour)
    for top, bottom in bands(alpha.size, 1):
        opacity = np.asarray(alpha.crop((0, top, alpha.width, bottom)), np.uint32)[..., None]
        laid[top:bottom] = (colour[top:bottom] * opacity + MAX_LEVEL * (255 - opacity) + 127) // 255
    return laid


def _upright(colour: Image.Image | Levels, orientation: int) -> Image.Image | Levels:
    turned = np.ascontiguousarray(_UPRIGHT[orientation](np.asarray(colour)))
    return Image.fromarray(turned) if isinstance(colour, Image.Image) else turned
