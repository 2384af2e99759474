"""TIFF: Pillow reads what it reads exactly, and `tiff_samples` the rest, as the tags of the first page decide.

Photometric interpretations, planes and extra samples are those of TIFF 6.0.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from .. import exif
from ..colour.colour_space import ColourSpace
from ..decoded import TOP, Decoded, SizeCheck, by_bands, eight_bit_channel, scaled, sixteen_bit_levels, unassociated
from ..errors import Unreadable
from ..formats import camera_raw, pillow_reader
from . import colours as tiff_colours
from . import samples as tiff_samples
from . import tags as tiff_tags
from .tags import Directory

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
_WEBP: Final = 50001  # compression, which the libtiff in Pillow is built without
_ASSOCIATED, _UNASSOCIATED = 1, 2  # extra samples
_CHUNKY: Final = 1
_REDUCED: Final = 2  # subfile type of TIFF 5

_MOST_BYTES: Final = 2**30
"""Bytes of all samples: RGB of 64 million pixels as 32-bit floats, and some more."""
_LARGEST_TILE: Final = 2048**2
_MOST_PARTS: Final = 2**19
"""Strips or tiles: tiles of 16 x 16 pixels of a picture of 64 million, twice over."""


def read(data: bytes, check: SizeCheck) -> Decoded:
    """The first page of a TIFF file.

    Raises:
        Unreadable: it is a camera raw file or a preview, or cannot be read exactly, or not without the extra.
        Exception: any error of a decoder, on a damaged file.
    """
    pages, broken = tiff_tags.pages(data)
    if not pages:
        raise Unreadable("is damaged or cut short: it has no first page", hint="Save or fetch it again.")
    page, others = pages[0], pages[1:]
    check(page.size)
    _refuse_previews(page, others)
    notes = [f"only the first of {len(pages)} frames is used"] if others else []
    if broken:
        notes.append("the pages behind the first are damaged and are not used")
    parts = tiff_samples.layout(page)
    if page.number(tiff_tags.COMPRESSION, 1) == tiff_samples.NO_COMPRESSION and len(parts.places) < parts.count:
        raise tiff_samples.incomplete()  # Pillow would leave the rest black
    picture = _by_pillow(data, page, check) if _pillow_is_exact(page) else None
    return replace(picture or _by_samples(page), space=_space(data, page), notes=tuple(notes))


def _refuse_previews(page: Directory, others: list[Directory]) -> None:
    subs = tiff_tags.sub_directories(page)
    if {tiff_tags.DNG_VERSION, tiff_tags.DNG_PRIVATE_DATA} & set(page.entries):
        raise camera_raw.refusal("DNG" if tiff_tags.DNG_VERSION in page.entries else "")
    if any(each.number(tiff_tags.PHOTOMETRIC) in (_CFA, _LINEAR_RAW) for each in (page, *others, *subs)):
        raise camera_raw.refusal("")
    is_preview = page.number(tiff_tags.NEW_SUBFILE_TYPE) & 1 or page.number(tiff_tags.SUBFILE_TYPE) == _REDUCED
    larger = [each for each in (*subs, *(others if is_preview else ())) if each.pixels > page.pixels]
    if larger and tiff_tags.TIFF_EP_STANDARD_ID in page.entries:
        raise camera_raw.refusal("")
    if larger:
        width, height = max(larger, key=lambda each: each.pixels).size
        raise Unreadable(
            f"begins with a preview of {page.size[0]} x {page.size[1]} pixels; the picture itself, of "
            f"{width} x {height}, is not its first page",
            hint="Save the picture itself as a TIFF, PNG or JPEG of one page.",
        )


def _pillow_is_exact(page: Directory) -> bool:
    bits, sample_format = set(_bits(page)), _sample_format(page)
    photometric, extra = page.number(tiff_tags.PHOTOMETRIC), page.numbers(tiff_tags.EXTRA_SAMPLES)
    samples = _samples(page)
    if sample_format != _UNSIGNED or not _is_usual(page) or page.number(tiff_tags.COMPRESSION) == _WEBP:
        return False
    if bits == {16}:
        # Pillow keeps greys; of colours it keeps the high bytes, and `pillow_reader.sixteen_bit` adds the low ones.
        in_one_plane = page.number(tiff_tags.PLANAR_CONFIGURATION, _CHUNKY) == _CHUNKY
        grey = photometric == _BLACK_IS_ZERO and samples == 1
        return grey or (photometric == _RGB and in_one_plane and _ASSOCIATED not in extra)
    in_planes = page.number(tiff_tags.PLANAR_CONFIGURATION, _CHUNKY) != _CHUNKY and samples > 1
    return max(bits) <= 8 and not (in_planes and (photometric, samples) != (_RGB, 3))


def _is_usual(page: Directory) -> bool:
    """Whether inks are CMYK, a palette has 16 bits (some writers use 8), and YCbCr is converted by libtiff.

    Without compression, Pillow converts YCbCr itself, and takes it for that of JPEG.
    """
    photometric = page.number(tiff_tags.PHOTOMETRIC)
    if photometric == _PALETTE:
        return max(page.numbers(tiff_tags.COLOR_MAP), default=0) > 255
    if photometric == _YCBCR and page.number(tiff_tags.COMPRESSION, 1) == 1:
        return False
    return page.number(tiff_tags.INK_SET, 1) == 1


def _by_pillow(data: bytes, page: Directory, check: SizeCheck) -> Decoded | None:
    """The page by Pillow; None if Pillow has no mode for it."""
    image = _opened(data)
    if image is None:
        return None
    with image:
        check(image.size)
        if set(_bits(page)) != {16} or page.number(tiff_tags.PHOTOMETRIC) != _RGB:
            return pillow_reader.decoded(image, frames=1)
        has_alpha = image.mode == "RGBA"
    levels = pillow_reader.sixteen_bit(lambda: cast("ImageFile.ImageFile", _opened(data)))
    return Decoded(
        colour=levels[..., :3],
        alpha=eight_bit_channel(levels[..., 3]) if has_alpha else None,  # no orientation: Pillow has turned the picture
    )


def _opened(data: bytes) -> ImageFile.ImageFile | None:
    try:
        return pillow_reader.opened(data, "TIFF")
    except (SyntaxError, KeyError):  # its mode, its compression
        return None


def _by_samples(page: Directory) -> Decoded:
    if reason := _unsupported(page):
        raise Unreadable(f"is a TIFF with {reason}, which is not supported", hint="Save it with 8 or 16 bits, as RGB.")
    picture = _coloured(tiff_samples.read(page), page)
    return replace(picture, orientation=page.number(tiff_tags.ORIENTATION, 1))


def _coloured(samples: NDArray[Any], page: Directory) -> Decoded:
    """Colours and alpha of `[height, width, samples]`."""
    photometric = page.number(tiff_tags.PHOTOMETRIC)
    count = _COLOURS[photometric]
    levels = sixteen_bit_levels(samples) if _sample_format(page) == _FLOAT else scaled(samples, _bits(page)[0])
    extra = page.numbers(tiff_tags.EXTRA_SAMPLES) or (_UNASSOCIATED,)  # as Pillow and libtiff take a missing tag
    kinds = [kind for kind in extra[: levels.shape[2] - count] if kind in (_ASSOCIATED, _UNASSOCIATED)]
    alpha = levels[..., count + extra.index(kinds[0])] if kinds else None
    palette = _palette(page) if photometric == _PALETTE else None
    colour = levels[..., :count] if palette is None else by_bands(lambda band: palette[band], samples[..., 0])
    if photometric == _WHITE_IS_ZERO:
        colour = TOP - colour
    elif photometric == _YCBCR:
        colour = tiff_colours.rgb_of_ycbcr(colour, page)
    if alpha is not None and kinds[0] == _ASSOCIATED:
        colour = unassociated(colour, alpha)
    return Decoded(
        colour=_cmyk(colour) if photometric == _CMYK else colour,
        alpha=None if alpha is None else eight_bit_channel(alpha),
    )


def _palette(page: Directory) -> NDArray[np.uint16]:
    """`[colours, 3]`; some writers give it 8 bits in place of 16."""
    colours = np.array(page.numbers(tiff_tags.COLOR_MAP, most=3 << 16), np.uint16).reshape(3, -1).T
    return colours if colours.max() > 255 else colours * 257


def _cmyk(levels: NDArray[np.uint16]) -> Image.Image:
    return Image.merge("CMYK", [eight_bit_channel(levels[..., ink]) for ink in range(4)])


def _unsupported(page: Directory) -> str:
    """The reason why no reader here reads the page exactly and within bounds; empty if one does."""
    bits, samples = _bits(page), _samples(page)
    photometric, compression = page.number(tiff_tags.PHOTOMETRIC), page.number(tiff_tags.COMPRESSION, 1)
    colours = _PHOTOMETRIC_NAMES.get(photometric, f"photometric interpretation {photometric}")
    allowed = {_UNSIGNED: (*range(1, 17), 32), _FLOAT: (16, 32, 64)}.get(_sample_format(page), ())
    predicted, whole = page.number(tiff_tags.PREDICTOR, 1) != 1, bits[0] in (8, 16, 32, 64)
    tile = page.number(tiff_tags.TILE_WIDTH) * page.number(tiff_tags.TILE_LENGTH)
    reasons = {
        f"colours as {colours}": photometric not in _COLOURS
        or (photometric == _CMYK and page.number(tiff_tags.INK_SET, 1) != 1)
        or (photometric == _YCBCR and (set(bits) != {8} or page.numbers(tiff_tags.YCBCR_SUBSAMPLING) != (1, 1))),
        f"{samples} samples of {_named(page)}": len(set(bits)) != 1
        or bits[0] not in allowed
        or samples < _COLOURS.get(photometric, 1),
        f"{_named(page)} in compression {compression}": compression not in tiff_samples.COMPRESSIONS,
        f"{_named(page)}, as differences": predicted and not whole,
        f"{_named(page)}, the lowest bit first": page.number(tiff_tags.FILL_ORDER, 1) != 1,
        f"{samples} samples of {bits[0]} bits for each pixel": page.pixels * samples * bits[0] > 8 * _MOST_BYTES,
        "too many strips or tiles": tiff_samples.layout(page).count > _MOST_PARTS,
        "tiles that are larger than the picture": tile > max(page.pixels, _LARGEST_TILE),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _named(page: Directory) -> str:
    """Bits, sample format and colours, as in "12 bits (grey)"."""
    bits, planes = "/".join(map(str, sorted(set(_bits(page))))), ""
    if page.number(tiff_tags.PLANAR_CONFIGURATION, _CHUNKY) != _CHUNKY and _samples(page) > 1:
        planes = ", in planes"
    photometric = page.number(tiff_tags.PHOTOMETRIC)
    colours = _PHOTOMETRIC_NAMES.get(photometric, str(photometric))
    return f"{bits}{_SAMPLE_NAMES.get(_sample_format(page), ' mixed')} bits ({colours}{planes})"


def _space(data: bytes, page: Directory) -> ColourSpace | bytes | None:
    return (
        page.raw(tiff_tags.ICC_PROFILE)
        or tiff_colours.declared_space(page)
        or exif.colour_space(exif.exif_of_tiff(data))
    )


def _bits(page: Directory) -> tuple[int, ...]:
    return page.numbers(tiff_tags.BITS_PER_SAMPLE) or (1,)


def _samples(page: Directory) -> int:
    return page.number(tiff_tags.SAMPLES_PER_PIXEL, 1)


def _sample_format(page: Directory) -> int:
    """The one format of all samples; 0 if they differ."""
    formats = set(page.numbers(tiff_tags.SAMPLE_FORMAT)) or {_UNSIGNED}
    return formats.pop() if len(formats) == 1 else 0
