"""BMP: colour spaces in its header, and kinds that are refused."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from styleserve.client import ImageError, load_picture

from .files import ADOBE, COLOURS, PATCHES, as_srgb, linear, patches
from .test_png import icc_of_patches


def bmp(kind: bytes, profile: bytes) -> bytes:
    """A file of 24 bits with a BITMAPV5HEADER."""
    height, width, _ = PATCHES.shape
    pixels = PATCHES[::-1, :, ::-1].tobytes()  # rows of 240 bytes, a multiple of 4
    header = struct.pack("<IiiHHIIiiII", 124, width, height, 1, 24, 0, len(pixels), 0, 0, 0, 0)
    header += bytes(16) + kind[::-1] + bytes(36 + 12) + struct.pack("<IIII", 4, 124 + len(pixels), len(profile), 0)
    body = header + pixels + profile
    return b"BM" + struct.pack("<IHHI", 14 + len(body), 0, 0, 14 + 124) + body


@pytest.mark.parametrize(("kind", "converted"), [(b"MBED", True), (b"sRGB", False), (b"Win ", False)])
def test_an_embedded_profile_is_used(kind: bytes, converted: bool) -> None:
    loaded = load_picture(bmp(kind, icc_of_patches()))
    expected = as_srgb(linear(COLOURS / 255)[:, [1, 0, 2]]) if converted else COLOURS
    assert np.abs(patches(loaded.image) - expected).max() <= 2
    assert bool(loaded.notes) == converted


ADOBE_XYZ = ((0.57667, 0.29734, 0.02703), (0.18556, 0.62736, 0.07069), (0.18823, 0.07529, 0.99134))
ADOBE_XY = ((0.64, 0.33, 0.03), (0.21, 0.71, 0.08), (0.15, 0.06, 0.79))
SRGB_XYZ = ((0.41239, 0.21264, 0.01933), (0.35758, 0.71517, 0.11919), (0.18048, 0.07219, 0.95053))
ZEROS = ((0.0, 0.0, 0.0),) * 3


def calibrated(endpoints: Any, gammas: tuple[float, ...]) -> bytes:
    """A file of 24 bits with a BITMAPV4HEADER of LCS_CALIBRATED_RGB."""
    height, width, _ = PATCHES.shape
    pixels = PATCHES[::-1, :, ::-1].tobytes()
    header = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 24, 0, len(pixels), 0, 0, 0, 0) + bytes(16 + 4)
    header += struct.pack("<9i", *(round(value * 2**30) for xyz in endpoints for value in xyz))
    body = header + struct.pack("<3I", *(round(gamma * 2**16) for gamma in gammas)) + pixels
    return b"BM" + struct.pack("<IHHI", 14 + len(body), 0, 0, 14 + 108) + body


@pytest.mark.parametrize(
    ("endpoints", "gamma", "expected"),
    [
        pytest.param(ADOBE_XYZ, 2.2, as_srgb(linear(COLOURS / 255), ADOBE), id="Adobe RGB, XYZ"),
        pytest.param(ADOBE_XY, 2.2, as_srgb(linear(COLOURS / 255), ADOBE), id="Adobe RGB, chromaticities"),
        pytest.param(SRGB_XYZ, 1.0, as_srgb(COLOURS / 255), id="linear"),
        pytest.param(ZEROS, 1.8, as_srgb((COLOURS / 255) ** 1.8), id="gamma alone"),
        pytest.param(ZEROS, 1 / 1.8, as_srgb((COLOURS / 255) ** 1.8), id="inverse gamma"),
        pytest.param(SRGB_XYZ, 2.2, COLOURS, id="sRGB"),
        pytest.param(ZEROS, 0.0, COLOURS, id="nothing"),
    ],
)
def test_endpoints_and_gamma_are_used(endpoints: Any, gamma: float, expected: Any) -> None:
    loaded = load_picture(calibrated(endpoints, (gamma,) * 3))
    assert np.abs(patches(loaded.image) - expected).max() <= 1
    assert len(loaded.notes) == (expected is not COLOURS)


def test_a_gamma_for_each_colour_is_refused() -> None:
    with pytest.raises(ImageError, match="is a BMP with a gamma for each colour"):
        load_picture(calibrated(SRGB_XYZ, (1.0, 1.0, 2.2)))


def test_bit_fields_that_are_not_supported_are_named() -> None:
    levels = np.zeros((4, 4), "<u4").tobytes()
    header = struct.pack("<IiiHHIIiiII3I", 40, 4, 4, 1, 32, 3, len(levels), 0, 0, 0, 0, 0x3FF00000, 0xFFC00, 0x3FF)
    body = header + levels
    with pytest.raises(ImageError, match="is a BMP of a kind that is not supported: Unsupported BMP bitfields"):
        load_picture(b"BM" + struct.pack("<IHHI", 14 + len(body), 0, 0, 14 + len(header)) + body)
