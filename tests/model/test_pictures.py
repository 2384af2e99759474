import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from styleserve.contract import ENCODED_FORMATS, Limits
from styleserve.model.runs.pictures import decode, encode, header_size

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


@pytest.mark.parametrize("name", FILES)
def test_header_size(name: str) -> None:
    assert header_size(FILES[name]).numpy().tolist() == [HEIGHT, WIDTH]


@pytest.mark.parametrize("data", [b"", b"x", b"RIFF\0\0\0\0WEBP", b"%PDF-1.7", encoded("GIF"), encoded("BMP")], ids=str)
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
def test_a_file_without_a_size_is_refused(name: str) -> None:
    if name == "PNG":
        assert tf.io.decode_image(UNTOLD[name]).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"content_bytes must be a file of one of .* width:"):
        decoded(UNTOLD[name])


def decoded(data: bytes, **options: object) -> np.ndarray:
    arguments = {
        "longest": tf.constant(float(WIDTH)),
        "size": tf.constant([0, 0]),
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
    image = decoded(FILES["PNG"], longest=tf.constant(float(side)))
    assert image.shape[1:3] == shape


def test_decode_does_not_alias() -> None:
    checkers = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(checkers).convert("RGB").save(file, "PNG")
    image = decoded(file.getvalue(), longest=tf.constant(16.0))
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


def test_decode_stretches_to_a_size() -> None:
    image = decoded(FILES["PNG"], size=tf.constant([20, 30]))
    assert image.shape == (1, 20, 30, 3)
    whole = decoded(FILES["PNG"])
    np.testing.assert_allclose(image.mean(axis=(1, 2)), whole.mean(axis=(1, 2)), atol=1e-3)


def encoded_levels(image: np.ndarray, image_format: str) -> np.ndarray:
    file = encode(tf.constant(image), tf.constant(image_format))
    return tf.io.decode_image(file, dtype=tf.uint16 if image_format == "png16" else tf.uint8).numpy()


@pytest.mark.parametrize(("image_format", "most"), [("png", 255), ("png16", 65535)])
def test_encode_rounds_to_the_nearest_level(image_format: str, most: int) -> None:
    levels = np.linspace(0, most, 256).round().reshape(16, 16, 1).repeat(3, axis=2)
    for offset in (-0.4, 0.0, 0.4):
        image = np.clip((levels + offset) / most, 0.0, 1.0).astype(np.float32)
        np.testing.assert_array_equal(encoded_levels(image, image_format), levels)


def test_encode_jpeg_is_close() -> None:
    smooth = np.linspace(0, 1, 64 * 64 * 3, dtype=np.float32).reshape(64, 64, 3)
    np.testing.assert_allclose(encoded_levels(smooth, "jpeg"), smooth * 255, atol=4)


def test_16_bits_of_a_png_are_kept() -> None:
    levels = np.random.default_rng(0).integers(0, 2**16, (24, 32, 3), np.uint16)
    file = tf.io.encode_png(levels)
    name, kept = tf.constant("start_bytes"), {"limits": Limits(), "min_side": 16}
    scaled = decode(file, tf.constant(32.0), tf.zeros([2], tf.int32), name, **kept)
    stretched = decode(file, tf.constant(0.0), tf.constant([24, 32]), name, **kept)
    np.testing.assert_array_equal(np.rint(scaled[0] * 65535), levels)
    np.testing.assert_array_equal(np.rint(stretched[0] * 65535), levels)
    grey = decode(tf.io.encode_png(levels[..., :1]), tf.constant(32.0), tf.zeros([2], tf.int32), name, **kept)
    np.testing.assert_array_equal(np.rint(grey[0] * 65535), np.repeat(levels[..., :1], 3, axis=2))
