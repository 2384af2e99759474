"""Pictures as people have them, read into what the service takes: upright 8-bit sRGB without transparency.

A file that is so already is sent byte by byte, with whatever its metadata says; any other is sent as a PNG, losslessly.
"""

from __future__ import annotations

import io
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from styleserve.contract import Limits

from .colour import to_srgb
from .errors import ImageError
from .silence import silenced

MAX_PIXELS: Final = Limits().max_encoded_pixels
"""Most pixels of a picture: what the service decodes, unless its exporter chose otherwise."""

MAX_FILE_BYTES: Final = MAX_PIXELS * 8 + 2**20
"""Largest file that is read: the most pixels with four channels of 16 bits, uncompressed, and some metadata."""

MIN_SIDE_PX: Final = 2
"""A line of pixels has nothing to paint, and no differences to describe."""

# Pillow's raster formats that have a reliable magic number. Not EPS: Pillow would start Ghostscript on it.
_READ: Final = ("JPEG", "MPO", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")
# Of contract.ENCODED_FORMATS, those whose every 8-bit RGB or grey file TensorFlow decodes as Pillow does. A
# multi-picture file (MPO, from telephones) is a JPEG with others behind it.
_SENT_AS_THEY_ARE: Final = ("JPEG", "MPO", "PNG", "WEBP")

_UPRIGHT: Final = {  # EXIF orientation -> what sets the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION_TAG: Final = 0x0112


@dataclass(frozen=True, eq=False, repr=False)
class Picture:
    """A picture, ready to be sent.

    Attributes:
        name: for messages.
        image: the pixels, upright RGB.
        encoded: a file with just these pixels, in one of `contract.ENCODED_FORMATS`.
        notes: what was done to the picture and can be seen.
    """

    name: str
    image: Image.Image
    encoded: bytes
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "<Picture {}: {} x {} pixels>".format(self.name, *self.image.size)

    def _repr_png_(self) -> bytes:
        """The picture, for notebooks."""
        return _png(self.image)

    @classmethod
    def from_pixels(cls, pixels: NDArray[np.float32], *, name: str) -> Picture:
        """The picture of `[height, width, 3]` float32 RGB in [0, 1], rounded to the nearest of 256 levels."""
        image = Image.fromarray(np.rint(np.clip(pixels, 0.0, 1.0) * 255.0).astype(np.uint8))
        return cls(name, image, _png(image))

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


def picture_of_file(data: bytes, name: str) -> Picture:
    """The picture in the bytes of a file.

    Raises:
        ImageError: they are no picture that can be used.
    """
    if not data:
        raise ImageError(f"{name} is empty", hint="Give a picture.")
    with _pillows_errors(name):
        Image.init()  # so that OPEN is complete: not every build of Pillow reads every format
        with Image.open(io.BytesIO(data), formats=[plugin for plugin in _READ if plugin in Image.OPEN]) as opened:
            return _prepared(opened, name, data)


def picture_of_image(image: Image.Image, name: str) -> Picture:
    """The picture in an image of Pillow, which stays as it is.

    Raises:
        ImageError: it cannot be used.
    """
    with _pillows_errors(name):
        return _prepared(image, name)


def picture_extensions() -> frozenset[str]:
    """The extensions, in lower case and with their dot, of what is read here."""
    return frozenset(extension for extension, kind in Image.registered_extensions().items() if kind in _READ)


def read_file(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        ImageError: there is none, it cannot be read, or it is too large for a picture.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise ImageError(f"there is no file {path}", hint="Check the name and the folder.") from error
    except IsADirectoryError as error:
        raise ImageError(f"{path} is a folder", hint="Give a picture in it.") from error
    except PermissionError as error:
        raise ImageError(f"{path} cannot be read: permission denied", hint="Check its permissions.") from error
    except (OSError, ValueError) as error:
        raise ImageError(f"{path} cannot be read: {error}") from error
    if len(data) > MAX_FILE_BYTES:
        raise ImageError(f"{path} has more than the {MAX_FILE_BYTES:,} bytes allowed", hint="Give a smaller picture.")
    return data


def _too_large(name: str, pixels: str) -> ImageError:
    return ImageError(f"{name} has {pixels} pixels; {MAX_PIXELS:,} are allowed", hint="Give a smaller picture.")


@contextmanager
def _pillows_errors(name: str) -> Generator[None]:
    with silenced():  # Pillow warns of damaged metadata, and of sizes that are refused below
        try:
            yield
        except ImageError:
            raise
        except UnidentifiedImageError as error:
            raise ImageError(
                f"{name} is not a picture that is read here",
                hint=f"Give a {', '.join(_READ[:-1])} or {_READ[-1]} file.",
            ) from error
        except Image.DecompressionBombError as error:
            raise _too_large(name, "far more") from error
        except Exception as error:  # Pillow's plugins raise nearly anything on damaged files
            raise ImageError(f"{name} is damaged or cut short: {error}", hint="Save or fetch it again.") from error


def _prepared(opened: Image.Image, name: str, file: bytes | None = None) -> Picture:
    """The picture in an image, whose `file` is sent if that holds just its pixels."""
    width, height = opened.size
    if width * height > MAX_PIXELS:
        raise _too_large(name, f"{width} x {height} = {width * height:,}")
    if min(width, height) < MIN_SIDE_PX:
        raise ImageError(
            f"{name} is {width} x {height} pixels; at least {MIN_SIDE_PX} x {MIN_SIDE_PX} are needed",
            hint="Give a larger picture.",
        )
    frames = 1 if file is None or opened.format == "MPO" else getattr(opened, "n_frames", 1)
    opened.load()
    notes = [f"only the first of {frames} frames is used"] if frames > 1 else []
    orientation = _orientation(opened)  # after loading: Pillow turns TIFF files by itself
    colour, alpha = _eight_bit(opened, name)
    if colour.mode == "CMYK" and "icc_profile" not in opened.info:
        notes.append("CMYK without a colour profile: its colours are a guess")
    rgb, converted = to_srgb(colour, opened.info.get("icc_profile"), notes)
    if alpha is not None and alpha.getextrema() != (255, 255):
        rgb = Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha)
        notes.append("transparent parts were laid on white")
    if orientation in _UPRIGHT:
        rgb = rgb.transpose(_UPRIGHT[orientation])
    unchanged = opened.mode in ("L", "RGB") and alpha is None and not converted and orientation not in _UPRIGHT
    fit = unchanged and frames == 1 and opened.format in _SENT_AS_THEY_ARE
    rgb.info.clear()  # the old profile and transparency no longer describe these pixels
    encoded = file if file is not None and fit and _is_whole_8_bit_file(file) else _png(rgb)
    return Picture(name, rgb, encoded, tuple(notes))


def _orientation(image: Image.Image) -> int:
    """What EXIF says of how the picture was held; 1, upright, where there is none, or none that can be read."""
    try:
        return image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # Pillow raises many types; the pixels are none the worse for damaged notes beside them
        return 1


def _is_whole_8_bit_file(data: bytes) -> bool:
    """Whether a JPEG or PNG file ends where it should (decoders differ in what they forgive), with 8 bits a channel."""
    if data.startswith(b"\x89PNG"):
        return data[24] == 8 and data.endswith(b"IEND\xaeB`\x82")
    return data.startswith(b"RIFF") or data.endswith(b"\xff\xd9")


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=3)  # a third of the time of 6, for a few percent of size
    return file.getvalue()


def _eight_bit(image: Image.Image, name: str) -> tuple[Image.Image, Image.Image | None]:
    """Colours of 8 bits in the mode L, RGB or CMYK, and the alpha channel if there is one."""
    if image.mode.startswith("I") or image.mode == "F":
        levels, clear = np.asarray(image), image.info.get("transparency")
        # Pillow makes alpha channels of transparent colours, but not in these modes.
        alpha = Image.fromarray(np.where(levels == clear, 0, 255).astype(np.uint8)) if isinstance(clear, int) else None
        return _grey_levels(levels, name), alpha
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return image.convert("L") if image.mode == "LA" else rgba.convert("RGB"), rgba.getchannel("A")
    if image.mode in ("L", "RGB", "CMYK"):
        return image.copy(), None
    return image.convert("L" if image.mode == "1" else "RGB"), None


def _grey_levels(levels: NDArray[Any], name: str) -> Image.Image:
    """Greys of 16 bits, or of floats in [0, 1], as 8 bits, where Pillow's own conversion would clip at 255."""
    top = 1.0 if levels.dtype.kind == "f" else 65535.0
    low, high = levels.min(), levels.max()
    if not 0 <= low <= high <= top:  # NaN included
        raise ImageError(
            f"{name} has pixel values from {low:g} to {high:g}; 0 to {top:g} is understood",
            hint="Save it with 8 or 16 bits a channel.",
        )
    return Image.fromarray(np.rint(levels * (255.0 / top)).astype(np.uint8))
