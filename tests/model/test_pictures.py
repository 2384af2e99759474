import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from styleserve.contract import ENCODED_FORMATS, Limits
from styleserve.model.pictures import decode, encode_png, header_size

HEIGHT, WIDTH = 37, 300  # more than a byte holds, so that the byte order shows


def encoded(name: str, **options: object) -> bytes:
    gradient = np.linspace(0, 255, HEIGHT * WIDTH * 3).reshape(HEIGHT, WIDTH, 3).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(gradient).save(file, name, **options)
    return file.getvalue()


FILES = {
    **{name: encoded(name) for name in ENCODED_FORMATS},
    "progressive JPEG": encoded("JPEG", progressive=True),
    "lossless WebP": encoded("WebP", lossless=True),
    "extended WebP": encoded("WebP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"),
}


@pytest.mark.parametrize("name", [name for name in FILES if name != "GIF"])
def test_header_size(name: str) -> None:
    assert header_size(FILES[name]).numpy().tolist() == [HEIGHT, WIDTH]


def test_header_size_of_a_top_down_bitmap() -> None:
    bitmap = bytearray(FILES["BMP"])
    bitmap[22:26] = (-HEIGHT).to_bytes(4, "little", signed=True)
    assert header_size(bytes(bitmap)).numpy().tolist() == [HEIGHT, WIDTH]


@pytest.mark.parametrize("data", [b"", b"x", b"RIFF\0\0\0\0WEBP", b"%PDF-1.7"], ids=str)
def test_header_size_of_something_else(data: bytes) -> None:
    assert header_size(data).numpy().tolist() == [0, 0]


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


UNTOLD = {
    # libpng reads it: a chunk that may be skipped stands where the size should be, and tells of one pixel.
    "PNG": FILES["PNG"][:8] + png_chunk(b"teSt", struct.pack(">II", 1, 1)) + FILES["PNG"][8:],
    # libwebp reads it: the bare bitstream, without the header of a chunk.
    "WebP": FILES["lossless WebP"][:12] + FILES["lossless WebP"][20:],
}


@pytest.mark.parametrize("name", UNTOLD)
def test_a_size_that_is_not_told_is_refused(name: str) -> None:
    if name == "PNG":
        assert tf.io.decode_image(UNTOLD[name]).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"content_bytes must be a file of one of .* width:"):
        decoded(UNTOLD[name])


def decoded(data: bytes, **options: object) -> np.ndarray:
    arguments = {
        "max_side": tf.constant(WIDTH),
        "name": tf.constant("content_bytes"),
        "limits": Limits(),
        "min_side": 4,
    }
    return decode(tf.constant(data), **{**arguments, **options}).numpy()


@pytest.mark.parametrize("name", FILES)
def test_decode_gives_the_pixels(name: str) -> None:
    image = decoded(FILES[name])
    assert image.shape == (1, HEIGHT, WIDTH, 3)
    expected = np.asarray(Image.open(io.BytesIO(FILES[name])).convert("RGB")) / 255.0
    # WebP decoders differ in how they interpolate colours; of JPEG both use libjpeg's accurate transform.
    np.testing.assert_allclose(image[0], expected, atol=0.03 if "WebP" in name else 1.01 / 255)
    assert np.abs(image[0] - expected).mean() < (0.005 if "WebP" in name else 1e-3)


@pytest.mark.parametrize(("side", "shape"), [(150, (18, 150)), (600, (74, 600))])
def test_decode_resizes_to_the_longest_side(side: int, shape: tuple[int, int]) -> None:
    image = decoded(FILES["PNG"], max_side=tf.constant(side))
    assert image.shape[1:3] == shape


def test_decode_does_not_alias() -> None:
    checkers = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(checkers).convert("RGB").save(file, "PNG")
    image = decoded(file.getvalue(), max_side=tf.constant(16))
    np.testing.assert_allclose(image[:, 2:-2, 2:-2], 0.5, atol=0.02)


def test_bomb_is_refused_from_its_header() -> None:
    bomb = bytearray(FILES["PNG"])
    bomb[16:24] = (100_000).to_bytes(4, "big") * 2
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most 64000000 pixels; got height, width"):
        decoded(bytes(bomb))


@pytest.mark.parametrize("side", [2**31 - 1, 2**32 - 1])
def test_header_that_overflows_is_refused(side: int) -> None:
    bomb = bytearray(FILES["PNG"])
    bomb[16:24] = side.to_bytes(4, "big") * 2
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most 64000000 pixels"):
        decoded(bytes(bomb))


def test_encode_png_rounds() -> None:
    levels = np.arange(256, dtype=np.float32).reshape(16, 16, 1).repeat(3, axis=2)
    pixels = tf.io.decode_png(encode_png((levels + 0.4) / 255.4)).numpy()
    np.testing.assert_array_equal(tf.io.decode_png(encode_png(levels / 255.0)), levels)
    assert (pixels >= levels - 1).all()
