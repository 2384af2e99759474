"""BMP with an embedded profile."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from styleserve.client import ImageError, load_picture

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


def test_bit_fields_that_are_not_supported_are_named() -> None:
    levels = np.zeros((4, 4), "<u4").tobytes()
    header = struct.pack("<IiiHHIIiiII3I", 40, 4, 4, 1, 32, 3, len(levels), 0, 0, 0, 0, 0x3FF00000, 0xFFC00, 0x3FF)
    body = header + levels
    with pytest.raises(ImageError, match="is a BMP of a kind that is not supported: Unsupported BMP bitfields"):
        load_picture(b"BM" + struct.pack("<IHHI", 14 + len(body), 0, 0, 14 + len(header)) + body)
