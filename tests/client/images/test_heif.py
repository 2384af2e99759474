"""AVIF and HEIC: colours declared in the container, depth, and the extra."""

from __future__ import annotations

import io
import struct
import sys
from typing import Any

import imagecodecs
import numpy as np
import pillow_heif
import pytest
from PIL import Image, features

from styleserve.client import ImageError, load_picture
from styleserve.client.images.files import picture_extensions
from styleserve.client.images.formats import av1

from .files import ADOBE, BT2020, COLOURS, P3, PATCHES, as_srgb, box, bt709_linear, encoded, exif, linear, patches
from .test_png import icc_of_patches

NCLX_OF_SRGB = b"colrnclx" + struct.pack(">HH", 1, 13)


def avif(levels: Any = PATCHES, **options: Any) -> bytes:
    return encoded(Image.fromarray(levels), "AVIF", quality=100, subsampling="4:4:4", **options)


def heic(levels: Any = PATCHES, mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    image = pillow_heif.from_bytes(mode, (levels.shape[1], levels.shape[0]), levels.tobytes())
    image.save(file, quality=100, chroma=444, **options)
    return file.getvalue()


WRITERS = [
    pytest.param(avif, id="AVIF", marks=pytest.mark.skipif(not features.check("avif"), reason="Pillow without AVIF")),
    pytest.param(heic, id="HEIC"),
]
both = pytest.mark.parametrize("write", WRITERS)


def with_code_points(data: bytes, primaries: int, transfer: int) -> bytes:
    """The same pixels, declared otherwise; the matrix of YCbCr stays."""
    assert data.count(NCLX_OF_SRGB) == 1
    return data.replace(NCLX_OF_SRGB, b"colrnclx" + struct.pack(">HH", primaries, transfer))


@both
@pytest.mark.parametrize(
    ("code_points", "expected"),
    [
        pytest.param((1, 13), COLOURS, id="sRGB"),
        pytest.param((2, 2), COLOURS, id="unspecified"),
        pytest.param((12, 13), as_srgb(linear(COLOURS / 255), P3), id="Display P3"),
        pytest.param((9, 14), as_srgb(bt709_linear(COLOURS / 255), BT2020), id="BT.2020"),
        pytest.param((1, 1), as_srgb(bt709_linear(COLOURS / 255)), id="BT.709"),
        pytest.param((1, 4), as_srgb((COLOURS / 255) ** 2.2), id="gamma 2.2"),
    ],
)
def test_colours_by_code_points(write: Any, code_points: tuple[int, int], expected: Any) -> None:
    loaded = load_picture(with_code_points(write(), *code_points))
    assert np.abs(patches(loaded.image) - expected).max() <= 4
    assert len(loaded.notes) == (expected is not COLOURS)


@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.parametrize("pixel_format", ["444", "420"])
@pytest.mark.parametrize(
    ("code_points", "expected"),
    [((1, 13), COLOURS), ((2, 2), COLOURS), ((12, 13), as_srgb(linear(COLOURS / 255), P3))],
)
def test_avif_colours_by_the_bitstream_alone(
    code_points: tuple[int, int], expected: Any, pixel_format: str, depth: int
) -> None:
    """As without a box `colr`, which comes first."""
    data = avif_of_bitstream(*code_points, pixel_format, depth)
    loaded = load_picture(data)
    assert np.abs(patches(loaded.image) - expected).max() <= 4
    assert len(loaded.notes) == (expected is not COLOURS)


def avif_of_bitstream(primaries: int, transfer: int, pixel_format: str = "444", depth: int = 8) -> bytes:
    levels = PATCHES if depth == 8 else np.rint(PATCHES / 255 * 1023).astype(np.uint16)
    data = bytes(
        imagecodecs.avif_encode(
            levels,
            level=100,
            pixelformat=pixel_format,
            bitspersample=depth,
            primaries=primaries,
            transfer=transfer,
            matrix=6,
        )
    )
    assert data.count(b"colrnclx") == 1
    return data.replace(b"colrnclx", b"freenclx")


def test_hdr_in_the_bitstream_alone_is_refused() -> None:
    with pytest.raises(ImageError, match=r"HDR picture \(PQ\)"):
        load_picture(avif_of_bitstream(9, 16))


@pytest.mark.parametrize("length", [0, 1, 2, 3, 5, 9])
def test_a_sequence_header_cut_short_declares_nothing(length: int) -> None:
    header = bytes.fromhex("12000a083814fffe50c0d069")
    assert av1.code_points(header) == (12, 13)
    assert av1.code_points(header[:length]) is None


@both
@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_refused_by_name(write: Any, transfer: int, name: str) -> None:
    with pytest.raises(ImageError, match=rf"HDR picture \({name}\)"):
        load_picture(with_code_points(write(), 9, transfer))


@both
def test_a_profile_comes_before_code_points(write: Any) -> None:
    loaded = load_picture(write(icc_profile=icc_of_patches()))
    assert np.abs(patches(loaded.image) - as_srgb(linear(COLOURS / 255)[:, [1, 0, 2]])).max() <= 4


@both
def test_adobe_rgb_by_exif_where_nothing_else_is_declared(write: Any) -> None:
    data = write(exif=b"Exif\0\0" + exif(0xFFFF, b"R03"))
    adobe = as_srgb((COLOURS / 255) ** (563 / 256), ADOBE)
    assert np.abs(patches(load_picture(with_code_points(data, 2, 2)).image) - adobe).max() <= 4
    assert np.abs(patches(load_picture(data).image) - COLOURS).max() <= 3


@both
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_the_container_turns_the_picture_once(write: Any, orientation: int) -> None:
    data = write(exif=b"Exif\0\0" + exif(1, orientation=orientation))
    turned = np.rot90(PATCHES, {3: 2, 6: -1, 8: 1}[orientation])
    got = np.asarray(load_picture(data).image).astype(int)
    assert got.shape == turned.shape
    assert np.abs(got - turned)[4:-4, 4:-4].mean() < 3


@both
def test_alpha_is_laid_on_white(write: Any) -> None:
    alpha = np.full((16, 80, 1), 255, np.uint8)
    alpha[:, :16] = 0
    levels = np.concatenate([PATCHES, alpha], -1)
    loaded = load_picture(avif(levels) if write is avif else heic(levels, "RGBA"))
    assert np.abs(patches(loaded.image) - np.concatenate([[[255] * 3], COLOURS[1:]])).max() <= 3
    assert loaded.notes == ("transparent parts were laid on white",)


def test_10_bits_are_rounded_to_8() -> None:
    levels = np.repeat(np.repeat(np.arange(0, 65536, 257 * 17, dtype=np.uint16), 16)[None], 16, 0)
    data = heic(np.stack([levels] * 3, -1), "RGB;16")
    assert pillow_heif.open_heif(data, convert_hdr_to_8bit=False, hdr_to_16bit=False).mode == "RGB;10"
    np.testing.assert_array_equal(np.asarray(load_picture(data).image)[8, 8::16, 0], np.arange(0, 256, 17))


def test_the_main_picture_is_used() -> None:
    file = io.BytesIO()
    several = pillow_heif.from_bytes("RGB", (80, 16), PATCHES.tobytes())
    several.add_from_pillow(Image.new("RGB", (64, 64), "red"))
    several.save(file, quality=100, chroma=444)
    loaded = load_picture(file.getvalue())
    assert loaded.notes == ("only the main one of 2 pictures is used",)
    assert np.abs(patches(loaded.image) - COLOURS).max() <= 3


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1"])
def test_without_the_extra_the_error_names_it(brand: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    data = heic()
    with pytest.raises(ImageError, match=r"is a HEIC picture(.|\n)*styleserve\[heif\]"):
        load_picture(data[:8] + brand + data[12:])


def test_a_folder_lists_them_so_that_the_error_can_name_the_extra() -> None:
    assert {".heic", ".heif", ".hif", ".avif", ".png", ".tif"} <= picture_extensions()


@both
def test_a_size_that_is_only_claimed_is_refused(write: Any) -> None:
    """Also where a crop would leave little of it: it is decoded whole."""
    data = write()
    at = data.index(b"ispe") + 8
    with pytest.raises(ImageError, match="268,435,456 are allowed"):
        load_picture(data[:at] + struct.pack(">II", 20_000, 20_000) + data[at + 8 :])


@both
@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_a_file_cut_short_is_refused(write: Any, part: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = write(noise)
    with pytest.raises(ImageError):
        load_picture(data[: int(len(data) * part)])


@both
@pytest.mark.parametrize("name", [b"meta", b"iprp", b"ipco", b"ipma", b"pitm", b"colr"])
@pytest.mark.parametrize("size", [0, 1, 7, 9, 2**31])
def test_boxes_that_lie_about_their_size(write: Any, name: bytes, size: int) -> None:
    data = write()
    at = data.index(name) - 4
    try:
        picture = load_picture(data[:at] + struct.pack(">I", size) + data[at + 4 :])
    except ImageError:
        return
    assert picture.image.size == (80, 16)


def test_boxes_without_end() -> None:
    nested = b""
    for _ in range(2000):
        nested = box(b"meta", bytes(4) + nested)
    with pytest.raises(ImageError):
        load_picture(box(b"ftyp", b"avif\0\0\0\0avif") + nested)
    with pytest.raises(ImageError):
        load_picture(box(b"ftyp", b"avif\0\0\0\0avif") + struct.pack(">I4s", 8, b"free") * 100_000)
