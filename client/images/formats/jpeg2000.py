"""JPEG 2000: Pillow reads 8 bits; imagecodecs, of the extra `formats`, reads other depths.

Boxes: ISO/IEC 15444-1, annex I; marker SIZ: A.5.1.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..colour.colour_space import ROMM_RGB, ColourSpace, space_from_code_points
from ..decoded import (
    MAX_LEVEL,
    DecodedImage,
    SizeCheck,
    eight_bit_channel,
    map_bands,
    scaled_to_16_bits,
    straight_colours,
    within_bits,
)
from ..errors import DamagedError, UnreadableError
from . import pillow_reader
from .boxes import box, boxes

_CODESTREAM: Final = b"\xff\x4f\xff\x51"
_SIGNATURE: Final = b"\x00\x00\x00\x0cjP  \r\n\x87\n"

_SRGB, _GREY, _SYCC, _CMYK, _ROMM = 16, 17, 18, 12, 21  # enumerated colour spaces
_SPACES: Final = {_SRGB: None, _GREY: None, _SYCC: None, _CMYK: None, _ROMM: ROMM_RGB}
_COLOUR, _OPACITY, _PREMULTIPLIED_OPACITY = 0, 1, 2  # types of channels

_UNKNOWN_METHOD: Final = 0xFF


@dataclass
class _Header:
    """Declarations in the boxes and the codestream of a file.

    Attributes:
        size: Width and height.
        depths: Bits of each channel and whether it is signed, after the palette.
        enumerated: Number of an enumerated colour space; None for other declarations.
        space: Colour space to convert from.
        channels: Type and associated colour of each channel, if declared.
        subsampled: Whether a component has fewer samples than the picture has pixels.
        has_palette: Whether the samples are indices.
    """

    size: tuple[int, int]
    depths: list[tuple[int, bool]]
    enumerated: int | None = None
    space: ColourSpace | bytes | None = None
    channels: Sequence[tuple[int, int]] = ()
    subsampled: bool = False
    has_palette: bool = False


def is_jpeg2000(data: bytes) -> bool:
    """Whether a file is JPEG 2000."""
    return data.startswith((_CODESTREAM, _SIGNATURE))


def read(data: bytes, check: SizeCheck) -> DecodedImage:
    """Picture in a JPEG 2000 file.

    Raises:
        UnreadableError: It cannot be read exactly, or only with the extra.
        Exception: Any error of a decoder, on a damaged file.
    """
    header = _header(data)
    check(header.size)
    if _pillow_is_exact(header):
        image = pillow_reader.open_image(data, "JPEG2000")
        if image is not None:
            with image:
                picture = pillow_reader.decode(image, factor=check(image.size))
                picture.space = header.space or picture.space
                return picture
    return _decoded(data, header)


def _header(data: bytes) -> _Header:
    codestream = 0 if data.startswith(_CODESTREAM) else (box(data, b"jp2c") or (len(data), 0))[0]
    if data[codestream : codestream + 4] != _CODESTREAM:
        raise DamagedError("it has no codestream")
    x1, y1, x0, y0 = struct.unpack_from(">4I", data, codestream + 8)
    (count,) = struct.unpack_from(">H", data, codestream + 40)
    components = list(struct.iter_unpack("3B", data[codestream + 42 : codestream + 42 + 3 * count]))
    header = _Header(
        size=(max(0, x1 - x0), max(0, y1 - y0)),
        depths=[_depth(depth) for depth, _, _ in components],
        subsampled=any((dx, dy) != (1, 1) for _, dx, dy in components),
    )
    if codestream:
        _add_boxes(header, data)
    return header


def _add_boxes(header: _Header, data: bytes) -> None:
    coloured = False
    for kind, start, end in boxes(data, *(box(data, b"jp2h") or (0, 0))):
        if kind == b"colr" and not coloured:
            coloured = _add_colour(header, data[start:end])
        elif kind == b"pclr":
            columns = data[start + 2]
            header.depths = [_depth(depth) for depth in data[start + 3 : start + 3 + columns]]
            header.has_palette = True
        elif kind == b"cdef":
            rows = sorted(struct.iter_unpack(">3H", data[start + 2 : end - (end - start - 2) % 6]))
            header.channels = [(channel, colour) for _, channel, colour in rows]


def _add_colour(header: _Header, content: bytes) -> bool:
    """Adds the colour space in a box `colr`; False if its method is unknown and the next box counts."""
    method = content[0]
    if method == 1:
        header.enumerated = int.from_bytes(content[3:7], "big")
        if header.enumerated not in _SPACES:
            raise UnreadableError(
                f"is a JPEG 2000 picture in a colour space that is not supported (number {header.enumerated})",
                hint="Save it as sRGB.",
            )
        header.space = _SPACES[header.enumerated]
    elif method in (2, 3):  # restricted and any ICC profile
        header.space = content[3:]
    elif method == 5:  # ITU-T H.273
        header.space = space_from_code_points(*struct.unpack_from(">HH", content, 3))
    else:
        return False
    return True


def _depth(value: int) -> tuple[int, bool]:
    return (value & 0x7F) + 1, value >= 0x80


def _pillow_is_exact(header: _Header) -> bool:
    """Whether Pillow reads the picture exactly: it shifts other depths than 8, and ignores the order of channels."""
    count = len(header.depths)
    colours = count - 1 if count in (2, 4) and header.enumerated != _CMYK else count
    usual = [(_COLOUR, colour + 1) for colour in range(colours)] + [(_OPACITY, 0)] * (count - colours)
    in_order = not header.channels or list(header.channels) == usual
    return set(header.depths) == {(8, False)} and in_order and not (header.has_palette and header.enumerated != _SRGB)


def _decoded(data: bytes, header: _Header) -> DecodedImage:
    bits, signed = _only_depth(header)
    try:
        import imagecodecs  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise UnreadableError(
            f"is a JPEG 2000 picture of {bits} bits, and the package that reads them is not installed",
            hint="Install the extra: pip install 'styleserve[formats]'. Or save the picture as PNG.",
        ) from error
    samples: NDArray[Any] = imagecodecs.jpeg2k_decode(_without_colour(data))
    samples = samples.reshape(*samples.shape[:2], -1)
    if signed:  # as OpenJPEG's own converters do
        samples = samples.astype(np.int32) + (1 << bits - 1)
    levels = scaled_to_16_bits(samples, bits)
    types = [channel for channel, _ in header.channels] or [_COLOUR] * levels.shape[2]
    if not header.channels and levels.shape[2] in (2, 4):
        types[-1] = _OPACITY
    colours = types.count(_COLOUR)
    if colours not in (1, 3) or len(types) != levels.shape[2] or len(types) > colours + 1:
        raise UnreadableError(
            f"is a JPEG 2000 picture of {levels.shape[2]} channels, of which {colours} are colours",
            hint="Save it as grey or RGB.",
        )
    # OpenJPEG puts the colours in order, and the others after them.
    opacity = next((each for each in types if each in (_OPACITY, _PREMULTIPLIED_OPACITY)), None)
    colour, alpha = levels[..., :colours], levels[..., colours] if opacity is not None else None
    if header.enumerated == _SYCC and colours == 3:
        colour = _rgb_of_sycc(colour, bits)
    if alpha is not None and opacity == _PREMULTIPLIED_OPACITY:
        colour = straight_colours(colour, alpha)
    return DecodedImage(
        colour=within_bits(colour, bits),
        alpha=None if alpha is None else eight_bit_channel(alpha),
        space=header.space,
    )


def _without_colour(data: bytes) -> bytes:
    """File with colour boxes of an unknown method, so that OpenJPEG does not apply their profile."""
    changed = bytearray(data)
    for kind, start, _ in boxes(data, *(box(data, b"jp2h") or (0, 0))):
        if kind == b"colr":
            changed[start] = _UNKNOWN_METHOD
    return bytes(changed)


def _only_depth(header: _Header) -> tuple[int, bool]:
    if len(set(header.depths)) != 1 or header.subsampled or header.enumerated == _CMYK:
        kind = "subsampled components" if header.subsampled else "CMYK or components of different depths"
        raise UnreadableError(f"is a JPEG 2000 picture with {kind}, which is not supported", hint="Save it as RGB.")
    return header.depths[0]


def _rgb_of_sycc(levels: NDArray[np.uint16], bits: int) -> NDArray[np.uint16]:
    """RGB of luma and two colour differences in the full range (IEC 61966-2-1, amendment 1)."""
    centre = round((1 << bits - 1) * MAX_LEVEL / ((1 << bits) - 1))

    def converted(band: NDArray[np.uint16]) -> NDArray[np.uint16]:
        luma, blue, red = np.moveaxis(band.astype(np.float32), -1, 0)
        blue, red = blue - centre, red - centre
        rgb = np.stack([luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue], axis=-1)
        return np.rint(np.clip(rgb, 0, MAX_LEVEL)).astype(np.uint16)

    return map_bands(converted, levels)
