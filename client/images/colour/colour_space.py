"""RGB colour spaces: primaries, white point and transfer function.

Sources: ITU-T H.273 (07/2024), tables 2 and 3, for the code points in PNG, AVIF, HEIF and JPEG 2000; IEC 61966-2-1 for
sRGB; Adobe RGB (1998) Color Image Encoding for EXIF's "R03"; ISO 22028-2 for ROMM RGB.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import UnreadableError

Floats: TypeAlias = NDArray[np.float64]
Transfer: TypeAlias = Callable[[Floats], Floats]
"""Function from a signal in [0, 1] to linear light in [0, 1]."""


@dataclass(frozen=True)
class Primaries:
    """Chromaticities x and y of red, green, blue and white.

    Attributes:
        name: Name for notes; empty for those of sRGB.
        xy: `(red x, red y, green x, green y, blue x, blue y, white x, white y)`.
    """

    name: str
    xy: tuple[float, ...]

    def to_xyz(self) -> Floats:
        """`[3, 3]` matrix from linear RGB to CIE XYZ, where white has the luminance 1.

        Raises:
            ValueError: The chromaticities span no colour space.
        """
        xy = np.array(self.xy).reshape(4, 2)
        if not (np.isfinite(xy).all() and (xy[:, 1] > 0).all()):
            raise ValueError(f"chromaticities {self.xy} span no colour space")
        xyz = np.stack([xy[:, 0] / xy[:, 1], np.ones(4), (1 - xy.sum(axis=1)) / xy[:, 1]])
        try:
            return xyz[:, :3] * np.linalg.solve(xyz[:, :3], xyz[:, 3])
        except np.linalg.LinAlgError as error:
            raise ValueError(f"chromaticities {self.xy} span no colour space") from error

    @property
    def is_valid(self) -> bool:
        """Whether the chromaticities span a colour space."""
        try:
            return bool(np.isfinite(self.to_xyz()).all())
        except ValueError:
            return False


D65: Final = (0.3127, 0.3290)
_C: Final = (0.310, 0.316)

SRGB_PRIMARIES: Final = Primaries("", (0.640, 0.330, 0.300, 0.600, 0.150, 0.060, *D65))
_PRIMARIES: Final[Mapping[int, Primaries]] = {
    1: SRGB_PRIMARIES,
    2: SRGB_PRIMARIES,  # unspecified
    4: Primaries("BT.470 M", (0.67, 0.33, 0.21, 0.71, 0.14, 0.08, *_C)),
    5: Primaries("BT.470 BG", (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, *D65)),
    6: Primaries("SMPTE 170M", (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *D65)),
    7: Primaries("SMPTE 240M", (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *D65)),
    8: Primaries("film", (0.681, 0.319, 0.243, 0.692, 0.145, 0.049, *_C)),
    9: Primaries("BT.2020", (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *D65)),
    11: Primaries("DCI-P3", (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.314, 0.351)),
    12: Primaries("Display P3", (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *D65)),
    22: Primaries("EBU 3213-E", (0.630, 0.340, 0.295, 0.605, 0.155, 0.077, *D65)),
}


def srgb_to_linear(signal: Floats) -> Floats:
    """Linear light by IEC 61966-2-1."""
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)


def _bt709_to_linear(signal: Floats) -> Floats:
    alpha, beta = 1.09929682680944, 0.018053968510807
    return np.where(signal < 4.5 * beta, signal / 4.5, ((signal + alpha - 1) / alpha) ** (1 / 0.45))


def _smpte240_to_linear(signal: Floats) -> Floats:
    alpha, beta = 1.111572195921731, 0.022821585529445
    return np.where(signal < 4 * beta, signal / 4, ((signal + alpha - 1) / alpha) ** (1 / 0.45))


def _romm_to_linear(signal: Floats) -> Floats:
    return np.where(signal < 16 / 512, signal / 16, signal**1.8)


def power(exponent: float) -> Transfer:
    """Transfer function `signal ** exponent`."""
    return lambda signal: signal**exponent


_TRANSFERS: Final[Mapping[int, tuple[str, Transfer]]] = {
    1: ("BT.709 curve", _bt709_to_linear),
    2: ("", srgb_to_linear),  # unspecified
    4: ("gamma 2.2", power(2.2)),
    5: ("gamma 2.8", power(2.8)),
    6: ("BT.601 curve", _bt709_to_linear),
    7: ("SMPTE 240M curve", _smpte240_to_linear),
    8: ("linear", lambda signal: signal),
    11: ("xvYCC curve", _bt709_to_linear),
    12: ("BT.1361 curve", _bt709_to_linear),
    13: ("", srgb_to_linear),
    14: ("BT.2020 curve", _bt709_to_linear),
    15: ("BT.2020 curve", _bt709_to_linear),
    17: ("SMPTE 428 curve", lambda signal: np.minimum(52.37 / 48 * signal**2.6, 1.0)),
}
_GAMMA_OF_SRGB: Final = 2.2
_SAME_GAMMA: Final = 0.05
"""Relative difference up to which a gamma means the curve of sRGB, as in libpng (PNG_GAMMA_THRESHOLD)."""

_HDR: Final[Mapping[int, str]] = {16: "PQ", 18: "HLG"}


@dataclass(frozen=True)
class ColourSpace:
    """An RGB colour space.

    Attributes:
        name: Name for notes.
        primaries: Chromaticities of red, green, blue and white.
        to_linear: Transfer function.
        full_range: Whether 0 is black and the largest number is white; else black and white are those of video, 16 and
            235 of 255.
    """

    name: str
    primaries: Primaries
    to_linear: Transfer
    full_range: bool = True


SRGB: Final = ColourSpace("sRGB", SRGB_PRIMARIES, srgb_to_linear)
"""Space of files that declare sRGB, so that no weaker declaration counts; files without a declaration have None."""
ADOBE_RGB: Final = ColourSpace(
    "Adobe RGB", Primaries("Adobe RGB", (0.64, 0.33, 0.21, 0.71, 0.15, 0.06, *D65)), power(563 / 256)
)
ROMM_RGB: Final = ColourSpace(
    "ROMM RGB",
    Primaries("ROMM RGB", (0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001, 0.3457, 0.3585)),
    _romm_to_linear,
)


def space_from_gamma_and_primaries(gamma: float | None, primaries: Primaries | None) -> ColourSpace | None:
    """Colour space with this gamma and these primaries; sRGB has those that are missing. None if both are missing.

    Args:
        gamma: Exponent from signal to linear light, such as 2.2.
        primaries: Chromaticities of red, green, blue and white; ignored if they span no colour space.
    """
    if primaries is not None and not primaries.is_valid:
        primaries = None
    if gamma is None and primaries is None:
        return None
    like_srgb = gamma is None or abs(_GAMMA_OF_SRGB / gamma - 1) < _SAME_GAMMA
    return ColourSpace(
        "its gamma and primaries" if gamma and primaries else "its gamma" if gamma else "its primaries",
        primaries or SRGB_PRIMARIES,
        srgb_to_linear if gamma is None or like_srgb else power(gamma),
    )


def space_from_code_points(primaries: int, transfer: int, *, full_range: bool = True) -> ColourSpace:
    """Colour space with these code points of ITU-T H.273; 2, unspecified, is sRGB.

    Args:
        primaries: ColourPrimaries.
        transfer: TransferCharacteristics.
        full_range: VideoFullRangeFlag of pixels that are stored as RGB; True if a decoder has applied it.

    Raises:
        UnreadableError: The code points are those of HDR, or are not supported.
    """
    if transfer in _HDR:
        raise UnreadableError(
            f"is an HDR picture ({_HDR[transfer]}), which has no exact form in sRGB",
            hint="Convert it to SDR first: export it as sRGB.",
        )
    if primaries not in _PRIMARIES or transfer not in _TRANSFERS:
        raise UnreadableError(
            f"has a colour space that is not supported (ITU-T H.273 primaries {primaries}, transfer {transfer})",
            hint="Save it as sRGB.",
        )
    gamut, (curve, to_linear) = _PRIMARIES[primaries], _TRANSFERS[transfer]
    name = " with ".join(filter(None, (gamut.name, curve)))
    return ColourSpace(name or "video range", gamut, to_linear, full_range)
