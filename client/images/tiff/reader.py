"""TIFF: the tags of the first page decide whether Pillow reads it exactly, or `samples` does.

Photometric interpretations, planes and extra samples: TIFF 6.0.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .. import exif
from ..colour.colour_space import ColourSpace
from ..decoded import (
    MAX_LEVEL,
    DecodedImage,
    SizeCheck,
    eight_bit_channel,
    map_bands,
    scaled_to_16_bits,
    sixteen_bit_levels,
    straight_colours,
    within_bits,
)
from ..errors import DamagedError, UnreadableError
from ..formats import camera_raw, pillow_reader
from ..reduction import ColourAndAlpha, reduced_bands
from .colour_tags import colour_space, rgb_of_ycbcr
from .samples import INCOMPLETE_PAGE, LOSSLESS_COMPRESSIONS, NO_COMPRESSION, bands_of_samples, layout_of
from .tags import Directory, Tag, read_directories, read_sub_directories

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_CFA, _LINEAR_RAW = 32803, 34892  # DNG 1.7, PhotometricInterpretation
_COLOURS: Final = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4, _YCBCR: 3}
_PHOTOMETRIC_NAMES: Final = {
    _WHITE_IS_ZERO: "grey, white is zero",
    _BLACK_IS_ZERO: "grey",
    _RGB: "RGB",
    _PALETTE: "palette",
    _CMYK: "CMYK",
    _YCBCR: "YCbCr",
    8: "CIE L*a*b*",
    9: "ICC L*a*b*",
    10: "ITU L*a*b*",
    32844: "LogL",
    32845: "LogLuv",
}

_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3  # sample formats
_SAMPLE_NAMES: Final = {_UNSIGNED: "", _SIGNED: " signed", _FLOAT: " floating-point"}
_WEBP: Final = 50001  # compression that the libtiff in Pillow lacks
_PREMULTIPLIED, _STRAIGHT = 1, 2  # extra samples: associated and unassociated alpha
_REDUCED: Final = 2  # subfile type of TIFF 5

_MAX_BYTES: Final = 2**31
"""Bytes of all samples: 8 for each of the most pixels of a picture that is reduced."""
_LARGEST_TILE: Final = 2048**2
_MAX_SEGMENTS: Final = 2**19
"""Strips or tiles: tiles of 16 x 16 pixels of a picture of 64 million, twice over."""


def read(data: bytes, check: SizeCheck) -> DecodedImage:
    """First page of a TIFF file.

    Raises:
        UnreadableError: It is a camera raw file or a preview, or cannot be read exactly.
        Exception: Any error of a decoder, on a damaged file.
    """
    pages, is_broken = read_directories(data)
    if not pages:
        raise DamagedError("it has no first page")
    page, others = pages[0], pages[1:]
    factor = check(page.size)
    _refuse_previews(page, others)
    notes = [f"only the first of {len(pages)} frames is used"] if others else []
    if is_broken:
        notes.append("the pages behind the first are damaged and are not used")
    layout = layout_of(page)
    if page.compression == NO_COMPRESSION and len(layout.extents) < layout.count:
        raise DamagedError(INCOMPLETE_PAGE)  # Pillow would leave the rest black
    in_bands = factor > 1 and not _unsupported(page)  # Pillow decodes the whole page
    by_pillow = _is_exact_in_pillow(page) and not in_bands
    picture = _read_by_pillow(data, page, check) if by_pillow else None
    return replace(picture or _read_by_samples(page, factor), space=_space(data, page), notes=tuple(notes))


def _refuse_previews(page: Directory, others: list[Directory]) -> None:
    subs = read_sub_directories(page)
    if {Tag.DNGVersion, Tag.DNGPrivateData} & set(page.entries):
        raise camera_raw.refusal("DNG" if Tag.DNGVersion in page.entries else "")
    if any(each.photometric in (_CFA, _LINEAR_RAW) for each in (page, *others, *subs)):
        raise camera_raw.refusal("")
    is_preview = page.integer(Tag.NewSubfileType) & 1 or page.integer(Tag.SubfileType) == _REDUCED
    larger = [each for each in (*subs, *(others if is_preview else ())) if each.pixels > page.pixels]
    if larger and Tag.TIFFEPStandardID in page.entries:
        raise camera_raw.refusal("")
    if larger:
        width, height = max(larger, key=lambda each: each.pixels).size
        raise UnreadableError(
            f"begins with a preview of {page.size[0]} x {page.size[1]} pixels; the picture itself, of "
            f"{width} x {height}, is not its first page",
            hint="Save the picture itself as a TIFF, PNG or JPEG of one page.",
        )


def _is_exact_in_pillow(page: Directory) -> bool:
    if _sample_format(page) != _UNSIGNED or not _has_usual_colours(page) or page.compression == _WEBP:
        return False
    bits, photometric = set(page.bits), page.photometric
    if bits == {16}:  # of colours, Pillow keeps the high bytes
        return photometric == _BLACK_IS_ZERO and page.samples == 1
    return max(bits) <= 8 and not (page.in_planes and (photometric, page.samples) != (_RGB, 3))


def _has_usual_colours(page: Directory) -> bool:
    """Whether inks are CMYK, a palette has 16 bits (some writers use 8), and libtiff converts YCbCr.

    Pillow converts uncompressed YCbCr itself, as if it were that of JPEG.
    """
    if page.photometric == _PALETTE:
        return max(page.integers(Tag.ColorMap), default=0) > 255
    if page.photometric == _YCBCR and page.compression == NO_COMPRESSION:
        return False
    return page.integer(Tag.InkSet, 1) == 1


def _read_by_pillow(data: bytes, page: Directory, check: SizeCheck) -> DecodedImage | None:
    """Page as Pillow reads it; None if Pillow has no mode for it."""
    try:
        image = pillow_reader.open_image(data, "TIFF")
    except (SyntaxError, KeyError):  # unknown mode, unknown compression
        return None
    if image is None:
        return None
    with image:
        factor = check(image.size)
        image.im = Image.new(image.mode, page.size).im  # Pillow would refuse more pixels than `Image.MAX_IMAGE_PIXELS`
        return pillow_reader.decode(image, factor=factor, frames=1)


def _read_by_samples(page: Directory, factor: int) -> DecodedImage:
    if reason := _unsupported(page):
        raise UnreadableError(
            f"is a TIFF with {reason}, which is not supported", hint="Save it with 8 or 16 bits, as RGB."
        )
    parts = (_coloured(samples, page) for samples in bands_of_samples(page, factor))
    colour, alpha = reduced_bands(parts, page.size, factor)
    return DecodedImage(colour=colour, alpha=alpha, orientation=page.integer(Tag.Orientation, 1))


def _coloured(samples: NDArray[Any], page: Directory) -> ColourAndAlpha:
    """Colours and alpha of `[height, width, samples]`."""
    photometric = page.photometric
    count = _COLOURS[photometric]
    levels = sixteen_bit_levels(samples) if _sample_format(page) == _FLOAT else scaled_to_16_bits(samples, page.bits[0])
    extra = page.integers(Tag.ExtraSamples) or (_STRAIGHT,)  # Pillow and libtiff take a missing tag so
    kinds = [kind for kind in extra[: levels.shape[2] - count] if kind in (_PREMULTIPLIED, _STRAIGHT)]
    alpha = levels[..., count + extra.index(kinds[0])] if kinds else None
    palette = _palette(page) if photometric == _PALETTE else None
    colour = levels[..., :count] if palette is None else map_bands(lambda band: palette[band], samples[..., 0])
    if photometric == _WHITE_IS_ZERO:
        colour = MAX_LEVEL - colour
    elif photometric == _YCBCR:
        colour = rgb_of_ycbcr(colour, page)
    if alpha is not None and kinds[0] == _PREMULTIPLIED:
        colour = straight_colours(colour, alpha)
    colour = _cmyk(colour) if photometric == _CMYK else within_bits(colour, page.bits[0])
    return colour, None if alpha is None else eight_bit_channel(alpha)


def _palette(page: Directory) -> NDArray[np.uint16]:
    """`[colours, 3]`: the palette with 16 bits; some writers give it 8."""
    colours = np.array(page.integers(Tag.ColorMap, most=3 << 16), np.uint16).reshape(3, -1).T
    return colours if colours.max() > 255 else colours * 257


def _cmyk(levels: NDArray[np.uint16]) -> Image.Image:
    return Image.merge("CMYK", [eight_bit_channel(levels[..., ink]) for ink in range(4)])


def _unsupported(page: Directory) -> str:
    """Property by which a page cannot be read exactly and within the bounds; empty if it can."""
    bits, samples, photometric = page.bits, page.samples, page.photometric
    colours = _PHOTOMETRIC_NAMES.get(photometric, f"photometric interpretation {photometric}")
    allowed = {_UNSIGNED: (*range(1, 17), 32), _FLOAT: (16, 32, 64)}.get(_sample_format(page), ())
    tile = page.integer(Tag.TileWidth) * page.integer(Tag.TileLength)
    reasons = {
        f"colours as {colours}": photometric not in _COLOURS
        or (photometric == _CMYK and page.integer(Tag.InkSet, 1) != 1)
        or (photometric == _YCBCR and (set(bits) != {8} or page.integers(Tag.YCbCrSubSampling) != (1, 1))),
        f"{samples} samples of {_described(page)}": len(set(bits)) != 1
        or bits[0] not in allowed
        or samples < _COLOURS.get(photometric, 1),
        f"{_described(page)} in compression {page.compression}": page.compression not in LOSSLESS_COMPRESSIONS,
        f"{_described(page)}, as differences": page.integer(Tag.Predictor, 1) != 1 and bits[0] not in (8, 16, 32, 64),
        f"{_described(page)}, the lowest bit first": page.integer(Tag.FillOrder, 1) != 1,
        f"{samples} samples of {bits[0]} bits for each pixel": page.pixels * samples * bits[0] > 8 * _MAX_BYTES,
        "too many strips or tiles": layout_of(page).count > _MAX_SEGMENTS,
        "tiles that are larger than the picture": tile > max(page.pixels, _LARGEST_TILE),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _described(page: Directory) -> str:
    """Bits, sample format and colours, as in "12 bits (grey)"."""
    bits = "/".join(map(str, sorted(set(page.bits))))
    samples = _SAMPLE_NAMES.get(_sample_format(page), " mixed")
    colours = _PHOTOMETRIC_NAMES.get(page.photometric, str(page.photometric))
    return f"{bits}{samples} bits ({colours}{', in planes' if page.in_planes else ''})"


def _space(data: bytes, page: Directory) -> ColourSpace | bytes | None:
    return page.raw(Tag.InterColorProfile) or colour_space(page) or exif.colour_space(exif.from_tiff(data))


def _sample_format(page: Directory) -> int:
    """Format of all samples; 0 if they differ."""
    formats = set(page.integers(Tag.SampleFormat)) or {_UNSIGNED}
    return formats.pop() if len(formats) == 1 else 0
