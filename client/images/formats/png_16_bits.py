"""PNG: colours of 16 bits a channel, of which Pillow keeps 8."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from ..decoded import DecodedImage, Levels, eight_bit_channel
from ..errors import DamagedError
from ..reduction import ColourAndAlpha, bands, reduced_bands
from . import pillow_reader
from .png_rows import check_rows

_RGB, _GREY_ALPHA, _RGB_ALPHA = 2, 4, 6  # colour types


def open_png(data: bytes) -> ImageFile.ImageFile:
    """Image of a PNG file.

    Raises:
        DamagedError: It is no PNG file.
    """
    image = pillow_reader.open_image(data, "PNG")
    if image is None:
        raise DamagedError("it is not a PNG file")
    return image


def read_16_bits(data: bytes, factor: int) -> DecodedImage:
    """Colours and alpha of a file of 16 bits a channel, not grey alone, which Pillow reads.

    Args:
        data: File of the chunks that make the pixels.
        factor: Whole factor by which its sides are divided.

    Raises:
        DamagedError: Rows are missing.
        Exception: Any error of Pillow, on damaged pixels.
    """
    colour_type = data[25]
    if colour_type == _GREY_ALPHA:
        image, high_bytes = _grey_alpha_as_rgba(data), None
    else:
        high_bytes = _packed(_half(data, low=False))
        image = _half(data, low=True)
    check_rows(data, image)

    def part(top: int, bottom: int) -> ColourAndAlpha:
        low = _rows(image, top, bottom)
        levels: Levels = (
            low.view(">u2").astype(np.uint16)
            if high_bytes is None
            else np.bitwise_or(np.left_shift(high_bytes[top:bottom], 8, dtype=np.uint16), low)
        )
        return (levels, None) if colour_type == _RGB else (levels[..., :-1], eight_bit_channel(levels[..., -1]))

    parts = (part(*rows) for rows in bands(image.size, factor))
    colour, alpha = reduced_bands(parts, image.size, factor)
    return DecodedImage(colour=colour, alpha=alpha)


def _half(data: bytes, *, low: bool) -> Image.Image:
    """High or low bytes of all numbers: Pillow's raw modes `;16B` and `;16L` keep the first and the second one."""
    with open_png(data) as image:
        if low:
            image.tile = [tile._replace(args=_of_second_byte(tile.args)) for tile in image.tile]
        image.load()
        return image


def _of_second_byte(args: Any) -> Any:  # noqa: ANN401 - a raw mode, or a tuple that begins with it
    return (_of_second_byte(args[0]), *args[1:]) if isinstance(args, tuple) else args.replace(";16B", ";16L")


def _grey_alpha_as_rgba(data: bytes) -> Image.Image:
    """Greys with alpha as 8-bit RGB with alpha, which has four bytes a pixel likewise."""
    header = b"IHDR" + data[16:24] + bytes((8, _RGB_ALPHA)) + data[26:29]
    with open_png(data[:12] + header + zlib.crc32(header).to_bytes(4, "big") + data[33:]) as image:
        image.load()
        return image


def _packed(image: Image.Image) -> NDArray[np.uint8]:
    """`[height, width, channels]`: three bytes for a pixel of RGB, which has four in Pillow."""
    packed = np.empty((image.height, image.width, len(image.getbands())), np.uint8)
    for top, bottom in bands(image.size, 1):
        packed[top:bottom] = _rows(image, top, bottom)
    return packed


def _rows(image: Image.Image, top: int, bottom: int) -> NDArray[np.uint8]:
    return np.asarray(image.crop((0, top, image.width, bottom)))
