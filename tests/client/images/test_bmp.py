"""BMP with an embedded profile."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from styleserve.client import load_picture

from .files import COLOURS, PATCHES, as_srgb, linear, patches
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
