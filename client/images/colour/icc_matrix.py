"""Colour spaces of ICC profiles that are a matrix and a curve, for 16 bits, which Pillow does not convert.

ICC.1:2022, sections 7.2 (header), 7.3 (tag table), 8.3.3 and F.3 (three-component matrix-based profiles), 8.3.4 and F.2
(monochrome profiles), 10.6 (curveType), 10.18 (parametricCurveType), 10.31 (XYZType).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from . import icc
from .colour_space import SRGB_PRIMARIES, ColourSpace, Floats, Primaries, Transfer

_MOST_TAGS: Final = 128
_TABLES: Final = {b"A2B0", b"A2B1", b"A2B2", b"D2B0", b"D2B1", b"D2B2", b"D2B3"}
"""Tags of tables, which count more than matrix and curves."""

_D50: Final = (0.9642, 1.0, 0.8249)
_SAME_WHITE: Final = 0.005
"""Largest difference from D50 of the sum of the colorants, which is white."""

_PARAMETERS: Final = (1, 3, 4, 5, 7)
"""Numbers of parameters of parametric curves, by type."""


def colour_space(profile: bytes, channels: int) -> ColourSpace | None:
    """Colour space of a profile that is one matrix and one curve; None if the profile is another kind, or damaged.

    Args:
        profile: ICC profile.
        channels: Channels of the pixels: 1 for greys, 3 for RGB.
    """
    try:
        name = icc.description(profile) or "its colour profile"
        tags = _tags(profile)
        kind = b"RGB " if channels == 3 else b"GRAY"
        if profile[16:24] != kind + b"XYZ " or _TABLES & set(tags):
            return None
        if channels == 1:
            return ColourSpace(name, SRGB_PRIMARIES, _curve(tags[b"kTRC"]))
        curves = [tags[tag] for tag in (b"rTRC", b"gTRC", b"bTRC")]
        if len(set(curves)) != 1:
            return None
        return ColourSpace(
            name, _primaries([_xyz(tags[tag]) for tag in (b"rXYZ", b"gXYZ", b"bXYZ")]), _curve(curves[0])
        )
    except (KeyError, ValueError, struct.error, OSError, icc.ProfileError):
        return None


def _tags(profile: bytes) -> Mapping[bytes, bytes]:
    (count,) = struct.unpack_from(">I", profile, 128)
    rows = struct.iter_unpack(">4sII", profile[132 : 132 + 12 * min(count, _MOST_TAGS)])
    return {name: profile[start : start + size] for name, start, size in rows}


def _xyz(tag: bytes) -> list[float]:
    return [value / 65536 for value in struct.unpack_from(">3i", tag, 8)]


def _primaries(colorants: Sequence[Sequence[float]]) -> Primaries:
    """Chromaticities, relative to D50, of colorants.

    Raises:
        ValueError: The sum of the colorants is not D50, or they span no colour space.
    """
    white = np.sum(colorants, axis=0)
    if np.abs(white - _D50).max() > _SAME_WHITE or min(sum(colorant) for colorant in colorants) <= 0:
        raise ValueError("the colorants do not add up to white")
    xy = tuple(float(xyz[axis] / sum(xyz)) for xyz in (*colorants, white) for axis in (0, 1))
    primaries = Primaries("", xy)
    if not primaries.is_valid:
        raise ValueError("the colorants span no colour space")
    return primaries


def _curve(tag: bytes) -> Transfer:
    """Transfer function of a curve.

    Raises:
        ValueError: The type of the curve is unknown.
    """
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        values = np.array(struct.unpack_from(f">{count}H", tag, 12))
        if count > 1:
            return lambda signal: np.interp(signal, np.linspace(0.0, 1.0, count), values / 65535)
        gamma = values[0] / 256 if count else 1.0
        return lambda signal: signal**gamma
    (kind,) = struct.unpack_from(">H", tag, 8)
    if tag[:4] != b"para" or kind >= len(_PARAMETERS):
        raise ValueError(f"unknown curve {tag[:10]!r}")
    return _parametric(kind, [value / 65536 for value in struct.unpack_from(f">{_PARAMETERS[kind]}i", tag, 12)])


def _parametric(kind: int, parameters: Sequence[float]) -> Transfer:
    g, a, b, c, d, e, f = (*parameters, *[0.0] * (7 - len(parameters)))
    if kind == 0:
        return lambda signal: signal**g
    if kind in (1, 2):  # flat up to -b / a
        d, e, c, f = (-b / a if a else 0.0), c, 0.0, c

    def to_linear(signal: Floats) -> Floats:
        curved = np.maximum(a * signal + b, 0.0) ** g + e
        return np.clip(np.where(signal >= d, curved, c * signal + f), 0.0, 1.0)

    return to_linear
