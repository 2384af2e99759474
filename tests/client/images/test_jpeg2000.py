"""JPEG 2000 beyond 8 bits, and what its boxes declare."""

from __future__ import annotations

import struct
import sys
from typing import Any

import imagecodecs
import numpy as np
import pytest

from styleserve.client import ImageError, load_picture

from .files import BT2020, COLOURS, P3, PATCHES, as_srgb, box, enumerated, jp2, linear, patches
from .test_png import icc_of_patches

SIZE = (32, 16)
RAMP = np.linspace(0, 1, SIZE[0])[None].repeat(SIZE[1], 0)
COLOURED = np.stack([RAMP, RAMP[:, ::-1], RAMP / 2], -1)
SRGB, GREY, SYCC = enumerated(16), enumerated(17), enumerated(18)


def codestream(levels: Any, bits: int) -> bytes:
    """Lossless; signed where the array is."""
    kind = levels.dtype.kind if levels.dtype.kind == "i" else "u"
    levels = levels.astype(f"{kind}{1 if bits <= 8 else 2}")
    return bytes(imagecodecs.jpeg2k_encode(levels, codecformat="j2k", level=0, bitspersample=bits))


def levels_of(samples: Any, bits: int) -> Any:
    return np.rint(samples * (2**bits - 1)).astype(np.uint16)


def file(levels: Any, bits: int, colour: bytes, *extra: bytes) -> bytes:
    channels = 1 if levels.ndim == 2 else levels.shape[2]
    return jp2(codestream(levels, bits), (levels.shape[1], levels.shape[0]), channels, bits, colour, *extra)


def assert_levels(data: bytes, expected: Any, tolerance: float = 0.6) -> None:
    got = np.asarray(load_picture(data).image) / 255
    expected = expected[..., None] if expected.ndim == 2 else expected
    assert np.abs(got - expected).max() <= tolerance / 255


@pytest.mark.parametrize("bits", [2, 4, 8, 9, 10, 12, 14, 16])
@pytest.mark.parametrize("boxed", [True, False], ids=["jp2", "codestream"])
def test_any_depth(bits: int, boxed: bool) -> None:
    for samples, colour in ((RAMP, GREY), (COLOURED, SRGB)):
        levels = levels_of(samples, bits)
        data = file(levels, bits, colour) if boxed else codestream(levels, bits)
        assert_levels(data, levels / (2**bits - 1))


@pytest.mark.parametrize("bits", [8, 12])
def test_signed_samples_have_their_black_at_the_lowest_number(bits: int) -> None:
    levels = levels_of(RAMP, bits).astype(np.int32) - (1 << bits - 1)
    assert_levels(file(levels.astype(np.int16), bits, GREY), levels_of(RAMP, bits) / (2**bits - 1))


@pytest.mark.parametrize("bits", [8, 12])
def test_sycc(bits: int) -> None:
    """Luma and colour differences of full range (IEC 61966-2-1, amendment 1)."""
    red, green, blue = np.moveaxis(COLOURED, -1, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    half = (1 << bits - 1) / ((1 << bits) - 1)
    differences = [(blue - luma) / 1.772 + half, (red - luma) / 1.402 + half]
    levels = levels_of(np.clip(np.stack([luma, *differences], -1), 0, 1), bits)
    assert_levels(file(levels, bits, SYCC), COLOURED, tolerance=2.5 if bits == 8 else 0.8)


def cdef(*rows: tuple[int, int, int]) -> bytes:
    """Channel, type and associated colour."""
    return box(b"cdef", struct.pack(">H", len(rows)) + b"".join(struct.pack(">3H", *row) for row in rows))


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize(
    ("kind", "alpha_first"),
    [
        pytest.param(0, False, id="no definition"),
        *(pytest.param(kind, first, id=f"type {kind}, {first}") for kind in (1, 2, 65535) for first in (False, True)),
    ],
)
def test_alpha(kind: int, bits: int, alpha_first: bool) -> None:
    """Types of channels: 1 is opacity, 2 is premultiplied opacity, 65535 is unspecified."""
    top = 2**bits - 1
    alpha = np.where(np.arange(SIZE[0]) < 16, 1.0, np.arange(SIZE[0]) / 40)[None].repeat(SIZE[1], 0)[..., None]
    stored = COLOURED * alpha if kind == 2 else COLOURED
    channels = [alpha, stored] if alpha_first else [stored, alpha]
    levels = np.rint(np.concatenate(channels, -1) * top).astype(np.uint16)
    first = int(alpha_first)
    rows = [*((first + colour, 0, colour + 1) for colour in range(3)), (0 if alpha_first else 3, kind, 0)]
    data = file(levels, bits, SRGB, *([cdef(*rows)] if kind else []))
    opacity = np.ones_like(alpha) if kind == 65535 else alpha
    assert_levels(data, COLOURED * opacity + 1 - opacity, tolerance=1.6)


@pytest.mark.parametrize("bits", [8, 12])
def test_channels_in_another_order(bits: int) -> None:
    levels = levels_of(COLOURED, bits)
    data = file(levels[..., ::-1], bits, SRGB, cdef((0, 0, 3), (1, 0, 2), (2, 0, 1)))
    assert_levels(data, levels / (2**bits - 1))


@pytest.mark.parametrize("bits", [4, 8, 12, 16])
@pytest.mark.parametrize("colour", [SRGB, b"\2\0\0" + icc_of_patches()], ids=["sRGB", "profile"])
def test_palettes(bits: int, colour: bytes) -> None:
    levels = levels_of(COLOURS / 255, bits)
    entries = levels.astype(">u2" if bits > 8 else "u1").tobytes()
    palette = box(b"pclr", struct.pack(">HB3B", len(COLOURS), 3, *[bits - 1] * 3) + entries)
    mapping = box(b"cmap", b"".join(struct.pack(">HBB", 0, 1, column) for column in range(3)))
    indices = np.arange(5, dtype=np.uint8).repeat(16)[None].repeat(16, 0)
    data = jp2(codestream(indices, 8), (80, 16), 1, 8, colour, palette, mapping)
    exact = levels / (2**bits - 1)
    expected = exact * 255 if colour == SRGB else as_srgb(linear(exact)[:, [1, 0, 2]])
    assert np.abs(patches(load_picture(data).image) - expected).max() <= 2


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        pytest.param(b"\2\0\0" + icc_of_patches(), as_srgb(linear(COLOURS / 255)[:, [1, 0, 2]]), id="profile"),
        pytest.param(b"\5\0\0" + struct.pack(">HHHB", 12, 13, 0, 0x80), as_srgb(linear(COLOURS / 255), P3), id="P3"),
        pytest.param(
            b"\5\0\0" + struct.pack(">HHHB", 9, 13, 0, 0x80), as_srgb(linear(COLOURS / 255), BT2020), id="BT.2020"
        ),
        pytest.param(SRGB, COLOURS, id="sRGB"),
        pytest.param(b"\x09\0\0vendor", COLOURS, id="unknown method"),
    ],
)
def test_colours_by_the_box(colour: bytes, expected: Any, bits: int) -> None:
    loaded = load_picture(file(levels_of(PATCHES / 255, bits), bits, colour))
    assert np.abs(patches(loaded.image) - expected).max() <= 2
    assert bool(loaded.notes) == (expected is not COLOURS)


def test_romm_rgb() -> None:
    """Grey stays grey, by ROMM's curve, a power of 1.8 (ISO 22028-2)."""
    loaded = load_picture(file(levels_of(np.stack([RAMP] * 3, -1), 12), 12, enumerated(21)))
    expected = as_srgb(np.where(RAMP < 1 / 32, RAMP / 16, RAMP**1.8))
    assert np.abs(np.asarray(loaded.image) - expected[..., None]).max() <= 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(file(levels_of(COLOURED, 12), 12, enumerated(14)), r"colour space .* \(number 14\)", id="Lab"),
        pytest.param(file(levels_of(COLOURED, 8), 8, enumerated(1)), r"colour space .* \(number 1\)", id="YCbCr"),
        pytest.param(file(levels_of(COLOURED, 8), 8, b"\5\0\0" + struct.pack(">HHHB", 9, 16, 0, 128)), "HDR", id="PQ"),
        pytest.param(
            file(levels_of(np.stack([RAMP] * 4, -1), 12), 12, enumerated(12)),
            "CMYK or components",
            id="CMYK of 12 bits",
        ),
        pytest.param(
            file(levels_of(COLOURED[..., :2], 12), 12, SRGB, cdef((0, 0, 1), (1, 0, 2))), "2 are colours", id="two"
        ),
    ],
)
def test_other_kinds_are_refused_by_name(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        load_picture(data)


def test_a_size_that_is_only_claimed_is_refused() -> None:
    data = bytearray(codestream(levels_of(RAMP, 12), 12))
    struct.pack_into(">II", data, 8, 100_000, 100_000)
    with pytest.raises(ImageError, match="268,435,456 are allowed"):
        load_picture(bytes(data))


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(ImageError, match=r"a JPEG 2000 picture of 12 bits(.|\n)*styleserve\[formats\]"):
        load_picture(file(levels_of(RAMP, 12), 12, GREY))
    assert_levels(file(levels_of(RAMP, 8), 8, GREY), levels_of(RAMP, 8) / 255)
