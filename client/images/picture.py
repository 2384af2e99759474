"""A picture that is ready to be sent: upright 8-bit sRGB without transparency.

A file that is so already is sent byte by byte; any other is sent as a PNG, losslessly.
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
from .decoded import Decoded, SizeCheck
from .errors import Unreadable, check_size
from .formats import camera_raw, heif, jpeg2000, pillow_reader, png
from .pillow_warnings import silenced

MAX_PIXELS: Final = Limits().max_encoded_pixels
"""Most pixels of a picture, unless the limit of a model is known: what the service decodes by default."""

_UPRIGHT: Final = {  # EXIF orientation -> what sets the picture upright
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
    """A picture, ready to be sent.

    Attributes:
        name: for messages.
        image: the pixels, upright RGB.
        encoded: a file with just these pixels, in one of `contract.ENCODED_FORMATS`.
        notes: what was done to the picture and can be seen.
        path: Path of its file; None where it came from memory.
        file_sha256: SHA-256 of its file, in hexadecimal digits; empty where it came from pixels.
    """

    name: str
    image: Image.Image
    encoded: bytes
    notes: tuple[str, ...] = ()
    path: Path | None = None
    file_sha256: str = ""

    @property
    def sha256(self) -> str:
        """SHA-256 of the picture's file, or else of the file that is sent, in hexadecimal digits."""
        return self.file_sha256 or hashlib.sha256(self.encoded).hexdigest()

    def __repr__(self) -> str:
        return "<Picture {}: {} x {} pixels>".format(self.name, *self.image.size)

    def _repr_png_(self) -> bytes:
        """The picture, for notebooks."""
        return png_of_image(self.image)

    @classmethod
    def from_pixels(cls, pixels: NDArray[np.float32], *, name: str) -> Picture:
        """The picture of `[height, width, 3]` float32 RGB in [0, 1], rounded to the nearest of 256 levels."""
        image = Image.fromarray(np.rint(np.clip(pixels, 0.0, 1.0) * 255.0).astype(np.uint8))
        return cls(name, image, png_of_image(image))

    def size_within(self, max_side: int) -> tuple[int, int]:
        """Width and height after resizing so that the longest side is `max_side`, as the service rounds them."""
        scale = max_side / max(self.image.size)
        width, height = (max(1, round(side * scale)) for side in self.image.size)
        return width, height

    def pixels(self, size: tuple[int, int]) -> NDArray[np.float32]:
        """`[1, height, width, 3]` float32 RGB in [0, 1], resized with antialiasing.

        Args:
            size: width and height.

        Raises:
            ImageError: they are more pixels than a picture may have.
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


def picture_of_file(data: bytes, name: str, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """The picture in the bytes of a file.

    Args:
        data: file in one of the formats that are read.
        name: for messages.
        max_pixels: most pixels that its header may declare.

    Raises:
        ImageError: it is no picture that can be used.
    """
    if not data:
        raise ImageError(f"{name} is empty", hint="Give a picture.")
    with _image_errors(name):
        return _prepared(_read(data, lambda size: check_size(size, max_pixels)), name)


def picture_of_image(image: Image.Image, name: str, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """The picture in an image of Pillow, which is not changed.

    Args:
        image: image in any mode.
        name: for messages.
        max_pixels: most pixels that it may have.

    Raises:
        ImageError: it cannot be used.
    """
    with _image_errors(name):
        check_size(image.size, max_pixels)
        return _prepared(pillow_reader.decoded(image, frames=1), name)


def _read(data: bytes, check: SizeCheck) -> Decoded:
    """The picture as its file holds it, by the reader of its format."""
    if (raw := camera_raw.kind_by_magic(data)) is not None:
        raise camera_raw.refusal(raw)
    readers: tuple[tuple[bool, Callable[[bytes, SizeCheck], Decoded]], ...] = (
        (data.startswith(png.SIGNATURE), png.read),
        (tiff.is_tiff(data), tiff.read),
        (jpeg2000.is_read(data), jpeg2000.read),
        (heif.is_read(data), heif.read),
        (True, pillow_reader.read),
    )
    return next(read for is_format, read in readers if is_format)(data, check)


@contextmanager
def _image_errors(name: str) -> Generator[None]:
    with silenced():  # Pillow warns of damaged metadata
        try:
            yield
        except Unreadable as error:
            raise error.of(name) from error
        except Image.DecompressionBombError as error:  # for WebP and TIFF, plugins hold to the limit of the process
            raise ImageError(
                f"{name} has more pixels than Pillow allows in this process: {error}",
                hint="Give a smaller picture, or raise PIL.Image.MAX_IMAGE_PIXELS.",
            ) from error
        except Exception as error:  # Pillow's plugins raise nearly anything on damaged files
            raise ImageError(f"{name} is damaged or cut short: {error}", hint="Save or fetch it again.") from error


def _prepared(decoded: Decoded, name: str) -> Picture:
    """The picture in the form that is sent: converted, laid on white and set upright."""
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
    encoded = png_of_image(rgb) if changed or decoded.sendable is None else decoded.sendable
    return Picture(name, rgb, encoded, tuple(notes))


def png_of_image(image: Image.Image) -> bytes:
    """The image as a PNG file."""
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=3)  # a third of the time of 6, for a few percent of size
    return file.getvalue()
