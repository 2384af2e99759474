"""TIFF of all kinds: the right levels, or a refusal that names the kind."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from styleserve.client import ImageError, load_picture

from .files import COLOURS, P3, PATCHES, as_srgb, encoded, exif, linear, packed, patches, tiff
from .test_png import icc_of_patches

SIZE = (32, 8)
RAMP = np.linspace(0, 1, SIZE[0])[None].repeat(SIZE[1], 0)
"""`[8, 32]` in [0, 1], black on the left."""
COLOURED = np.stack([RAMP, RAMP[:, ::-1], RAMP[::-1] / 2], -1)


def levels_of(samples: Any, bits: int) -> Any:
    return np.rint(samples * (2**bits - 1)).astype(np.int64)


def as_bytes(levels: Any, bits: int, order: str = "<") -> bytes:
    """Rows of `[height, numbers]`, in whole words where the bits fill them."""
    if bits in (8, 16, 32):
        return levels.astype(f"{order}u{bits // 8}").tobytes()
    return packed(levels, bits)


def assert_levels(data: bytes, expected: Any) -> None:
    """All levels, `[height, width]` or with channels, in [0, 1], within rounding."""
    got = np.asarray(load_picture(data).image) / 255
    expected = expected[..., None] if expected.ndim == 2 else expected
    assert np.abs(got - expected).max() <= 0.6 / 255


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8, 10, 12, 14, 16, 32])
def test_greys_of_any_depth(bits: int, photometric: int, order: str) -> None:
    levels = levels_of(RAMP, bits)
    stored = levels if photometric else 2**bits - 1 - levels
    data = tiff(SIZE, [bits], photometric, [as_bytes(stored, bits, order)], order=order)
    assert_levels(data, levels / (2**bits - 1))


@pytest.mark.parametrize("planes", [False, True], ids=["chunky", "planes"])
@pytest.mark.parametrize("bits", [4, 8, 10, 12, 16, 32])
def test_colours_of_any_depth(bits: int, planes: bool) -> None:
    levels = levels_of(COLOURED, bits)
    if planes:
        strips = [as_bytes(levels[..., channel], bits) for channel in range(3)]
        data = tiff(SIZE, [bits] * 3, 2, strips, (284, 3, [2]))
    else:
        data = tiff(SIZE, [bits] * 3, 2, [as_bytes(levels.reshape(SIZE[1], -1), bits)])
    assert_levels(data, levels / (2**bits - 1))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compression", [1, 5, 8, 32946, 32773])
def test_16_bit_colours_in_any_compression(compression: int, order: str) -> None:
    levels = np.random.default_rng(0).integers(0, 2**16, (8, 32, 3))
    raw = levels.astype(f"{order}u2").tobytes()
    strip = {
        1: lambda: raw,
        5: lambda: imagecodecs.lzw_encode(raw),
        8: lambda: zlib.compress(raw),
        32946: lambda: zlib.compress(raw),
        32773: lambda: imagecodecs.packbits_encode(raw),
    }[compression]()
    assert_levels(tiff(SIZE, [16] * 3, 2, [strip], (259, 3, [compression]), order=order), levels / 65535)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize(
    "options", [{}, {"tile": (16, 16)}, {"bigtiff": True}, {"rowsperstrip": 3}, {"byteorder": ">"}], ids=str
)
@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd"])
@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_files_of_tifffile(compression: str | None, options: dict[str, Any], dtype: str, planes: str) -> None:
    top = np.iinfo(dtype).max
    levels = np.random.default_rng(1).integers(0, top + 1, (24, 40, 3)).astype(dtype)
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        levels if planes == "contig" else np.moveaxis(levels, -1, 0),
        photometric="rgb",
        planarconfig=planes,
        compression=compression,
        predictor=compression is not None,
        **options,
    )
    assert_levels(file.getvalue(), levels / top)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_are_read_in_any_layout(dtype: str) -> None:
    file = io.BytesIO()
    predictor = {"compression": "zlib", "predictor": dtype != "float64"}
    tifffile.imwrite(file, COLOURED.astype(dtype), photometric="rgb", byteorder=">", **predictor)
    assert_levels(file.getvalue(), COLOURED)
    white_is_zero = io.BytesIO()
    tifffile.imwrite(white_is_zero, (1 - RAMP).astype(dtype), photometric="miniswhite")
    assert_levels(white_is_zero.getvalue(), RAMP)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("predictor", [1, 2, 3])
@pytest.mark.parametrize("compression", [1, 5, 8, 32773])
def test_grey_floats_in_any_compression(compression: int, predictor: int, order: str) -> None:
    """libtiff ignores predictors without compression and with PackBits."""
    values = np.array([0, 0.25, 0.5, 1], "f4").repeat(8)[None].repeat(8, 0)
    bits = np.ascontiguousarray(values).view("u4")
    raw = values.astype(f"{order}f4").tobytes()
    if compression in (5, 8) and predictor == 2:
        raw = np.diff(bits, axis=1, prepend=np.uint32(0)).astype(f"{order}u4").tobytes()
    elif compression in (5, 8) and predictor == 3:
        planes = bits.astype(">u4").view("u1").reshape(8, 32, 4).swapaxes(1, 2).reshape(8, 128)
        raw = np.diff(planes, axis=1, prepend=np.uint8(0)).tobytes()
    strip = {
        1: lambda: raw,
        5: lambda: imagecodecs.lzw_encode(raw),
        8: lambda: zlib.compress(raw),
        32773: lambda: imagecodecs.packbits_encode(raw),
    }[compression]()
    tags = (259, 3, [compression]), (317, 3, [predictor]), (339, 3, [3])
    assert_levels(tiff(SIZE, [32], 1, [strip], *tags, order=order), values)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("compression", ["zlib", "lzw", "packbits"])
def test_compressed_grey_integers(compression: str, bits: int, order: str) -> None:
    levels = levels_of(RAMP, bits).astype(f"{order}u{bits // 8}")
    file = io.BytesIO()
    tifffile.imwrite(file, levels, photometric="minisblack", compression=compression, byteorder=order)
    assert_levels(file.getvalue(), RAMP)


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("kind", [0, 1, 2], ids=["unspecified", "associated", "unassociated"])
@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize("planes", [False, True], ids=["chunky", "planes"])
def test_extra_samples(colours: int, kind: int, bits: int, planes: bool) -> None:
    """Associated alpha is premultiplied: on white, the number is added to the rest of the white."""
    top = 2**bits - 1
    alpha = np.where(np.arange(SIZE[0]) < 16, 1.0, np.arange(SIZE[0]) / 40)[None].repeat(SIZE[1], 0)
    colour = COLOURED[..., :colours]
    stored = colour * alpha[..., None] if kind == 1 else colour
    levels = np.rint(np.concatenate([stored, alpha[..., None]], -1) * top).astype(int)
    count = colours + 1
    if planes:
        strips = [as_bytes(levels[..., channel], bits) for channel in range(count)]
    else:
        strips = [as_bytes(levels.reshape(SIZE[1], -1), bits)]
    data = tiff(
        SIZE, [bits] * count, 1 if colours == 1 else 2, strips, (338, 3, [kind]), (284, 3, [2 if planes else 1])
    )
    loaded = load_picture(data)
    numbers = levels / top
    on_white = {
        0: numbers[..., :-1],
        1: numbers[..., :-1] + 1 - numbers[..., -1:],
        2: numbers[..., :-1] * numbers[..., -1:] + 1 - numbers[..., -1:],
    }[kind]
    assert np.abs(np.asarray(loaded.image) / 255 - on_white).max() <= 1.6 / 255
    assert loaded.notes == (("transparent parts were laid on white",) if kind else ())


@pytest.mark.parametrize("wide", [True, False], ids=["16-bit palette", "8-bit palette"])
@pytest.mark.parametrize("bits", [1, 4, 8])
def test_palettes(bits: int, wide: bool) -> None:
    count = 2**bits
    palette = np.random.default_rng(2).integers(0, 256, (count, 3))
    palette[0] = 255
    indices = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE[1], SIZE[0]) % count
    colour_map = (palette.T * (257 if wide else 1)).ravel().tolist()
    data = tiff(SIZE, [bits], 3, [as_bytes(indices, bits)], (320, 3, colour_map))
    assert_levels(data, palette[indices] / 255)


def fractions(*values: int) -> list[int]:
    """Values of type 5, each in thousandths."""
    return [part for value in values for part in (value, 1000)]


BT709_WEIGHTS = (0.2126, 0.7152, 0.0722)


@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("video_range", [False, True])
@pytest.mark.parametrize("weights", [None, BT709_WEIGHTS], ids=["BT.601", "BT.709"])
def test_ycbcr(weights: tuple[float, ...] | None, video_range: bool, compression: int) -> None:
    """By the coefficients and the range that are declared; BT.601 and the full range are the defaults of TIFF 6.0."""
    red, green, blue = weights or (0.299, 0.587, 0.114)
    y = PATCHES @ np.array([red, green, blue])
    cb, cr = (PATCHES[..., 2] - y) / (2 - 2 * blue), (PATCHES[..., 0] - y) / (2 - 2 * red)
    levels = np.stack([y, cb, cr], -1)
    if video_range:
        levels = levels * (219 / 255, 112 / 127, 112 / 127) + (16, 128, 128)
    else:
        levels = levels * (1, 1, 1) + (0, 128, 128)
    raw = np.rint(levels).astype(np.uint8).tobytes()
    tags: list[Any] = [(530, 3, [1, 1]), (259, 3, [compression])]
    if weights:
        tags.append((529, 5, [number for weight in weights for number in (round(weight * 10_000), 10_000)]))
    if video_range:
        tags.append((532, 5, fractions(16_000, 235_000, 128_000, 240_000, 128_000, 240_000)))
    strip = raw if compression == 1 else zlib.compress(raw)
    loaded = load_picture(tiff((80, 16), [8] * 3, 6, [strip], *tags))
    assert np.abs(patches(loaded.image) - COLOURS).max() <= 2


def test_ycbcr_without_colours_is_refused() -> None:
    for tag in ((529, 5, fractions(500, 0, 500)), (532, 5, fractions(0, 0, 128_000, 255_000, 128_000, 255_000))):
        with pytest.raises(ImageError, match="YCbCr that is not supported"):
            load_picture(tiff((80, 16), [8] * 3, 6, [PATCHES.tobytes()], (530, 3, [1, 1]), tag))


WHITE_D65, P3_TAG = (318, 5, fractions(313, 329)), (319, 5, fractions(680, 320, 265, 690, 150, 60))


def transfer_function(exponent: float, bits: int) -> Any:
    levels = np.arange(2**bits) / (2**bits - 1)
    return (301, 3, np.rint(levels**exponent * 65535).astype(int).tolist())


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_primaries_and_transfer_functions(bits: int) -> None:
    levels = levels_of(PATCHES / 255, bits)
    strip = as_bytes(levels.reshape(len(levels), -1), bits)
    linear_tag = transfer_function(1.0, bits)
    three = (301, 3, linear_tag[2] * 3)
    gamma_tag = transfer_function(1.8, bits)
    swapped = as_srgb(linear(COLOURS / 255)[:, [1, 0, 2]])
    cases: list[tuple[list[Any], Any, tuple[str, ...]]] = [
        ([WHITE_D65, P3_TAG], as_srgb(linear(COLOURS / 255), P3), ("converted from its primaries to sRGB",)),
        ([P3_TAG], as_srgb(linear(COLOURS / 255), P3), ("converted from its primaries to sRGB",)),
        ([WHITE_D65], COLOURS, ()),
        ([(319, 5, fractions(*[0] * 6))], COLOURS, ()),
        ([linear_tag], as_srgb(COLOURS / 255), ("converted from its transfer function to sRGB",)),
        ([three], as_srgb(COLOURS / 255), ("converted from its transfer function to sRGB",)),
        (
            [gamma_tag, P3_TAG],
            as_srgb((COLOURS / 255) ** 1.8, P3),
            ("converted from its transfer function and primaries to sRGB",),
        ),
        ([linear_tag, P3_TAG, (34675, 7, icc_of_patches())], swapped, ("converted from sRGB built-in to sRGB",)),
    ]
    for tags, expected, notes in cases:
        loaded = load_picture(tiff((80, 16), [bits] * 3, 2, [strip], *tags))
        assert np.abs(patches(loaded.image) - expected).max() <= 2, tags
        assert loaded.notes == notes


def test_transfer_functions_that_are_not_supported_are_refused() -> None:
    one = transfer_function(1.0, 8)
    differing = (301, 3, [*one[2], *one[2], *transfer_function(2.0, 8)[2]])
    for data in (
        tiff((80, 16), [8] * 3, 2, [PATCHES.tobytes()], differing),
        tiff((80, 16), [8], 0, [PATCHES[..., 0].tobytes()], one),
    ):
        with pytest.raises(ImageError, match="TransferFunction that is not supported"):
            load_picture(data)


@pytest.mark.parametrize("bits", [8, 16])
def test_cmyk(bits: int) -> None:
    inks = np.zeros((SIZE[1], SIZE[0], 4))
    inks[:, 16:, 3] = 1  # black on the right
    inks[:, :8, 0] = 1  # cyan on the left
    levels = levels_of(inks, bits)
    loaded = load_picture(tiff(SIZE, [bits] * 4, 5, [as_bytes(levels.reshape(SIZE[1], -1), bits)]))
    assert [loaded.image.getpixel((x, 0)) for x in (0, 10, 31)] == [(0, 255, 255), (255, 255, 255), (0, 0, 0)]


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations(orientation: int, bits: int) -> None:
    """The tag of the page, by either reader (TIFF 6.0, Orientation)."""
    upright = levels_of(COLOURED, bits)
    lying = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright),
        7: np.rot90(upright, 2).swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]
    strip = as_bytes(lying.reshape(len(lying), -1), bits)
    data = tiff((lying.shape[1], lying.shape[0]), [bits] * 3, 2, [strip], (274, 3, [orientation]))
    assert_levels(data, upright / (2**bits - 1))


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_profile_counts_for_every_reader(bits: int) -> None:
    levels = levels_of(PATCHES / 255, bits)
    strip = as_bytes(levels.reshape(len(levels), -1), bits)
    data = tiff((80, 16), [bits] * 3, 2, [strip], (34675, 7, icc_of_patches()))
    swapped = as_srgb(linear(COLOURS / 255)[:, [1, 0, 2]])
    assert np.abs(patches(load_picture(data).image) - swapped).max() <= 2


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_adobe_rgb_by_exif(bits: int) -> None:
    levels = levels_of(PATCHES / 255, bits)
    strip = as_bytes(levels.reshape(len(levels), -1), bits)
    data = tiff((80, 16), [bits] * 3, 2, [strip], (34665, 4, [0]))
    # The directory of EXIF goes behind the file, its offsets counted from there.
    block = exif(0xFFFF, b"R03")
    photo = bytearray(block[8 + 30 :])
    base = len(data) - (8 + 30)
    struct.pack_into("<I", photo, 2 + 12 + 8, 8 + 30 + 30 + base)
    at = data.index(struct.pack("<HHI", 34665, 4, 1)) + 8
    data = data[:at] + struct.pack("<I", len(data)) + data[at + 4 :] + bytes(photo)
    loaded = load_picture(data)
    assert loaded.notes == ("converted from Adobe RGB to sRGB",)
    expected = [[230, 79, 56], [0, 201, 67], [99, 57, 205], [255, 181, 150]]
    assert np.abs(patches(loaded.image)[:4] - expected).max() <= 1


@pytest.mark.parametrize("following", [0x7FFFFF00, 8, 9], ids=["outside", "a circle", "no directory"])
@pytest.mark.parametrize("bits", [8, 12])
def test_a_whole_page_before_a_broken_one_is_read(bits: int, following: int) -> None:
    levels = levels_of(RAMP, bits)
    data = tiff(SIZE, [bits], 1, [as_bytes(levels, bits)], following=following)
    assert_levels(data, levels / (2**bits - 1))
    assert load_picture(data).notes == ("the pages behind the first are damaged and are not used",)


def test_pages_are_counted() -> None:
    pages = [Image.new("L", (20, 10), level) for level in (10, 20, 30)]
    loaded = load_picture(encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    assert loaded.notes == ("only the first of 3 frames is used",)
    assert loaded.image.getpixel((0, 0)) == (10, 10, 10)


GREYS = bytes(range(0, 256, 1))


def with_sub_directory(size: tuple[int, int], photometric: int, *tags: Any, first: Any = ()) -> bytes:
    """A page of 32 x 8 that is a preview, and a picture in its SubIFDs."""
    page = tiff(SIZE, [8], 1, [GREYS], (254, 4, [1]), (330, 4, [0x11223344]), *first)
    page = page.replace(struct.pack("<I", 0x11223344), struct.pack("<I", len(page)))
    return page + tiff(size, [8], photometric, [bytes(size[0] * size[1])], *tags, start=len(page))


RAW = r"is a camera raw file.*Develop it with a raw converter"
PREVIEW = r"begins with a preview of 32 x 8 pixels; the picture itself, of 64 x 32, is not its first page"
DNG = (50706, 1, [1, 4, 0, 0])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(tiff(SIZE, [8], 1, [GREYS], DNG), RAW, id="DNG"),
        pytest.param(tiff(SIZE, [8], 32803, [GREYS]), RAW, id="colour filter array"),
        pytest.param(tiff(SIZE, [8], 34892, [GREYS]), RAW, id="linear raw"),
        pytest.param(with_sub_directory((64, 32), 32803), RAW, id="NEF"),
        pytest.param(with_sub_directory((64, 32), 2, first=[(50740, 1, [0] * 4)]), RAW, id="ARW"),
        pytest.param(with_sub_directory((64, 32), 2, first=[(37398, 1, [1, 0, 0, 0])]), RAW, id="TIFF/EP"),
        pytest.param(with_sub_directory((64, 32), 1), PREVIEW, id="preview"),
        pytest.param(b"II*\0\x10\0\0\0CR\2\0" + bytes(100), RAW, id="CR2"),
        pytest.param(b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(100), RAW, id="CR3"),
        pytest.param(b"FUJIFILMCCD-RAW 0201" + bytes(100), RAW, id="RAF"),
        pytest.param(b"IIU\0\x18\0\0\0" + bytes(100), RAW, id="RW2"),
        pytest.param(b"IIRO\x08\0\0\0" + bytes(100), RAW, id="ORF"),
        pytest.param(b"\0MRM" + bytes(100), RAW, id="MRW"),
        pytest.param(b"FOVb" + bytes(100), RAW, id="X3F"),
        pytest.param(b"II\x1a\0\0\0HEAPCCDR" + bytes(100), RAW, id="CRW"),
    ],
)
def test_previews_are_not_taken_for_the_picture(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message.replace(".*", "(.|\n)*")):
        load_picture(data)


def test_smaller_pictures_of_the_same_do_no_harm() -> None:
    """Pyramids, as microscopes and map makers write them; and a preview with nothing larger beside it."""
    small = with_sub_directory((16, 4), 1)
    assert load_picture(small).image.size == SIZE
    assert load_picture(tiff(SIZE, [8], 1, [GREYS], (254, 4, [1]))).image.size == SIZE


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(tiff(SIZE, [8], 1, [GREYS], (339, 3, [2])), "TIFF with 1 samples of 8 signed bits", id="8 signed"),
        pytest.param(tiff(SIZE, [16], 1, [GREYS * 2], (339, 3, [2])), "16 signed bits", id="16 signed"),
        pytest.param(tiff(SIZE, [64], 1, [GREYS * 8]), "64 bits", id="64 bits"),
        pytest.param(tiff(SIZE, [5, 6, 5], 2, [GREYS * 2]), "5/6 bits", id="different depths"),
        pytest.param(tiff(SIZE, [16] * 3, 8, [GREYS * 6]), r"colours as CIE L\*a\*b\*", id="Lab of 16 bits"),
        pytest.param(tiff(SIZE, [16] * 3, 6, [GREYS * 6]), "colours as YCbCr", id="YCbCr of 16 bits"),
        pytest.param(tiff(SIZE, [8] * 3, 6, [GREYS * 2]), "colours as YCbCr", id="YCbCr subsampled"),
        pytest.param(tiff(SIZE, [8] * 4, 5, [GREYS * 4], (332, 3, [2])), "colours as CMYK", id="other inks"),
        pytest.param(tiff(SIZE, [8], 4711, [GREYS]), "photometric interpretation 4711", id="unknown colours"),
        pytest.param(tiff(SIZE, [12], 1, [GREYS * 2], (259, 3, [7])), "compression 7", id="JPEG of 12 bits"),
        pytest.param(tiff(SIZE, [8] * 3, 2, [GREYS * 3], (259, 3, [50001])), "in compression 50001", id="WebP"),
        pytest.param(tiff(SIZE, [12], 1, [GREYS * 2], (317, 3, [2])), "as differences", id="predictor of 12 bits"),
        pytest.param(tiff(SIZE, [12], 1, [GREYS * 2], (266, 3, [2])), "the lowest bit first", id="fill order"),
        pytest.param(
            tiff(SIZE, [12], 1, [GREYS], (322, 4, [65536]), (323, 4, [65536]), (324, 4, [8]), (325, 4, [9])),
            "tiles that are larger",
            id="tiles",
        ),
        pytest.param(
            tiff((60, 10**6), [12], 1, [GREYS], (278, 4, [1]), (259, 3, [8])),
            "too many strips or tiles",
            id="many strips",
        ),
        pytest.param(
            tiff((8000, 8000), [32] * 9, 2, [GREYS]), "9 samples of 32 bits for each pixel", id="many samples"
        ),
    ],
)
def test_other_kinds_are_refused_by_name(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        load_picture(data)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param([(273, 4, [0])], id="nowhere"),
        pytest.param([(279, 4, [0])], id="no bytes"),
        pytest.param([(279, 4, [10_000])], id="behind the end"),
        pytest.param([(278, 4, [2])], id="strips missing"),
        pytest.param([(278, 4, [0])], id="no rows"),
        pytest.param([(322, 4, [16]), (323, 4, [16]), (324, 4, [8]), (325, 4, [9])], id="tiles missing"),
    ],
)
def test_a_page_with_missing_parts_is_refused(change: Any) -> None:
    """In place of black where they would be."""
    data = tiff(SIZE, [12], 1, [packed(levels_of(RAMP, 12), 12)], *change)
    if change[0][0] == 273:
        at = data.index(struct.pack("<HHI", 273, 4, 1)) + 8
        data = data[:at] + bytes(4) + data[at + 4 :]
    with pytest.raises(ImageError, match="parts of its first page are missing"):
        load_picture(data)


@pytest.mark.parametrize("bits", [1, 8, 16])
def test_uncompressed_strips_that_are_missing_are_not_left_black(bits: int) -> None:
    """Pillow reads those that it finds."""
    levels = levels_of(RAMP, bits)
    strips = [as_bytes(levels[row : row + 2], bits) for row in range(0, 8, 2)]
    assert_levels(tiff(SIZE, [bits], 1, strips, (278, 4, [2])), levels / (2**bits - 1))
    with pytest.raises(ImageError, match="parts of its first page are missing"):
        load_picture(tiff(SIZE, [bits], 1, strips[:3], (278, 4, [2])))


@pytest.mark.parametrize("part", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("compression", [1, 8])
def test_a_file_cut_short_is_refused(compression: int, part: float) -> None:
    raw = packed(np.random.default_rng(0).integers(0, 4096, SIZE[::-1]), 12)
    data = tiff(SIZE, [12], 1, [raw if compression == 1 else zlib.compress(raw)], (259, 3, [compression]))
    with pytest.raises(ImageError, match="damaged or cut short"):
        load_picture(data[: int(len(data) * part)])


def test_no_extra_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for missing in ("tifffile", "imagecodecs"):
        monkeypatch.setitem(sys.modules, missing, None)
    raw = packed(levels_of(RAMP, 12), 12)
    assert_levels(tiff(SIZE, [12], 1, [raw]), levels_of(RAMP, 12) / 4095)
