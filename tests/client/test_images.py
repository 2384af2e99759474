"""Pictures in all formats that Pillow writes: pixels, notes, refusals, and the file that is sent."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from styleserve import contract
from styleserve.client import ImageError, Picture, load_picture
from styleserve.client.images import files, reading
from styleserve.client.images.pillow_warnings import ignore_warnings

from .images.files import chunk, encoded


def pixels(image: Image.Image) -> Any:
    return np.asarray(image, dtype=np.int16)


def assert_close(image: Image.Image, expected: Image.Image, tolerance: int = 0) -> None:
    assert image.mode == expected.mode == "RGB"
    assert image.size == expected.size
    assert np.abs(pixels(image) - pixels(expected)).max() <= tolerance


def assert_sent_losslessly(picture: Picture) -> None:
    """A decoder that ignores all metadata gets the pixels that were loaded."""
    with Image.open(io.BytesIO(picture.encoded)) as sent:
        assert sent.format in {name.upper() for name in contract.ENCODED_FORMATS} | {"MPO"}
        assert_close(sent.convert("RGB"), picture.image)


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(
        ImageCms.createProfile("sRGB")  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    ).tobytes()


def swapped_profile() -> bytes:
    """sRGB's own profile, name and all, with red and green swapped."""
    profile = bytearray(srgb_profile())
    count = struct.unpack(">I", profile[128:132])[0]
    tags = {bytes(profile[at : at + 4]): at + 4 for at in range(132, 132 + 12 * count, 12)}
    red, green = (tags[name] for name in (b"rXYZ", b"gXYZ"))
    profile[red : red + 8], profile[green : green + 8] = profile[green : green + 8], profile[red : red + 8]
    return bytes(profile)


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("PNG", {}),
        ("JPEG", {"quality": 90}),
        ("JPEG", {"quality": 90, "progressive": True}),
        ("WEBP", {"lossless": True}),
    ],
    ids=["png", "jpeg", "progressive", "webp"],
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_plain_file_is_sent_unchanged(
    picture: Image.Image, file_format: str, options: dict[str, Any], mode: str
) -> None:
    data = encoded(picture.convert(mode), file_format, **options)
    loaded = load_picture(data)
    assert loaded.encoded == data
    assert loaded.notes == ()
    assert_close(loaded.image, Image.open(io.BytesIO(data)).convert("RGB"))


def test_a_profile_that_is_srgb_changes_nothing(picture: Image.Image) -> None:
    data = encoded(picture, "PNG", icc_profile=srgb_profile())
    loaded = load_picture(data)
    assert loaded.encoded == data
    assert loaded.notes == ()


@pytest.mark.parametrize(
    ("file_format", "options"),
    [("GIF", {}), ("BMP", {}), ("TIFF", {}), ("PPM", {}), ("JPEG2000", {"irreversible": False})],
)
def test_other_formats_are_sent_as_png(picture: Image.Image, file_format: str, options: dict[str, Any]) -> None:
    picture = picture.quantize(16).convert("RGB")
    loaded = load_picture(encoded(picture, file_format, **options))
    assert loaded.encoded.startswith(b"\x89PNG")
    assert_close(loaded.image, picture)
    assert_sent_losslessly(loaded)


@pytest.mark.parametrize("exif", [b"Exif\0\0" + bytes(60), b"MM\0*\xff\xff\xff\xff", b"\xff" * 20], ids=repr)
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif_data_is_left_out(picture: Image.Image, file_format: str, exif: bytes) -> None:
    file = io.BytesIO()
    picture.save(file, file_format, exif=exif)
    assert load_picture(file.getvalue()).image.size == picture.size


def test_pictures_read_at_once_leave_the_warnings_of_the_process_alone(
    picture: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads, of which the first to begin is the first to end."""
    good, began, may_end = reading._prepare, dict[str, threading.Event](), dict[str, threading.Event]()

    def prepared(decoded: Any, limit: Any, name: str, *, keep_16_bits: bool) -> Picture:
        began[name].set()
        assert may_end[name].wait(60)
        warnings.warn("damaged metadata", UserWarning, stacklevel=1)
        return good(decoded, limit, name, keep_16_bits=keep_16_bits)

    monkeypatch.setattr(reading, "_prepare", prepared)
    names = ("first", "second")
    before = warnings.filters
    with ThreadPoolExecutor(2) as executor:
        results: list[Future[Picture]] = []
        for name in names:
            began[name], may_end[name] = threading.Event(), threading.Event()
            results.append(executor.submit(load_picture, picture, name=name))
            assert began[name].wait(60)
        with pytest.raises(UserWarning, match="of another thread"):  # pytest's filter makes it an error
            warnings.warn("of another thread", UserWarning, stacklevel=1)
        for name, future in zip(names, results, strict=True):
            may_end[name].set()
            assert_close(future.result(60).image, picture)
    assert warnings.filters is before
    with pytest.raises(UserWarning, match="afterwards"):
        warnings.warn("afterwards", UserWarning, stacklevel=1)


def test_filters_that_come_later_are_put_behind() -> None:
    for _ in range(3):
        warnings.simplefilter("error", RuntimeWarning)
        with ignore_warnings():
            warnings.warn("unheard", RuntimeWarning, stacklevel=1)
        with pytest.raises(RuntimeWarning):
            warnings.warn("heard", RuntimeWarning, stacklevel=1)
    assert sum(each[1].__class__.__name__ == "_InIgnoringThread" for each in warnings.filters) == 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_pictures_stand_upright(picture: Image.Image, orientation: int, file_format: str) -> None:
    lying = {
        1: picture,
        2: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: picture.transpose(Image.Transpose.ROTATE_180),
        4: picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: picture.transpose(Image.Transpose.TRANSPOSE),
        6: picture.transpose(Image.Transpose.ROTATE_90),
        7: picture.transpose(Image.Transpose.TRANSVERSE),
        8: picture.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(file_format, {})
    loaded = load_picture(encoded(lying, file_format, exif=exif.tobytes(), **options))
    assert_close(loaded.image, picture, tolerance=12 if file_format == "JPEG" else 0)
    assert_sent_losslessly(loaded)


def test_transparent_parts_are_laid_on_white(picture: Image.Image) -> None:
    alpha = Image.new("L", picture.size, 255)
    alpha.paste(0, (0, 0, 10, 10))
    alpha.paste(128, (10, 0, 20, 10))
    transparent = picture.copy()
    transparent.putalpha(alpha)
    loaded = load_picture(encoded(transparent, "PNG"))
    assert loaded.image.getpixel((3, 3)) == (255, 255, 255)
    half = loaded.image.getpixel((12, 3))
    assert isinstance(half, tuple)
    assert half[0] == pytest.approx((int(pixels(picture)[3, 12, 0]) * 128 + 255 * 127) / 255, abs=1)
    assert loaded.image.getpixel((30, 30)) == picture.getpixel((30, 30))
    assert loaded.notes == ("transparent parts were laid on white",)
    assert_sent_losslessly(loaded)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_an_opaque_alpha_channel_changes_nothing(picture: Image.Image, mode: str) -> None:
    with_alpha = picture.convert("L").convert(mode)
    loaded = load_picture(encoded(with_alpha, "PNG"))
    assert loaded.notes == ()
    assert_close(loaded.image, picture.convert("L").convert("RGB"))


def test_a_palette_with_transparency(picture: Image.Image) -> None:
    palette = picture.quantize(16)
    index = palette.getpixel((0, 0))
    loaded = load_picture(encoded(palette, "PNG", transparency=index))
    assert loaded.image.getpixel((0, 0)) == (255, 255, 255)
    assert loaded.notes == ("transparent parts were laid on white",)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "PPM"])
def test_16_bit_greys_are_scaled_and_not_clipped(file_format: str) -> None:
    levels = np.linspace(0, 65535, 64 * 32).astype(np.uint16).reshape(32, 64)
    loaded = load_picture(encoded(Image.fromarray(levels), file_format))
    expected = np.rint(levels / 257.0).astype(np.uint8)
    np.testing.assert_array_equal(pixels(loaded.image)[..., 0], expected)
    assert_sent_losslessly(loaded)


def test_16_bit_greys_with_a_transparent_one() -> None:
    levels = np.linspace(0, 65535, 64 * 32).astype(np.uint16).reshape(32, 64)
    level = int(levels[5, 7])
    loaded = load_picture(encoded(Image.fromarray(levels), "PNG", transparency=level))
    expected = np.where(levels == level, 255, np.rint(levels / 257.0)).astype(np.uint8)
    np.testing.assert_array_equal(pixels(loaded.image)[..., 0], expected)
    assert loaded.notes == ("transparent parts were laid on white",)
    assert_sent_losslessly(loaded)


def test_16_bit_rgb_is_not_sent_unchanged() -> None:
    width, height = 4, 3
    row = b"\0" + struct.pack(">3H", 0x1234, 0x8000, 0xFFFF) * width
    data = png(width, height, zlib.compress(row * height), bit_depth=16)
    loaded = load_picture(data)
    assert loaded.encoded != data
    assert loaded.image.getpixel((0, 0)) == (0x12, 0x80, 0xFF)


def test_floats_are_read_where_their_range_is_clear() -> None:
    levels = np.linspace(0, 1, 32 * 16, dtype=np.float32).reshape(16, 32)
    loaded = load_picture(encoded(Image.fromarray(levels), "TIFF"))
    assert pixels(loaded.image).max() == 255
    with pytest.raises(ImageError, match="from 0 to 100"):
        load_picture(encoded(Image.fromarray(levels * 100), "TIFF"))


def test_black_and_white(picture: Image.Image) -> None:
    bitmap = picture.convert("1")
    loaded = load_picture(encoded(bitmap, "PNG"))
    assert_close(loaded.image, bitmap.convert("RGB"))
    assert_sent_losslessly(loaded)


def test_cmyk_without_a_profile_is_said_to_be_a_guess(picture: Image.Image) -> None:
    loaded = load_picture(encoded(picture.convert("CMYK"), "JPEG", quality=95))
    assert loaded.notes == ("CMYK without a colour profile: its colours are a guess",)
    assert_close(loaded.image, picture, tolerance=40)
    assert_sent_losslessly(loaded)


def test_a_foreign_colour_profile_is_converted(picture: Image.Image) -> None:
    loaded = load_picture(encoded(picture, "PNG", icc_profile=swapped_profile()))
    assert len(loaded.notes) == 1
    assert loaded.notes[0].startswith("converted from ")
    assert np.abs(pixels(loaded.image) - pixels(picture)).max() > 50
    assert "icc_profile" not in Image.open(io.BytesIO(loaded.encoded)).info
    assert_sent_losslessly(loaded)


@pytest.mark.parametrize(
    ("mode", "profile", "note"),
    [
        ("RGB", b"no profile at all", "its colour profile is damaged and was not used"),
        ("L", srgb_profile(), "its colour profile is for RGB and was not used"),
    ],
    ids=["damaged", "mismatch"],
)
def test_a_useless_profile_is_left_out(picture: Image.Image, mode: str, profile: bytes, note: str) -> None:
    picture = picture.convert(mode)
    loaded = load_picture(encoded(picture, "PNG", icc_profile=profile))
    assert loaded.notes == (note,)
    assert_close(loaded.image, picture.convert("RGB"))


def grey_ink_profile() -> bytes:
    """A CMYK profile of version 2 in which cyan, magenta and yellow are all greys."""
    inks = np.mgrid[0:2, 0:2, 0:2, 0:2].reshape(4, -1).T
    lightness = [round(255 * (1 - cmyk[3]) * (1 - cmyk[:3].mean())) for cmyk in inks]
    identity = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    cells = b"".join(bytes((light, 128, 128)) for light in lightness)  # Lab: 128 is no colour
    table = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + identity + bytes(range(256)) * 4 + cells + bytes(range(256)) * 3
    name = b"Grey inks"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(name) + 1) + name + b"\0" * (1 + 8 + 3 + 67)
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    tags, body, start = b"", b"", 128 + 4 + 3 * 12
    for kind, content in ((b"A2B0", table), (b"desc", description), (b"wtpt", white)):
        tags += kind + struct.pack(">2I", start + len(body), len(content))
        body += content + b"\0" * (-len(content) % 4)
    header = struct.pack(">I4sI4s4s4s", start + len(body), b"lcms", 0x02100000, b"prtr", b"CMYK", b"Lab ")
    header += b"\0" * 12 + b"acsp" + b"\0" * 28 + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I", 3) + tags + body


def test_cmyk_with_a_profile_is_converted_by_it() -> None:
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    loaded = load_picture(encoded(cyan, "JPEG", quality=95, icc_profile=grey_ink_profile()))
    assert loaded.notes == ("converted from Grey inks to sRGB",)
    levels = pixels(loaded.image)
    assert np.ptp(levels, axis=-1).max() <= 2
    assert 150 < levels.mean() < 170  # L* of 67
    assert_sent_losslessly(loaded)


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "TIFF", "PNG"])
def test_the_first_frame_is_used(picture: Image.Image, file_format: str) -> None:
    first = picture.quantize(16).convert("RGB")
    others = [Image.new("RGB", picture.size, colour) for colour in ("red", "blue")]
    options: dict[str, Any] = {"lossless": True} if file_format == "WEBP" else {}
    loaded = load_picture(encoded(first, file_format, save_all=True, append_images=others, **options))
    assert loaded.notes == ("only the first of 3 frames is used",)
    assert_close(loaded.image, first)
    assert_sent_losslessly(loaded)


def png(width: int, height: int, body: bytes, bit_depth: int = 8) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bit_depth, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1)], ids=str)
def test_a_point_or_a_line_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match=f"{size[0]} x {size[1]} pixels; at least 2 x 2"):
        load_picture(encoded(Image.new("RGB", size), "PNG"))


@pytest.mark.parametrize("size", [(0, 0), (0, 5)], ids=str)
def test_no_pixels_at_all(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError):
        load_picture(png(*size, zlib.compress(b"")))


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_file_cut_short_is_refused(file_format: str, part: float) -> None:
    noise = Image.effect_noise((64, 64), 80).convert("RGB")
    data = encoded(noise, file_format)
    with pytest.raises(ImageError):
        load_picture(data[: int(len(data) * part)])


@pytest.mark.parametrize("data", [b"", b"hello", b"%PDF-1.4 ...", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(ImageError, match="the style"):
        load_picture(data, name="the style")


def test_trouble_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"there is no file .*nowhere\.png"):
        load_picture(tmp_path / "nowhere.png")
    with pytest.raises(ImageError, match="is a folder"):
        load_picture(tmp_path)
    with pytest.raises(ImageError, match="cannot be read"):
        load_picture("null\0byte.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(ImageError, match="is empty"):
        load_picture(tmp_path / "empty.png")


def test_an_endless_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "long.png").write_bytes(b"\0" * 2_000_000)
    with pytest.raises(ImageError, match="more than the 1,048,656 bytes"):
        files.read_file(tmp_path / "long.png", max_bytes=1_048_656)
    assert files.MAX_FILE_BYTES == 2**31 + 2**20


def test_the_readers_of_the_extras_are_imported_only_where_they_are_needed() -> None:
    code = (
        "import io, sys; from PIL import Image; from styleserve.client import load_picture\n"
        "for kind in ('PNG', 'JPEG', 'TIFF', 'JPEG2000', 'AVIF'):\n"
        "    file = io.BytesIO(); Image.new('RGB', (20, 20)).save(file, kind); load_picture(file.getvalue())\n"
        "print({'tifffile', 'imagecodecs', 'pillow_heif'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_pixels_are_batched_floats(picture: Image.Image) -> None:
    loaded = load_picture(encoded(picture, "PNG"))
    same = loaded.pixels(picture.size)
    assert same.dtype == np.float32
    assert same.shape == (1, 64, 48, 3)
    np.testing.assert_array_equal(np.rint(same[0] * 255), pixels(picture))
    assert Picture.from_pixels(same[0], name="x").image.tobytes() == picture.tobytes()


@pytest.mark.parametrize(
    ("size", "max_side", "expected"), [((96, 64), 48, (48, 32)), ((3, 300), 30, (1, 30)), ((10, 20), 40, (20, 40))]
)
def test_sizes_keep_their_proportions(size: tuple[int, int], max_side: int, expected: tuple[int, int]) -> None:
    assert Picture("x", Image.new("RGB", size), b"").size_within(max_side) == expected


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_the_limit_of_pixels_is_the_callers(file_format: str) -> None:
    data = encoded(Image.new("RGB", (50, 40)), file_format)
    assert load_picture(data, max_pixels=2000, reduce=False).image.size == (50, 40)
    with pytest.raises(ImageError, match="50 x 40 = 2,000 pixels; 1,999 are allowed"):
        load_picture(data, max_pixels=1999, reduce=False)


def test_pillows_own_limit_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's limit holds for the whole process, which the client does not own."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for file_format in ("PNG", "JPEG", "GIF", "BMP", "PPM", "AVIF", "JPEG2000", "WEBP", "TIFF"):
        assert load_picture(encoded(Image.new("RGB", (50, 40)), file_format)).image.size == (50, 40)
    for compression in ("jpeg", "tiff_lzw"):
        data = encoded(Image.new("RGB", (50, 40)), "TIFF", compression=compression)
        assert load_picture(data).image.size == (50, 40)
        assert load_picture(data, max_pixels=500).image.size == (25, 20)
