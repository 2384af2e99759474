"""Large pictures: averages of boxes, in every format and mode, and bombs that are refused from their headers."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from styleserve.client import ImageError, load_picture
from styleserve.client.images.reduction import MAX_DECLARED_PIXELS

from .files import chunk, encoded, exif, levels_of_png, png, tiff

WIDTH, HEIGHT = 61, 47  # no multiple of a factor, so boxes at the margins are smaller


def gradient(largest: int, channels: int = 3) -> Any:
    """`[height, width, channels]` of slopes from 0 to `largest`."""
    x, y = np.linspace(0, 1, WIDTH)[None, :], np.linspace(0, 1, HEIGHT)[:, None]
    slopes = [x + 0 * y, y + 0 * x, (x + y) / 2, 1 - (x + y) / 4]
    return np.rint(np.stack(slopes[:channels], axis=-1) * largest).astype(np.uint16)


def box_average(levels: Any, factor: int) -> Any:
    """Averages by definition, box by box."""
    height, width, channels = levels.shape
    rows, columns = -(-height // factor), -(-width // factor)
    found = np.empty((rows, columns, channels))
    for row in range(rows):
        for column in range(columns):
            box = levels[row * factor : (row + 1) * factor, column * factor : (column + 1) * factor]
            found[row, column] = box.reshape(-1, channels).mean(axis=0)
    return found


RGB = Image.fromarray(gradient(255).astype(np.uint8))
FILES: dict[str, Callable[[], bytes]] = {
    "JPEG": lambda: encoded(RGB, "JPEG", quality=100, subsampling=0),
    "progressive JPEG": lambda: encoded(RGB, "JPEG", quality=100, subsampling=0, progressive=True),
    "PNG": lambda: encoded(RGB, "PNG"),
    "PNG of 16 bits": lambda: png(gradient(65535), 16, 2),
    "WebP": lambda: encoded(RGB, "WEBP", lossless=True),
    "BMP": lambda: encoded(RGB, "BMP"),
    "PPM": lambda: encoded(RGB, "PPM"),
    "TIFF": lambda: encoded(RGB, "TIFF"),
    "TIFF of LZW": lambda: encoded(RGB, "TIFF", compression="tiff_lzw"),
    "TIFF of JPEG": lambda: encoded(RGB, "TIFF", compression="jpeg", quality=100),
    "TIFF in strips": lambda: tiff(
        (WIDTH, HEIGHT), [16] * 3, 2, [gradient(65535)[row : row + 5].tobytes() for row in range(0, HEIGHT, 5)], ROWS
    ),
    "TIFF in planes, big-endian": lambda: tiff(
        (WIDTH, HEIGHT),
        [16] * 3,
        2,
        [gradient(65535)[..., plane].astype(">u2").tobytes() for plane in range(3)],
        (284, 3, [2]),
        order=">",
    ),
    "JPEG 2000": lambda: encoded(RGB, "JPEG2000", irreversible=False),
    "AVIF": lambda: encoded(RGB, "AVIF", quality=100, subsampling="4:4:4"),
}
ROWS = (278, 4, [5])


@pytest.mark.parametrize("factor", [2, 3, 4, 10])
@pytest.mark.parametrize("kind", FILES)
def test_a_reduced_picture_is_the_average_of_boxes(kind: str, factor: int) -> None:
    width, height = -(-WIDTH // factor), -(-HEIGHT // factor)
    data = FILES[kind]()
    loaded = load_picture(data, max_pixels=width * height)
    assert loaded.image.size == (width, height)
    assert loaded.notes == (f"reduced from {WIDTH} x {HEIGHT} to {width} x {height} pixels",)
    # Scaling by the cosine transform repeats or mirrors the last pixels, where a box at the margin has fewer.
    exact = kind not in ("JPEG", "progressive JPEG")
    inside = slice(None) if exact else slice(0, -1)
    is_lossy = kind == "AVIF" or ("JPEG" in kind and kind != "JPEG 2000")
    levels = np.asarray(load_picture(data).image) if is_lossy else gradient(255)
    difference = np.asarray(loaded.image) - box_average(levels, factor)
    assert np.abs(difference[inside, inside]).max() <= (0.51 if exact else 2.0)
    assert loaded.encoded != data
    with Image.open(io.BytesIO(loaded.encoded)) as sent:
        assert sent.format == "PNG"
        assert sent.tobytes() == loaded.image.tobytes()


def test_a_gif_and_greys() -> None:
    greys = Image.fromarray(gradient(255, 1)[..., 0].astype(np.uint8))
    for file_format in ("GIF", "PNG", "JPEG"):
        options: dict[str, Any] = {"quality": 100} if file_format == "JPEG" else {}
        loaded = load_picture(encoded(greys, file_format, **options), max_pixels=1000)
        exact = box_average(gradient(255, 1), 2)
        assert np.abs(np.asarray(loaded.image) - exact)[:-1, :-1].max() <= 1.0


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3)])
def test_16_bits_are_averaged_in_16_bits(colour_type: int, channels: int) -> None:
    levels = np.random.default_rng(0).integers(0, 2**16, (HEIGHT, WIDTH, channels))
    loaded = load_picture(png(levels, 16, colour_type), max_pixels=1000, keep_16_bits=True)
    assert np.abs(levels_of_png(loaded.encoded) - box_average(levels, 2)).max() <= 0.5


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [2, 4])
def test_invisible_colours_do_not_count(bits: int, channels: int) -> None:
    """The average of colours on white, and not the colour on white of the averages."""
    largest = 2**bits - 1
    levels = gradient(largest, channels)
    levels[..., -1] = np.where(np.arange(WIDTH) % 3 == 0, 0, largest)
    levels[levels[..., -1] == 0, :-1] = 0  # black, but invisible
    loaded = load_picture(png(levels, bits, {2: 4, 4: 6}[channels]), max_pixels=1000)
    opacity = levels[..., -1:] / largest
    on_white = levels[..., :-1] / largest * 255 * opacity + 255 * (1 - opacity)
    assert np.abs(np.asarray(loaded.image) - box_average(on_white, 2)).max() <= 1.1
    assert "transparent parts were laid on white" in loaded.notes


@pytest.mark.parametrize("colour_type", [0, 2])
def test_a_transparent_colour_is_that_of_single_pixels(colour_type: int) -> None:
    channels = 1 if colour_type == 0 else 3
    levels = np.full((40, 40, channels), 30000)
    levels[::2, ::2] = 1000
    clear = chunk(b"tRNS", struct.pack(f">{channels}H", *[1000] * channels))
    loaded = load_picture(png(levels, 16, colour_type, clear), max_pixels=400)
    expected = 0.75 * 30000 / 257 + 0.25 * 255
    assert np.abs(np.asarray(loaded.image) - expected).max() <= 1.1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_applied(orientation: int) -> None:
    data = encoded(RGB, "JPEG", quality=100, subsampling=0, exif=b"Exif\0\0" + exif(1, orientation=orientation))
    whole, small = load_picture(data), load_picture(data, max_pixels=1000)
    assert small.image.size == tuple(-(-side // 2) for side in whole.image.size)
    declared, (width, height) = whole.image.size, small.image.size
    assert small.notes == (f"reduced from {declared[0]} x {declared[1]} to {width} x {height} pixels",)
    expected = np.asarray(whole.image.resize(small.image.size, Image.Resampling.BOX), int)
    assert np.abs(np.asarray(small.image, int) - expected).max() <= 12  # half a box at the margin


def test_cmyk_and_its_profile() -> None:
    cmyk = RGB.convert("CMYK")
    for file_format, options in (("JPEG", {"quality": 100, "subsampling": 0}), ("TIFF", {})):
        data = encoded(cmyk, file_format, **options)
        whole, small = load_picture(data), load_picture(data, max_pixels=1000)
        assert small.notes[0] == "CMYK without a colour profile: its colours are a guess"
        expected = np.asarray(whole.image.reduce(2), int)
        assert np.abs(np.asarray(small.image, int) - expected)[:-1, :-1].max() <= 3


def test_images_and_arrays_are_reduced() -> None:
    for source in (RGB, np.asarray(RGB)):
        loaded = load_picture(source, max_pixels=1000)
        assert np.abs(np.asarray(loaded.image) - box_average(gradient(255), 2)).max() <= 0.51
    assert RGB.size == (WIDTH, HEIGHT)


def test_a_lossless_jpeg_is_not_scaled_by_its_transform() -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    data = imagecodecs.ljpeg_encode(np.asarray(RGB.convert("L")))
    try:
        load_picture(data)
    except ImageError:
        pytest.skip("this build of Pillow reads no lossless JPEG")
    loaded = load_picture(data, max_pixels=1000)
    expected = box_average(np.asarray(RGB.convert("L"))[..., None], 2)
    assert np.abs(np.asarray(loaded.image) - expected).max() <= 0.51


def test_a_narrow_picture_cannot_be_reduced() -> None:
    with pytest.raises(ImageError, match="is 2 x 600 pixels, too narrow to be reduced to the 1,000 allowed"):
        load_picture(encoded(Image.new("RGB", (2, 600)), "PNG"), max_pixels=1000)


def png_header(width: int, height: int) -> bytes:
    body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", body) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")


def gif(width: int, height: int) -> bytes:
    data = bytearray(encoded(Image.new("P", (4, 4)), "GIF"))
    data[6:10] = struct.pack("<HH", width, height)
    return bytes(data)


def jpeg(width: int, height: int) -> bytes:
    data = bytearray(encoded(Image.new("RGB", (4, 4)), "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def webp(width: int, height: int) -> bytes:
    """An extended WebP, whose canvas has up to 2^24 pixels a side."""
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + sides
    return b"RIFF" + struct.pack("<I", len(body)) + body


def bmp(width: int, height: int) -> bytes:
    data = bytearray(encoded(Image.new("RGB", (4, 4)), "BMP"))
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


BOMBS: dict[str, Callable[[int, int], bytes]] = {
    "PNG": png_header,
    "GIF": gif,
    "JPEG": jpeg,
    "BMP": bmp,
    "PPM": lambda width, height: b"P6 %d %d 255\n" % (width, height) + bytes(9),
    "TIFF": lambda width, height: tiff((width, height), [8] * 3, 2, [bytes(9)]),
    "WebP": webp,
}


@pytest.mark.parametrize("size", [(100_000, 100_000), (16_385, 16_384), (1, 2**28), (2, 2**27)], ids=str)
@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_refused_from_its_header(kind: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    largest = {"JPEG": 2**16 - 1, "GIF": 2**16 - 1, "WebP": 2**24}.get(kind, 2**31)
    if max(size) > largest:
        size = (largest, largest)
    data = BOMBS[kind](*size)

    def never(*_: object) -> None:
        pytest.fail("the picture was decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", never)
    with pytest.raises(ImageError, match=r"268,435,456 are allowed|at least 2 x 2|too narrow to be reduced"):
        load_picture(data)


def test_a_picture_of_the_largest_size_passes_the_check_of_its_header() -> None:
    with pytest.raises(ImageError, match="damaged"):
        load_picture(png_header(16_384, 16_384))
    assert MAX_DECLARED_PIXELS == 16_384**2


@pytest.mark.slow  # 200 megapixels
def test_a_jpeg_of_200_megapixels_takes_at_most_8_bytes_a_pixel(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    Image.linear_gradient("L").resize((20_000, 10_000)).convert("RGB").save(path, quality=80)
    code = (
        "import resource, sys; from styleserve.client import load_picture\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "before = peak(); picture = load_picture(sys.argv[1])\n"
        "print(*picture.image.size, (peak() - before) / 2e8)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    width, height, bytes_per_pixel = done.stdout.split()
    assert (width, height) == ("10000", "5000")
    assert float(bytes_per_pixel) < 8
