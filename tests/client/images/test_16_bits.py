"""Content of more than 8 bits a channel is sent with 16; pixels for everything else have 8."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from styleserve.client import Controls, StyleClient, load_picture
from styleserve.client.images.formats.png_writer import encode_png_16_bits
from styleserve.client.wire.tensors import to_array

from .files import chunk, encoded, levels_of_png, linear, packed, png, tiff

LEVELS = np.random.default_rng(1).integers(0, 2**16, (24, 40, 3), np.uint16)


def tiff_of(levels: Any, photometric: int = 2, *tags: Any) -> bytes:
    height, width, samples = levels.shape
    return tiff((width, height), [16] * samples, photometric, [levels.tobytes()], *tags)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_written_png_has_these_levels(channels: int) -> None:
    data = encode_png_16_bits(LEVELS[..., :channels])
    np.testing.assert_array_equal(levels_of_png(data), LEVELS[..., :channels])
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        high = LEVELS[..., 0] if channels == 1 else LEVELS >> 8
        np.testing.assert_array_equal(np.asarray(image), high)


@pytest.mark.parametrize("colour_type", [0, 2])
def test_a_plain_png_of_16_bits_is_sent_unchanged(colour_type: int) -> None:
    data = png(LEVELS[..., :1] if colour_type == 0 else LEVELS, 16, colour_type)
    kept, rounded = load_picture(data, keep_16_bits=True), load_picture(data)
    assert kept.encoded == data
    assert kept.image.tobytes() == rounded.image.tobytes()
    assert kept.image.mode == "RGB"
    assert rounded.encoded[24] == 8  # bits a channel in the header


@pytest.mark.parametrize(("photometric", "channels"), [(1, 1), (2, 3)])
def test_levels_of_a_tiff_survive_exactly(photometric: int, channels: int) -> None:
    levels = LEVELS[..., :channels]
    loaded = load_picture(tiff_of(levels, photometric), keep_16_bits=True)
    np.testing.assert_array_equal(levels_of_png(loaded.encoded), levels)
    assert np.abs(np.asarray(loaded.image) - levels / 257).max() <= 0.5


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (2, LEVELS[:, ::-1]),
        (3, LEVELS[::-1, ::-1]),
        (4, LEVELS[::-1]),
        (5, LEVELS.swapaxes(0, 1)),
        (6, LEVELS[::-1].swapaxes(0, 1)),
        (7, LEVELS[::-1, ::-1].swapaxes(0, 1)),
        (8, LEVELS[:, ::-1].swapaxes(0, 1)),
    ],
)
def test_the_orientation_keeps_16_bits(orientation: int, upright: Any) -> None:
    loaded = load_picture(tiff_of(LEVELS, 2, (274, 3, [orientation])), keep_16_bits=True)
    np.testing.assert_array_equal(levels_of_png(loaded.encoded), upright)


def test_transparency_is_laid_on_white_in_16_bits() -> None:
    alpha = np.arange(40)[None, :, None] * 6 * 257 + np.zeros((24, 1, 1), int)
    loaded = load_picture(png(np.concatenate([LEVELS, alpha], axis=-1), 16, 6), keep_16_bits=True)
    opacity = alpha / 65535
    assert np.abs(levels_of_png(loaded.encoded) - (LEVELS * opacity + 65535 * (1 - opacity))).max() <= 0.51


def test_a_colour_space_is_converted_in_16_bits() -> None:
    """Linear light, by gAMA, with dark levels that 8 bits of linear light would merge."""
    loaded = load_picture(png(LEVELS, 16, 2, chunk(b"gAMA", struct.pack(">I", 100_000))), keep_16_bits=True)
    signal = levels_of_png(loaded.encoded) / 65535
    assert np.abs(linear(signal) - LEVELS / 65535).max() * 65535 <= 2
    assert loaded.notes == ("converted from its gamma to sRGB",)


@pytest.mark.parametrize(
    "data",
    [
        encoded(Image.fromarray((LEVELS >> 8).astype(np.uint8)), "PNG"),
        encoded(Image.fromarray((LEVELS >> 8).astype(np.uint8)), "BMP"),
        tiff((40, 24), [5], 1, [packed(LEVELS[..., 0] >> 11, 5)]),
    ],
    ids=["png", "bmp", "tiff of 5 bits"],
)
def test_files_of_8_bits_or_fewer_are_sent_with_8(data: bytes) -> None:
    assert load_picture(data, keep_16_bits=True).encoded[24] == 8


def test_only_the_content_has_16_bits(stub: Any, tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    path.write_bytes(png(LEVELS, 16, 2))
    with StyleClient(stub.address) as client:
        client.stylize(path, path, Controls(steps=1, max_side=40), content_regions=path, start=path)
    inputs = stub.requests[-1].inputs

    def bits(name: str) -> set[int]:
        return {file[24] for file in to_array(inputs[name], name).reshape(-1)}

    assert bits("content_bytes") == {16}
    others = [name for name in inputs if name.endswith("_bytes") and name != "content_bytes"]
    assert "style_bytes" in others
    assert [bits(name) for name in others] == [{8}] * len(others)
