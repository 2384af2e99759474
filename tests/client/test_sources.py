"""Pictures from arrays and Pillow images."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from styleserve.client import Controls, ImageError, StyleClient, load_picture


def levels(image: Image.Image) -> Any:
    return np.asarray(image)


def test_every_form_of_a_picture_becomes_the_same(picture: Image.Image, tmp_path: Path) -> None:
    picture.save(tmp_path / "picture.png")
    pixels = levels(picture)
    for source in (
        tmp_path / "picture.png",
        str(tmp_path / "picture.png"),
        (tmp_path / "picture.png").read_bytes(),
        picture,
        picture.convert("RGBA"),
        pixels,
        pixels.astype(np.float32) / 255.0,
        pixels.astype(np.float64) / 255.0,
        pixels[::-1][::-1],
        np.asfortranarray(pixels),
        load_picture(picture),
    ):
        loaded = load_picture(source)
        np.testing.assert_array_equal(levels(loaded.image), pixels)
        with Image.open(io.BytesIO(loaded.encoded)) as sent:
            np.testing.assert_array_equal(levels(sent.convert("RGB")), pixels)
        assert loaded.notes == ()


def test_greys(picture: Image.Image) -> None:
    grey = levels(picture.convert("L"))
    for source in (grey, grey / 255.0):
        np.testing.assert_array_equal(levels(load_picture(source).image), np.stack([grey] * 3, axis=-1))


def test_an_image_of_pillow_is_treated_as_its_file_would_be(picture: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    picture.save(file, "JPEG", exif=exif.tobytes())
    with Image.open(io.BytesIO(file.getvalue())) as opened:
        from_image = load_picture(opened)
    assert from_image.image.tobytes() == load_picture(file.getvalue()).image.tobytes()
    assert from_image.image.size == (64, 48)
    clear = picture.copy()
    clear.putalpha(100)
    before = clear.tobytes()
    assert load_picture(clear).notes == ("transparent parts were laid on white",)
    assert clear.tobytes() == before


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((4, 5, 4), np.uint8), r"an array of the shape \[4, 5, 4\]"),
        (np.zeros((1, 4, 5, 3), np.uint8), r"an array of the shape \[1, 4, 5, 3\]"),
        (np.zeros(5, np.uint8), r"an array of the shape \[5\]"),
        (np.zeros((0, 5, 3), np.uint8), r"an array of the shape \[0, 5, 3\]"),
        (np.zeros((1, 5, 3), np.uint8), "5 x 1 pixels; at least"),
        (np.zeros((4, 5, 3), np.int64), "an array of int64"),
        (np.zeros((4, 5, 3), np.bool_), "an array of bool"),
        (np.full((4, 5, 3), 255.0), "floats from 255 to 255; allowed are 0 to 1"),
        (np.full((4, 5, 3), -0.1, np.float32), "floats from -0.1"),
        (np.full((4, 5, 3), np.nan, np.float32), "floats from nan"),
        ([[1, 2], [3, 4]], "of the type list"),
        (None, "of the type NoneType"),
        (7, "of the type int"),
        (io.BytesIO(b""), "of the type BytesIO"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_other_sources_are_refused(source: Any, message: str) -> None:
    with pytest.raises(ImageError, match=f"^the style.*{message}"):
        load_picture(source, name="the style")


def test_arrays_are_painted(stub: Any, picture: Image.Image) -> None:
    with StyleClient(stub.address) as client:
        result = client.stylize(levels(picture), picture, Controls(steps=0, max_side=64))
        assert ImageOps.invert(result.image).tobytes() == picture.tobytes()  # the stub paints the negative
        assert client.describe(levels(picture)).width == 48
