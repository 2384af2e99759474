"""Pictures by Pillow: JPEG, GIF, BMP, WebP and PPM, and the decoding that other readers share."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from .. import exif
from ..decoded import DecodedImage, Levels, SizeCheck, eight_bit, sixteen_bit_levels
from ..errors import UnreadableError
from . import bmp, gif, jpeg, webp

# Raster formats with a reliable magic number. Not EPS: Pillow would start Ghostscript on it.
FORMATS: Final = ("JPEG", "MPO", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")

_BAND_PIXELS: Final = 2**20

_OTHER_HALF: Final = {
    ";16L": ";16B",
    ";16B": ";16L",
    ";16N": ";16B" if sys.byteorder == "little" else ";16L",
}


def open_image(data: bytes, *formats: str) -> ImageFile.ImageFile | None:
    """Image of a file, opened by the first of Pillow's plugins that accepts it; None if none does.

    `Image.open` would refuse more pixels than `Image.MAX_IMAGE_PIXELS`, a limit of the whole process; here, the caller
    checks the size.

    Raises:
        Exception: Any error of a plugin, on a damaged file.
    """
    Image.init()
    for name in formats:
        if name not in Image.OPEN:  # a build of Pillow may lack a format
            continue
        factory, accept = Image.OPEN[name]
        if accept is None or accept(data[:16]) is True:
            return factory(io.BytesIO(data), "")
    return None


def read(data: bytes, check: SizeCheck) -> DecodedImage:
    """Picture in a JPEG, GIF, BMP, WebP or PPM file.

    Raises:
        UnreadableError: The file has another format, or cannot be read exactly.
        Exception: Any error of Pillow, on a damaged file.
    """
    if data.startswith(jpeg.SIGNATURE):
        jpeg.check(data)
    try:
        image = open_image(data, "JPEG", "GIF", "BMP", "WEBP", "PPM")
    except OSError as error:
        if not str(error).startswith("Unsupported BMP"):
            raise
        raise UnreadableError(
            f"is a BMP of a kind that is not supported: {error}", hint="Save it with 24 bits, uncompressed."
        ) from error
    if image is None:
        raise UnreadableError(
            "is not a picture in a supported format", hint=f"Give a {', '.join((*FORMATS[:-1], 'HEIC'))} or AVIF file."
        )
    with image:
        check(image.size)
        if image.format in ("JPEG", "MPO"):
            unchanged = jpeg.can_be_sent_unchanged(data, several=image.format == "MPO")
        else:
            unchanged = image.format == "WEBP" and webp.can_be_sent_unchanged(data)
        picture = decode(image, encoded=data if unchanged else None)
        if image.format in ("BMP", "GIF"):
            picture.space = bmp.colour_space(data) if image.format == "BMP" else gif.icc_profile(data)
            if isinstance(picture.space, bytes) and image.mode in ("1", "L"):  # grey is only the palette
                picture.colour = eight_bit(picture.colour).convert("RGB")
        return picture


def decode(image: Image.Image, *, frames: int | None = None, encoded: bytes | None = None) -> DecodedImage:
    """First frame of an image, with the colour space and orientation that Pillow finds.

    Args:
        image: Opened file, or image in memory; is not changed.
        frames: Number of frames; if None, Pillow counts them.
        encoded: File that the service decodes to the same pixels if they are 8-bit grey or RGB in one frame.
    """
    if frames is None:
        frames = int(getattr(image, "n_frames", 1)) if image.format != "MPO" else 1
    image.load()
    facts = exif.from_image(image)  # after loading, when Pillow has turned a TIFF
    colour, alpha = _colour_and_alpha(image)
    plain = image.mode in ("L", "RGB") and alpha is None and frames == 1
    notes = [f"only the first of {frames} frames is used"] if frames > 1 else []
    if image.info.get("icc_profile", b"") is None:  # a JPEG lacks some of the segments of its profile
        notes.append("its colour profile is damaged and was not used")
    return DecodedImage(
        colour=colour,
        alpha=alpha,
        space=image.info.get("icc_profile") or exif.colour_space(facts),
        orientation=exif.orientation(facts),
        notes=tuple(notes),
        encoded=encoded if plain else None,
    )


def decode_16_bits(open_again: Callable[[], ImageFile.ImageFile]) -> NDArray[np.uint16]:
    """`[height, width, channels]` uint16 of a file with 16 bits a channel, of which Pillow keeps 8.

    Its raw modes `;16B` and `;16L` keep the first and the second byte of each number, so two decodings give both.
    """
    levels = _bytes_of_samples(open_again(), other_half=False)
    np.left_shift(levels, 8, out=levels)
    return _bytes_of_samples(open_again(), other_half=True, added_to=levels)


def _bytes_of_samples(
    image: ImageFile.ImageFile, *, other_half: bool, added_to: NDArray[np.uint16] | None = None
) -> NDArray[np.uint16]:
    """`[height, width, channels]` uint16 of the bytes that Pillow keeps; copied in bands, as prints are large."""
    with image:
        if other_half:
            image.tile = [tile._replace(args=_with_other_half(tile.args)) for tile in image.tile]
        image.load()
        width, height = image.size
        levels = np.zeros((height, width, len(image.getbands())), np.uint16) if added_to is None else added_to
        rows = max(1, _BAND_PIXELS // width)
        for top in range(0, height, rows):
            band = image.crop((0, top, width, min(top + rows, height)))
            levels[top : top + rows] |= np.asarray(band)
        return levels


def _with_other_half(args: Any) -> Any:  # noqa: ANN401 - a raw mode, or a tuple that begins with it
    if isinstance(args, tuple):
        return (_with_other_half(args[0]), *args[1:])
    return args[:-4] + _OTHER_HALF[args[-4:]]


def _colour_and_alpha(image: Image.Image) -> tuple[Image.Image | Levels, Image.Image | None]:
    if image.mode.startswith("I") or image.mode == "F":
        return sixteen_bit_levels(np.asarray(image))[..., None], None  # Pillow's conversion would clip at 255
    if image.mode == "La":
        image = image.convert("LA")  # Pillow cannot convert La to RGBA
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return image.convert("L") if image.mode == "LA" else rgba.convert("RGB"), rgba.getchannel("A")
    if image.mode in ("L", "RGB", "CMYK"):
        return image.copy(), None
    return image.convert("L" if image.mode == "1" else "RGB"), None
