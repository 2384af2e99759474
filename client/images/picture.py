"""Pictures as requests hold them: upright 8-bit sRGB without transparency.

A file that is one already is sent unchanged; any other is sent as a PNG.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from styleserve.contract import Limits

from ..errors import ImageError
from . import tiff
from .colour.convert import to_srgb
from .decoded import DecodedImage, SizeCheck
from .errors import DamagedError, UnreadableError, check_size
from .formats import camera_raw, heif, jpeg2000, pillow_reader, png
from .pillow_warnings import ignore_warnings

MAX_PIXELS: Final = Limits().max_encoded_pixels
"""Default limit of pixels, that of a model with the usual limits."""

_UPRIGHT: Final = {  # EXIF orientation -> transposition that sets the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, eq=False, repr=False)
class Picture:
    """Picture of a request.

    Attributes:
        name: Name for messages.
        image: Pixels, upright RGB.
        encoded: File with exactly these pixels, in one of `contract.ENCODED_FORMATS`.
        notes: Visible changes to the picture on loading.
        path: Path of its file; None if it came from memory.
        file_sha256: SHA-256 of its file, in hexadecimal digits; empty if it came from pixels.
    """

    name: str
    image: Image.Image
    encoded: bytes
    notes: tuple[str, ...] = ()
    path: Path | None = None
    file_sha256: str = ""

    @property
    def sha256(self) -> str:
        """SHA-256 of its file, or else of `encoded`, in hexadecimal digits."""
        return self.file_sha256 or hashlib.sha256(self.encoded).hexdigest()

    def __repr__(self) -> str:
        return "<Picture {}: {} x {} pixels>".format(self.name, *self.image.size)

    def _repr_png_(self) -> bytes:
        """PNG file, for notebooks."""
        return encode_png(self.image)

    @classmethod
    def from_pixels(cls, pixels: NDArray[np.float32], *, name: str) -> Picture:
        """Picture of `[height, width, 3]` float32 RGB in [0, 1], rounded to the nearest of 256 levels."""
        image = Image.fromarray(np.rint(np.clip(pixels, 0.0, 1.0) * 255.0).astype(np.uint8))
        return cls(name, image, encode_png(image))

    def size_within(self, max_side: int) -> tuple[int, int]:
        """Width and height with `max_side` as the longest side, rounded as the service rounds them."""
        scale = max_side / max(self.image.size)
        width, height = (max(1, round(side * scale)) for side in self.image.size)
        return width, height

    def pixels(self, size: tuple[int, int]) -> NDArray[np.float32]:
        """`[1, height, width, 3]` float32 RGB in [0, 1], resized with antialiasing.

        Args:
            size: Width and height.

        Raises:
            ImageError: They are more than `MAX_PIXELS`.
        """
        width, height = size
        if width * height > MAX_PIXELS:
            raise ImageError(
                f"{self.name} would be {width} x {height} = {width * height:,} pixels; {MAX_PIXELS:,} are allowed",
                hint="Ask for a smaller size (--max-side).",
            )
        # Pillow widens the triangle filter when it shrinks, which is `tf.image.resize(antialias=True)`.
        resized = self.image.resize(size, Image.Resampling.BILINEAR)
        return (np.asarray(resized, dtype=np.float32) / 255.0)[None]


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


def encode_png(image: Image.Image) -> bytes:
    """PNG file of an image."""
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=3)  # a third of the time of 6, for a few percent of size
    return file.getvalue()
