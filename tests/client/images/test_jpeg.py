"""JPEG and the other formats of the wire: what is sent unchanged is what TensorFlow decodes to the same pixels."""

from __future__ import annotations

import io
import struct
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from styleserve.client import ImageError, load_picture

from .files import COLOURS, PATCHES, as_srgb, chunk, encoded, exif, linear, patches, png, png_of_patches
from .test_png import HARMLESS, icc_of_patches

tf = pytest.importorskip("tensorflow")

PICTURE = Image.fromarray(PATCHES)


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def lossless_grey() -> bytes:
    """SOF3, of one level: two codes of 2 bits, 00 for no difference, 01 for one of 7 bits (ITU-T T.81, annex H)."""
    table = segment(0xC4, b"\0" + bytes([0, 2] + [0] * 14) + bytes([0, 7]))
    bits = "01" + format(200 - 128, "07b") + "00" * (16 * 16 - 1)
    bits += "1" * (-len(bits) % 8)
    scan = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)).replace(b"\xff", b"\xff\0")
    frame = segment(0xC3, struct.pack(">BHHB", 8, 16, 16, 1) + b"\1\x11\0")
    return b"\xff\xd8" + frame + table + segment(0xDA, b"\1\1\0\1\0\0") + scan + b"\xff\xd9"


def jpeg(image: Image.Image = PICTURE, **options: Any) -> bytes:
    return encoded(image, "JPEG", **{"quality": 95, "subsampling": 0, **options})


def animated_webp() -> bytes:
    """An animation of one frame, opaque."""
    still = encoded(PICTURE, "WEBP", lossless=True)[12:]
    width, height = ((side - 1).to_bytes(3, "little") for side in PICTURE.size)

    def part(kind: bytes, body: bytes) -> bytes:
        return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)

    frame = bytes(6) + width + height + (100).to_bytes(3, "little") + b"\0" + still
    body = part(b"VP8X", b"\x02\0\0\0" + width + height) + part(b"ANIM", bytes(6)) + part(b"ANMF", frame)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def in_two_parts(between: bytes) -> bytes:
    """A PNG with a chunk between the parts of its pixels."""
    data = png_of_patches()
    packed = data[41:-16]
    return data[:33] + chunk(b"IDAT", packed[:9]) + between + chunk(b"IDAT", packed[9:]) + data[-12:]


TEXT = chunk(b"tEXt", b"Comment\0" + b"x" * 500)
IRREGULAR_PNGS: dict[str, bytes] = {
    "text between the pixels": in_two_parts(TEXT),
    "digits in a name": png_of_patches(chunk(b"a1b2", b"x")),
    "digits in a name behind the pixels": png_of_patches()[:-12] + chunk(b"a1b2", b"x") + chunk(b"IEND", b""),
    "two palettes": png_of_patches(*[chunk(b"PLTE", bytes(6))] * 2),
    "empty palette": png_of_patches(chunk(b"PLTE", b"")),
    "cut in text": png_of_patches()[:-12] + TEXT[:-200],
    "cut in text, grey": png(PATCHES[..., :1], 8, 0, end=TEXT[:-200]),
    "cut in a second frame": png_of_patches(chunk(b"acTL", struct.pack(">2I", 2, 0)))[:-12] + TEXT[:9] + b"fdAT",
    "end with content": png_of_patches()[:-12] + chunk(b"IEND", b"x"),
}

FRAME = jpeg().index(b"\xff\xc0")
SCAN = jpeg().index(b"\xff\xda")

FILES: dict[str, bytes] = {
    "baseline": jpeg(),
    "halved colours": jpeg(subsampling=2),
    "progressive": jpeg(progressive=True),
    "optimised": jpeg(optimize=True),
    "restarts": jpeg(restart_marker_blocks=2),
    "grey": jpeg(PICTURE.convert("L")),
    "RGB without YCbCr": jpeg(keep_rgb=True),
    "CMYK": jpeg(PICTURE.convert("CMYK")),
    "comment and EXIF": jpeg(comment=b"x" * 60_000, exif=b"Exif\0\0" + exif(1)),
    "padding before a marker": jpeg()[:2] + b"\xff\xff\xff" + jpeg()[2:],
    "something behind": jpeg() + b"more",
    "another picture behind": jpeg() + jpeg(),
    "comment behind the scan": jpeg()[:-2] + segment(0xFE, b"text") + b"\xff\xd9",
    "lossless grey": lossless_grey(),
    "lossless RGB": bytes(imagecodecs.jpeg8_encode(PATCHES, lossless=True, predictor=1)),
    "MPO": encoded(PICTURE, "MPO", save_all=True, append_images=[PICTURE.rotate(180)], quality=95),
    "WebP": encoded(PICTURE, "WEBP", quality=95),
    "lossless WebP": encoded(PICTURE, "WEBP", lossless=True),
    "WebP with something behind": encoded(PICTURE, "WEBP", lossless=True) + b"more",
    "WebP with opaque alpha": encoded(PICTURE.convert("RGBA"), "WEBP", lossless=True),
    "WebP, animated with one frame": animated_webp(),
    "GIF": encoded(PICTURE, "GIF"),
    "BMP": encoded(PICTURE, "BMP"),
    "PNG": png_of_patches(),
    "PNG in two parts": in_two_parts(b""),
    **{f"PNG, {name}": data for name, data in IRREGULAR_PNGS.items()},
    "PNG with text": png_of_patches(chunk(b"tEXt", b"Software\0x")),
    **{f"PNG, {name}": png_of_patches(harmless) for name, harmless in HARMLESS.items()},
}
UNCHANGED = {
    "baseline",
    "halved colours",
    "progressive",
    "optimised",
    "restarts",
    "grey",
    "RGB without YCbCr",
    "comment and EXIF",
    "padding before a marker",
    "comment behind the scan",
    "MPO",
    "WebP",
    "lossless WebP",
    "WebP with opaque alpha",  # which libwebp leaves out
    "PNG",
    "PNG with text",
    "PNG in two parts",
    "PNG, unknown",
}


@pytest.mark.parametrize("name", FILES)
def test_tensorflow_decodes_the_file_to_the_same_pixels(name: str) -> None:
    data = FILES[name]
    loaded = load_picture(data)
    decoded = tf.io.decode_image(loaded.encoded, channels=3, expand_animations=False).numpy().astype(int)
    lossy_webp = name == "WebP"  # decoders differ in how they interpolate colours
    assert np.abs(decoded - np.asarray(loaded.image)).max() <= (16 if lossy_webp else 1)
    assert (loaded.encoded == data) == (name in UNCHANGED)


def test_a_jpeg_of_12_bits_is_refused() -> None:
    data = bytes(imagecodecs.jpeg8_encode(PATCHES.astype(np.uint16) * 16, bitspersample=12, level=95))
    with pytest.raises(ImageError, match="is a JPEG of 12 bits, which is not supported"):
        load_picture(data)


def in_the_scan(part: bytes) -> bytes:
    data = jpeg(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)))
    middle = (data.index(b"\xff\xda") + len(data)) // 2
    return data[:middle] + part + data[middle:]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(in_the_scan(b"\xff\xe1\xff\xff"), id="in the scan"),
        pytest.param(jpeg()[:-2] + b"\xff\xe1\xff\xff\xff\xd9", id="behind the scan"),
        pytest.param(jpeg()[:FRAME] + b"\xff\xe1\xff\xff" + jpeg()[FRAME:], id="before the frame"),
        pytest.param(jpeg()[: SCAN + 6], id="header of the scan"),
        pytest.param(FILES["MPO"][: FILES["MPO"].index(b"\xff\xda") + 6], id="MPO"),
    ],
)
def test_a_segment_that_is_longer_than_the_file_is_refused(data: bytes) -> None:
    """libjpeg fills the missing pixels with grey, and the service decodes no such file."""
    with pytest.raises(ImageError, match="damaged or cut short: it ends inside a segment"):
        load_picture(data)


def test_markers_without_end() -> None:
    for body in (b"\xff\1" * 500_000, b"\xff" * 1_000_000, b"\xff\xda\0\2" * 250_000):
        with pytest.raises(ImageError):
            load_picture(b"\xff\xd8" + body)


def test_a_jpeg_ls_is_refused_by_name() -> None:
    with pytest.raises(ImageError, match="is a JPEG-LS picture, which is not supported"):
        load_picture(bytes(imagecodecs.jpegls_encode(PATCHES)))


@pytest.mark.parametrize(
    ("numbers", "count", "notes"),
    [
        ((1, 2), 2, ("converted from sRGB built-in to sRGB",)),
        ((2, 1), 2, ("converted from sRGB built-in to sRGB",)),
        ((1, 3), 3, ("its colour profile is damaged and was not used",)),
        ((1,), 2, ("its colour profile is damaged and was not used",)),
    ],
)
def test_a_profile_in_segments(numbers: tuple[int, ...], count: int, notes: tuple[str, ...]) -> None:
    profile = icc_of_patches()
    parts = {1: profile[:1000], 2: profile[1000:], 3: b"rest"}
    segments = (segment(0xE2, b"ICC_PROFILE\0" + bytes([number, count]) + parts[number]) for number in numbers)
    loaded = load_picture(jpeg()[:2] + b"".join(segments) + jpeg()[2:])
    assert loaded.notes == notes
    damaged = "damaged" in notes[0]
    expected = COLOURS if damaged else as_srgb(linear(COLOURS / 255)[:, [1, 0, 2]])
    assert np.abs(patches(loaded.image) - expected).max() <= 4


def test_lossless_jpegs_are_read_right() -> None:
    assert set(np.unique(np.asarray(load_picture(lossless_grey()).image))) == {200}
    np.testing.assert_array_equal(np.asarray(load_picture(FILES["lossless RGB"]).image), PATCHES)


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP", "MPO"])
@pytest.mark.parametrize(
    ("color_space", "index", "converted"),
    [(0xFFFF, b"R03", True), (2, b"", True), (0xFFFF, b"", False), (0xFFFF, b"R98", False), (1, b"R98", False)],
)
def test_adobe_rgb_by_exif(file_format: str, color_space: int, index: bytes, converted: bool) -> None:
    options = {"lossless": True} if file_format == "WEBP" else {"quality": 100, "subsampling": 0}
    data = encoded(PICTURE, file_format, exif=b"Exif\0\0" + exif(color_space, index), **options)
    loaded = load_picture(data)
    expected = [[230, 79, 56], [0, 201, 67], [99, 57, 205], [255, 181, 150]] if converted else COLOURS[:4]
    assert np.abs(patches(loaded.image)[:4] - expected).max() <= 3
    assert loaded.notes == (("converted from Adobe RGB to sRGB",) if converted else ())
    assert (loaded.encoded == data) != converted
    with Image.open(io.BytesIO(loaded.encoded)) as sent:
        assert np.abs(np.asarray(sent.convert("RGB"), int) - np.asarray(loaded.image)).max() <= 1


def test_a_profile_comes_before_exif() -> None:
    loaded = load_picture(jpeg(icc_profile=icc_of_patches(), exif=b"Exif\0\0" + exif(0xFFFF, b"R03")))
    swapped = as_srgb(
        np.where(COLOURS / 255 <= 0.04045, COLOURS / 255 / 12.92, ((COLOURS / 255 + 0.055) / 1.055) ** 2.4)
    )
    assert np.abs(patches(loaded.image) - swapped[:, [1, 0, 2]]).max() <= 4
