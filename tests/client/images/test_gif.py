"""GIF with an embedded profile."""

from __future__ import annotations

import numpy as np
from PIL import Image

from styleserve.client import load_picture

from .files import COLOURS, PATCHES, as_srgb, encoded, linear, patches
from .test_icc import rgb_profile, table
from .test_png import icc_of_patches


def with_profile(data: bytes, profile: bytes) -> bytes:
    """A GIF with a profile before the descriptor of its picture."""
    parts = (profile[at : at + 255] for at in range(0, len(profile), 255))
    blocks = b"".join(bytes([len(part)]) + part for part in parts)
    at = data.index(b",\0\0\0\0")
    return data[:at] + b"\x21\xff\x0bICCRGBG1012" + blocks + b"\0" + data[at:]


def test_an_embedded_profile_is_used() -> None:
    data = encoded(Image.fromarray(PATCHES), "GIF")
    loaded = load_picture(with_profile(data, icc_of_patches()))
    assert np.abs(patches(loaded.image) - as_srgb(linear(COLOURS / 255)[:, [1, 0, 2]])).max() <= 2
    assert len(loaded.notes) == 1
    damaged = load_picture(with_profile(data, b"xx"))
    assert damaged.notes == ("its colour profile is damaged and was not used",)
    np.testing.assert_array_equal(patches(damaged.image), COLOURS)


def test_a_profile_of_rgb_counts_for_a_grey_palette() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    loaded = load_picture(with_profile(encoded(Image.fromarray(levels), "GIF"), rgb_profile(table([256]))))
    np.testing.assert_allclose(np.asarray(loaded.image)[..., 1], as_srgb(levels / 255), atol=2)
