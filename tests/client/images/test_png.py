"""PNG: transparent colours, 16 bits, colour spaces, and chunks without pixels."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from styleserve.client import ImageError, Picture, load_picture

from .files import (
    BT2020,
    COLOURS,
    P3,
    PATCHES,
    as_srgb,
    bt709_linear,
    chunk,
    encoded,
    exif,
    linear,
    patches,
    png,
    png_of_patches,
)

ON_WHITE = ("transparent parts were laid on white",)


def assert_colours(picture: Picture, expected: Any, tolerance: int = 1) -> None:
    assert np.abs(patches(picture.image) - expected).max() <= tolerance, (patches(picture.image), expected)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_transparent_grey_is_laid_on_white(depth: int) -> None:
    top = 2**depth - 1
    clear = top // 3
    levels = np.full((8, 16, 1), clear)
    levels[:, 8:] = other = top * 2 // 3 if depth > 1 else 1
    loaded = load_picture(png(levels, depth, 0, chunk(b"tRNS", struct.pack(">H", clear))))
    assert loaded.image.getpixel((0, 0)) == (255, 255, 255)
    assert loaded.image.getpixel((15, 7)) == (round(other * 255 / top),) * 3
    assert loaded.notes == ON_WHITE


@pytest.mark.parametrize("depth", [8, 16])
def test_a_transparent_colour_is_compared_in_all_its_bits(depth: int) -> None:
    clear = np.array([0x12, 0x80, 0x40]) << depth - 8
    levels = np.empty((4, 12, 3), int)
    levels[:, :4], levels[:, 4:8] = clear, np.add(clear, (0, 0, 1))  # one level of so many bits beside it
    levels[:, 8:] = clear[::-1]
    loaded = load_picture(png(levels, depth, 2, chunk(b"tRNS", struct.pack(">3H", *clear))))
    got = np.asarray(loaded.image)[0, [0, 4, 8]]
    exact = levels[0, [0, 4, 8]] * 255 / (2**depth - 1)
    np.testing.assert_array_equal(got, np.where([[True], [False], [False]], 255, np.rint(exact)))


def test_a_transparent_colour_that_is_nowhere_changes_nothing() -> None:
    data = png_of_patches(chunk(b"tRNS", struct.pack(">3H", 1, 2, 3)))
    loaded = load_picture(data)
    assert loaded.notes == ()
    np.testing.assert_array_equal(np.asarray(loaded.image), PATCHES)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_palette_with_transparent_entries(depth: int) -> None:
    levels = np.zeros((4, 8, 1), int)
    levels[:, 4:] = 1
    palette = chunk(b"PLTE", bytes((10, 20, 30, 200, 100, 50)))
    loaded = load_picture(png(levels, depth, 3, palette, chunk(b"tRNS", b"\0")))
    assert [loaded.image.getpixel((x, 0)) for x in (0, 7)] == [(255, 255, 255), (200, 100, 50)]


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bits_are_rounded_to_the_nearest_of_8(colour_type: int, channels: int) -> None:
    levels = np.random.default_rng(colour_type).integers(0, 2**16, (16, 16, channels))
    levels[0, :, :] = np.minimum(np.arange(16)[:, None] * 4369 + 127, 65535)  # on either side of a half
    loaded = load_picture(png(levels, 16, colour_type))
    exact = levels / 257.0
    if channels in (2, 4):
        alpha = np.rint(exact[..., -1:]) / 255
        exact = exact[..., :-1] * alpha + 255 * (1 - alpha)
    got = np.asarray(loaded.image).astype(float)
    assert np.abs(got - exact).max() <= (0.5 if channels in (1, 3) else 0.51)


def passes(levels: Any, *, lines: int) -> bytes:
    """The first lines of the passes of Adam7, each with its rows. Pillow writes no interlaced file."""
    rows: list[bytes] = []
    for x0, y0, dx, dy in (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):
        rows += [b"\0" + row.tobytes() for row in levels[y0::dy, x0::dx]]
    return b"".join(rows[:lines])


def png_of_rows(size: tuple[int, int], depth: int, colour_type: int, rows: bytes, *, interlaced: bool = False) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour_type, 0, 0, interlaced))
    palette = chunk(b"PLTE", bytes((10, 20, 30)) * 256) if colour_type == 3 else b""
    return b"\x89PNG\r\n\x1a\n" + header + palette + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_16_bits_interlaced() -> None:
    levels = np.random.default_rng(3).integers(0, 2**16, (11, 13, 3)).astype(">u2")
    data = png_of_rows((13, 11), 16, 2, passes(levels, lines=99), interlaced=True)
    np.testing.assert_array_equal(np.asarray(load_picture(data).image), np.rint(levels.astype(float) / 257.0))


@pytest.mark.parametrize("level", [0, 200])
@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(
    ("depth", "colour_type", "channels"),
    [(d, c, n) for d in (8, 16) for c, n in ((0, 1), (2, 3), (3, 1), (4, 2), (6, 4)) if (d, c) != (16, 3)],
)
def test_pixels_that_end_early_are_refused(
    depth: int, colour_type: int, channels: int, interlaced: bool, level: int
) -> None:
    """In place of black where they would be; black ones that are there are read."""
    levels = np.full((10, 13, channels), level * (257 if depth == 16 else 1)).astype(">u2" if depth == 16 else "u1")
    for missing, whole in ((0, True), (1, False), (4, False)):
        if interlaced:
            rows = passes(levels, lines=20 - missing)
        else:
            rows = b"".join(b"\0" + row.tobytes() for row in levels[: 10 - missing])
        data = png_of_rows((13, 10), depth, colour_type, rows, interlaced=interlaced)
        if whole:
            assert load_picture(data).image.size == (13, 10)
        else:
            with pytest.raises(ImageError, match="damaged or cut short: rows of its pixels are missing"):
                load_picture(data)


def cicp(primaries: int, transfer: int, full_range: int = 1) -> bytes:
    return chunk(b"cICP", bytes((primaries, transfer, 0, full_range)))


CODE_POINTS: dict[str, tuple[bytes, Any]] = {
    "Display P3": (cicp(12, 13), as_srgb(linear(COLOURS / 255), P3)),
    "BT.2020": (cicp(9, 14), as_srgb(bt709_linear(COLOURS / 255), BT2020)),
    "BT.2020 with sRGB's curve": (cicp(9, 13), as_srgb(linear(COLOURS / 255), BT2020)),
    "BT.709": (cicp(1, 1), as_srgb(bt709_linear(COLOURS / 255))),
    "BT.601": (cicp(1, 6), as_srgb(bt709_linear(COLOURS / 255))),
    "linear": (cicp(1, 8), as_srgb(COLOURS / 255)),
    "gamma 2.2": (cicp(1, 4), as_srgb((COLOURS / 255) ** 2.2)),
    "sRGB": (cicp(1, 13), COLOURS),
    "unspecified": (cicp(2, 2), COLOURS),
    "video range": (cicp(1, 13, 0), np.rint(np.clip((COLOURS - 16.0) / 219 * 255, 0, 255))),
}


@pytest.mark.parametrize("name", CODE_POINTS)
def test_colours_by_code_points(name: str) -> None:
    code_points, expected = CODE_POINTS[name]
    loaded = load_picture(png_of_patches(code_points))
    assert_colours(loaded, expected)
    changed = name not in ("sRGB", "unspecified")
    assert len(loaded.notes) == changed
    assert (loaded.encoded == png_of_patches(code_points)) != changed


def test_16_bits_keep_their_precision_through_a_conversion() -> None:
    """With 8 bits, linear light would have 8 dark levels where sRGB has 80."""
    levels = np.arange(1, 2048, 8).reshape(16, 16, 1).repeat(3, 2)
    loaded = load_picture(png(levels, 16, 2, cicp(1, 8)))
    np.testing.assert_allclose(np.asarray(loaded.image), as_srgb(levels / 65535), atol=1)


def test_a_grey_by_code_points() -> None:
    levels = np.arange(0, 256).reshape(16, 16, 1)
    loaded = load_picture(png(levels, 8, 0, cicp(12, 8)))
    np.testing.assert_allclose(np.asarray(loaded.image)[..., 1:2], as_srgb(levels / 255), atol=1)


@pytest.mark.parametrize(
    ("code_points", "message"),
    [
        ((9, 16), r"HDR picture \(PQ\)"),
        ((9, 18), r"HDR picture \(HLG\)"),
        ((10, 13), "primaries 10"),
        ((1, 9), "transfer 9"),
    ],
)
def test_colour_spaces_without_an_exact_form_are_refused_by_name(code_points: tuple[int, int], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        load_picture(png_of_patches(cicp(*code_points)))


def icc_of_patches() -> bytes:
    """sRGB with red and green swapped."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = {bytes(profile[at : at + 4]): at + 4 for at in range(132, 132 + 12 * profile[131], 12)}
    red, green = tags[b"rXYZ"], tags[b"gXYZ"]
    profile[red : red + 8], profile[green : green + 8] = profile[green : green + 8], profile[red : red + 8]
    return bytes(profile)


def gama(gamma: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(gamma * 100_000)))


def chrm(*xy: float) -> bytes:
    """White, red, green, blue."""
    return chunk(b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in xy)))


SRGB_CHRM = chrm(0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
P3_CHRM = chrm(0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
SRGB = chunk(b"sRGB", b"\0")
ICCP = chunk(b"iCCP", b"swapped\0\0" + zlib.compress(icc_of_patches()))


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        pytest.param((P3_CHRM, gama(1 / 2.2), SRGB, ICCP, cicp(12, 13)), "P3", id="cICP before all"),
        pytest.param((P3_CHRM, gama(1.0), SRGB, ICCP), "swapped", id="iCCP before sRGB"),
        pytest.param((P3_CHRM, gama(1.0), SRGB), "sRGB", id="sRGB before gAMA and cHRM"),
        pytest.param((chunk(b"eXIf", exif(0xFFFF, b"R03")), SRGB), "sRGB", id="sRGB before EXIF"),
        pytest.param((chunk(b"eXIf", exif(0xFFFF, b"R03")), cicp(1, 13)), "sRGB", id="cICP of sRGB before EXIF"),
        pytest.param((chunk(b"eXIf", exif(0xFFFF, b"R03")), gama(0.45455)), "sRGB", id="gAMA of sRGB before EXIF"),
        pytest.param((P3_CHRM, gama(1 / 2.2)), "P3", id="cHRM"),
        pytest.param((P3_CHRM,), "P3", id="cHRM alone"),
        pytest.param((SRGB_CHRM, gama(0.45455)), "sRGB", id="gAMA and cHRM of sRGB"),
        pytest.param((gama(1.0),), "linear", id="gAMA of linear light"),
        pytest.param((gama(1 / 1.8), SRGB_CHRM), "gamma 1.8", id="gAMA of old Macs"),
        pytest.param((gama(0), chrm(*[0] * 8)), "sRGB", id="zeros"),
        pytest.param((chunk(b"cICP", b"\x0c"), gama(1.0)), "linear", id="cICP cut short"),
        pytest.param((gama(1.0), cicp(2, 2)), "linear", id="cICP unspecified"),
    ],
)
def test_the_first_declaration_in_the_order_of_the_specification_counts(
    chunks: tuple[bytes, ...], expected: str
) -> None:
    colours = {
        "P3": as_srgb(linear(COLOURS / 255), P3),
        "swapped": as_srgb(linear(COLOURS / 255)[:, [1, 0, 2]]),
        "sRGB": COLOURS,
        "linear": as_srgb(COLOURS / 255),
        "gamma 1.8": as_srgb((COLOURS / 255) ** 1.8),
    }[expected]
    loaded = load_picture(png_of_patches(*chunks))
    assert_colours(loaded, colours, tolerance=2)
    assert bool(loaded.notes) == (expected != "sRGB")


@pytest.mark.parametrize(
    ("color_space", "index", "converted"),
    [(0xFFFF, b"R03", True), (2, b"", True), (0xFFFF, b"", False), (1, b"R98", False)],
)
def test_adobe_rgb_by_exif(color_space: int, index: bytes, converted: bool) -> None:
    loaded = load_picture(png_of_patches(chunk(b"eXIf", exif(color_space, index))))
    expected = [[230, 79, 56], [0, 201, 67], [99, 57, 205], [255, 181, 150]] if converted else COLOURS[:4]
    assert np.abs(patches(loaded.image)[:4] - expected).max() <= 1
    assert loaded.notes == (("converted from Adobe RGB to sRGB",) if converted else ())


LONG = b"x" * 2_000_000
HARMLESS = {
    "long zTXt": chunk(b"zTXt", b"workflow\0\0" + zlib.compress(LONG)),
    "long iTXt": chunk(b"iTXt", b"workflow\0\1\0\0\0" + zlib.compress(LONG)),
    "long tEXt": chunk(b"tEXt", b"workflow\0" + LONG),
    "many texts": b"".join(chunk(b"tEXt", b"part\0" + b"x" * 60_000) for _ in range(1200)),
    "damaged zTXt": chunk(b"zTXt", b"workflow\0\0no zlib at all"),
    "wrong checksum of tEXt": chunk(b"tEXt", b"workflow\0text", intact=False),
    "wrong checksum of pHYs": chunk(b"pHYs", bytes(9), intact=False),
    "wrong checksum of iCCP": chunk(b"iCCP", b"swapped\0\0" + zlib.compress(icc_of_patches()), intact=False),
    "wrong checksum of cICP": chunk(b"cICP", b"\x0c\x0d\0\1", intact=False),
    "unknown": chunk(b"prVt", b"private"),
    "wrong checksum of animation": chunk(b"acTL", struct.pack(">2I", 3, 0), intact=False),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_chunks_without_pixels_are_skipped(name: str) -> None:
    loaded = load_picture(png_of_patches(HARMLESS[name]))
    np.testing.assert_array_equal(np.asarray(loaded.image), PATCHES)
    assert loaded.notes == ()
    with Image.open(io.BytesIO(loaded.encoded)) as sent:
        np.testing.assert_array_equal(np.asarray(sent), PATCHES)
    assert len(loaded.encoded) < 100_000


def test_a_long_profile_is_used() -> None:
    profile = bytearray(icc_of_patches() + bytes(2_000_000))
    profile[:4] = struct.pack(">I", len(profile))
    loaded = load_picture(png_of_patches(chunk(b"iCCP", b"long\0\0" + zlib.compress(bytes(profile)))))
    assert_colours(loaded, as_srgb(linear(COLOURS / 255)[:, [1, 0, 2]]), tolerance=2)


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_a_chunk_that_unpacks_to_256_megabytes_takes_no_memory(kind: bytes) -> None:
    packer = zlib.compressobj()
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(256)) + packer.flush()
    head = {b"zTXt": b"XML:com.adobe.xmp\0\0", b"iTXt": b"XML:com.adobe.xmp\0\1\0\0\0", b"iCCP": b"profile\0\0"}[kind]
    data = png_of_patches(chunk(kind, head + bomb))
    del bomb
    tracemalloc.start()
    loaded = load_picture(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(np.asarray(loaded.image), PATCHES)
    assert peak < 48e6


PALETTE = chunk(b"PLTE", bytes(6))


def with_header(
    depth: int, colour_type: int, *, compression: int = 0, filters: int = 0, interlaced: int = 0, extra: bytes = b""
) -> bytes:
    values = 80, 16, depth, colour_type, compression, filters, interlaced
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *values) + extra)
    return b"\x89PNG\r\n\x1a\n" + header + png(PATCHES, 8, 2)[33:]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            png_of_patches(chunk(b"CgBI", bytes(4))),
            "chunk 'CgBI', which the PNG format",
        ),
        (png_of_patches()[:60] + b"\0" + png_of_patches()[61:], "chunk 'IDAT', its checksum"),
        (png_of_patches()[:20] + b"\7" + png_of_patches()[21:], "chunk 'IHDR', its checksum"),
        (png_of_patches(chunk(b"PLTE", bytes(3), intact=False)), "chunk 'PLTE', its checksum"),
        (b"\x89PNG\r\n\x1a\n" + chunk(b"IDAT", b""), "chunk 'IDAT', its checksum or its place"),
        (with_header(16, 5), "header has values"),
        (with_header(16, 2, compression=1), "header has values"),
        (with_header(16, 2, filters=1), "header has values"),
        (with_header(16, 2, interlaced=2), "header has values"),
        (with_header(16, 2, extra=b"\0"), "header has values"),
        (png(np.zeros((2, 2, 1), int), 8, 3, PALETTE, PALETTE), "chunk 'PLTE', .* its place"),
        (png(np.zeros((2, 2, 1), int), 8, 3, end=PALETTE), "chunk 'PLTE', .* its place"),
        (png_of_patches(chunk(b"IHDR", struct.pack(">IIBBBBB", 9999, 9999, 8, 2, 0, 0, 0))), "'IHDR', .* its place"),
    ],
    ids=[
        *("unknown", "pixels", "header", "palette", "no header", "colour type", "compression", "filters", "interlaced"),
        *("long header", "two palettes", "late palette", "second header"),
    ],
)
def test_a_damaged_chunk_that_makes_pixels_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        load_picture(data)


@pytest.mark.parametrize("end", [b"", chunk(b"IEND", b"") + b"more behind it"], ids=["no end", "something behind"])
def test_a_file_that_is_whole_but_for_its_end(end: bytes) -> None:
    loaded = load_picture(png(PATCHES, 8, 2, end=end))
    np.testing.assert_array_equal(np.asarray(loaded.image), PATCHES)
    assert loaded.encoded == png_of_patches()


def test_an_orientation_in_text_is_applied() -> None:
    """As ImageMagick writes EXIF, and as XMP has it."""
    raw = exif(1, orientation=6)
    as_text = f"\nexif\n{len(raw):8}\n" + raw.hex()
    xmp = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    for extra in (
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(as_text.encode())),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp.encode()),
    ):
        loaded = load_picture(png_of_patches(extra))
        np.testing.assert_array_equal(np.asarray(loaded.image), np.rot90(PATCHES, -1))


def test_an_animation_with_damaged_frames_is_read() -> None:
    first = Image.fromarray(PATCHES)
    data = encoded(first, "PNG", save_all=True, append_images=[Image.new("RGB", first.size, "red")] * 2)
    at = data.rindex(b"fdAT")
    loaded = load_picture(data[: at + 6] + b"\xff" + data[at + 7 :])
    np.testing.assert_array_equal(np.asarray(loaded.image), PATCHES)
    assert loaded.notes == ("only the first of 3 frames is used",)
    with Image.open(io.BytesIO(loaded.encoded)) as sent:
        assert getattr(sent, "n_frames", 1) == 1
