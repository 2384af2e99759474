"""ICC profiles for more than 8 bits."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import ImageCms

from styleserve.client import load_picture
from styleserve.client.images.colour.convert import icc_matrix

from .files import COLOURS, P3, PATCHES, as_srgb, chunk, linear, patches, png, tiff

SRGB_PARAMETERS = 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045
# Colorants of Display P3 and sRGB, relative to D50 by Bradford: Apple's and HP's profiles.
P3_COLORANTS = (0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)
SRGB_COLORANTS = (0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)


def fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def table(values: Any) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">I", len(values)) + np.rint(values).astype(">u2").tobytes()


def para(kind: int, *parameters: float) -> bytes:
    return b"para" + bytes(4) + struct.pack(">HH", kind, 0) + fixed(*parameters)


def profile(kind: bytes, tags: dict[bytes, bytes], space: bytes = b"XYZ ") -> bytes:
    name = b"desc" + bytes(4) + struct.pack(">I", 8) + b"profile\0" + bytes(78)
    tags = {b"desc": name, b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1.0, 0.8249), **tags}
    rows, body, start = b"", b"", 132 + 12 * len(tags)
    for tag, content in tags.items():
        rows += tag + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = bytes(4) + bytes(4) + b"\2\x10\0\0mntr" + kind + space + struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp"
    head = head.ljust(68, b"\0") + fixed(0.9642, 1.0, 0.8249)
    data = head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + rows + body
    return struct.pack(">I", len(data)) + data[4:]


def rgb_profile(curve: bytes, colorants: Any = SRGB_COLORANTS) -> bytes:
    tags = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    for name, colorant in zip((b"rXYZ", b"gXYZ", b"bXYZ"), colorants, strict=True):
        tags[name] = b"XYZ " + bytes(4) + fixed(*colorant)
    return profile(b"RGB ", tags)


def iccp(data: bytes) -> bytes:
    return chunk(b"iCCP", b"profile\0\0" + zlib.compress(data))


DARK = np.arange(1, 2048, 8).reshape(16, 16, 1).repeat(3, 2)
"""Levels of 16 bits that are 80 of sRGB's levels where they are linear light, and 8 levels with 8 bits."""

CURVES: dict[str, tuple[bytes, Any]] = {
    "identity": (table([]), lambda signal: signal),
    "gamma": (table([256]), lambda signal: signal),
    "gamma 0.5": (table([128]), lambda signal: signal**0.5),
    "table": (table([0, 32768, 65535]), lambda signal: signal),
    "para 0": (para(0, 0.5), lambda signal: signal**0.5),
    "para 1": (para(1, 1.0, 2.0, -0.01), lambda signal: np.maximum(2 * signal - 0.01, 0)),
    "para 2": (para(2, 1.0, 2.0, -0.01, 0.01), lambda signal: np.maximum(2 * signal - 0.01, 0) + 0.01),
    "para 3": (para(3, *SRGB_PARAMETERS), linear),
    "para 4": (
        para(4, 1.0, 2.0, 0.0, 0.5, 0.01, 0.1, 0.2),
        lambda signal: np.where(signal >= 0.01, 2 * signal + 0.1, 0.5 * signal + 0.2),
    ),
}


@pytest.mark.parametrize("name", CURVES)
def test_16_bits_keep_their_precision_through_a_profile(name: str) -> None:
    curve, to_linear = CURVES[name]
    expected = as_srgb(to_linear(DARK / 65535))
    strip = DARK.astype("<u2").tobytes()
    floats = (DARK / 65535).astype("<f4").tobytes()
    data = rgb_profile(curve)
    for file in (
        png(DARK, 16, 2, iccp(data)),
        tiff((16, 16), [16] * 3, 2, [strip], (34675, 7, data)),
        tiff((16, 16), [32] * 3, 2, [floats], (34675, 7, data), (339, 3, [3] * 3)),
        png(DARK[..., :1], 16, 0, iccp(profile(b"GRAY", {b"kTRC": curve}))),
    ):
        loaded = load_picture(file)
        np.testing.assert_allclose(np.asarray(loaded.image), expected, atol=1)
        assert loaded.notes == (() if name == "para 3" else ("converted from profile to sRGB",))


@pytest.mark.parametrize("bits", [8, 16])
def test_colorants(bits: int) -> None:
    levels = PATCHES.astype(int) * (257 if bits == 16 else 1)
    loaded = load_picture(png(levels, bits, 2, iccp(rgb_profile(para(3, *SRGB_PARAMETERS), P3_COLORANTS))))
    assert np.abs(patches(loaded.image) - as_srgb(linear(COLOURS / 255), P3)).max() <= 2


def test_other_profiles_are_left_to_little_cms() -> None:
    curve = table([256])
    plain = rgb_profile(curve)
    assert icc_matrix.colour_space(plain, 3) is not None
    others = {
        "grey": (plain, 1),
        "tables": (plain.replace(b"wtpt", b"A2B0"), 3),
        "Lab": (plain.replace(b"RGB XYZ ", b"RGB Lab "), 3),
        "no white": (rgb_profile(curve, (SRGB_COLORANTS[0],) * 3), 3),
        "black": (rgb_profile(curve, ((0, 0, 0),) * 3), 3),
        "unknown curve": (rgb_profile(b"what" + bytes(20)), 3),
        "long curve": (rgb_profile(b"curv" + bytes(4) + b"\xff" * 4), 3),
        "cut": (plain[:200], 3),
        "empty": (b"", 3),
        "no profile": (b"x" * 500, 3),
        "tables of a printer": (ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(), 3),
    }
    for name, (data, channels) in others.items():
        assert icc_matrix.colour_space(data, channels) is None, name


def test_a_damaged_profile_of_16_bits_is_noted() -> None:
    loaded = load_picture(png(DARK, 16, 2, iccp(b"x" * 500)))
    assert loaded.notes == ("its colour profile is damaged and was not used",)
    np.testing.assert_array_equal(np.asarray(loaded.image), np.rint(DARK / 257))
