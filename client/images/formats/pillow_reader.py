"""Pictures by Pillow: JPEG, GIF, BMP, WebP and PPM, and the decoding that other readers share."""

from __future__ import annotations

import io
import math
from typing import Final

import numpy as np
from PIL import Image, ImageFile

from .. import exif
from ..decoded import DecodedImage, Levels, SizeCheck, eight_bit, sixteen_bit_levels
from ..errors import UnreadableError
from ..reduction import bands, reduced_bands
from . import bmp, gif, jpeg, webp

# Raster formats with a reliable magic number. Not EPS: Pillow would start Ghostscript on it.
FORMATS: Final = ("JPEG", "MPO", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")


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
            return factory(_ShortFirstRead(data), "")
    return None


class _ShortFirstRead(io.BytesIO):
    """File whose first read returns 16 bytes, as the reads of a raw file may.

    The plugin for WebP compares the size in the first 30 bytes with `Image.MAX_IMAGE_PIXELS`, and not if it got fewer.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(16 if self.tell() == 0 and size == 30 else size)


def read(data: bytes, check: SizeCheck) -> DecodedImage:
    """Picture in a JPEG, GIF, BMP, WebP or PPM file.

    Raises:
        UnreadableError: The file has another format, or cannot be read exactly.
        Exception: Any error of Pillow, on a damaged file.
    """
    if data.startswith(jpeg.SIGNATURE):
        jpeg.check(data)
    if (size := webp.size(data)) is not None:
        check(size)
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
        factor = check(image.size)
        if image.format in ("JPEG", "MPO"):
            unchanged = jpeg.can_be_sent_unchanged(data, several=image.format == "MPO")
            factor = _left_after_scaling(image, factor) if jpeg.can_be_scaled(data) else factor
        else:
            unchanged = image.format == "WEBP" and webp.can_be_sent_unchanged(data)
        picture = decode(image, factor=factor, encoded=data if unchanged else None)
        if image.format in ("BMP", "GIF"):
            picture.space = bmp.colour_space(data) if image.format == "BMP" else gif.icc_profile(data)
            if isinstance(picture.space, bytes) and image.mode in ("1", "L"):  # grey is only the palette
                picture.colour = eight_bit(picture.colour).convert("RGB")
        return picture


def _left_after_scaling(image: ImageFile.ImageFile, factor: int) -> int:
    """Factor that is left after a JPEG is scaled while it is decoded, by 1/2, 1/4 or 1/8 of its cosine transform."""
    scale = math.gcd(factor, 8)
    width, height = image.size
    image.draft(None, (width // scale, height // scale))
    return factor // scale


def decode(
    image: Image.Image, *, factor: int = 1, frames: int | None = None, encoded: bytes | None = None
) -> DecodedImage:
    """First frame of an image, with the colour space and orientation that Pillow finds.

    Args:
        image: Opened file, or image in memory; is not changed.
        factor: Whole factor by which its sides are divided.
        frames: Number of frames; if None, Pillow counts them.
        encoded: File that the service decodes to the same pixels if they are 8-bit grey or RGB in one frame.
    """
    if frames is None:
        frames = int(getattr(image, "n_frames", 1)) if image.format != "MPO" else 1
    image.load()
    facts = exif.from_image(image)  # after loading, when Pillow has turned a TIFF
    colour, alpha = _colour_and_alpha(image) if factor == 1 else _reduced(image, factor)
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


def _reduced(image: Image.Image, factor: int) -> tuple[Image.Image | Levels, Image.Image | None]:
    parts = (_colour_and_alpha(image.crop((0, top, image.width, bottom))) for top, bottom in bands(image.size, factor))
    return reduced_bands(parts, image.size, factor)


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
