"""Encoded pictures in the graph: size from the header, decoding, resizing, encoding."""

from __future__ import annotations

import tensorflow as tf

from styleserve import contract
from styleserve.contract import Limits

from ..checks import check, checked_sides

_HEADER_BYTES = 32
"""Bytes of a file that hold its size, in every format but JPEG."""

_PNG_DEPTH = 24
"""Place of the byte in a PNG file with the bits of a channel."""


def header_size(picture: tf.Tensor) -> tf.Tensor:
    """Height and width in the header of a file, read without decoding it.

    Decoders allocate memory by the header, so a file of a few bytes may need gigabytes.

    Args:
        picture: The file, string scalar.

    Returns:
        `[2]` int64; zeros if the header has no size, or the format is none of JPEG, PNG and WebP.
    """
    padded = tf.strings.join([tf.strings.substr(picture, 0, _HEADER_BYTES), tf.constant(b"\0" * _HEADER_BYTES)])
    header = tf.cast(tf.io.decode_raw(tf.strings.substr(padded, 0, _HEADER_BYTES), tf.uint8), tf.int64)

    def little(start: int, size: int) -> tf.Tensor:
        return tf.reduce_sum(header[start : start + size] * tf.constant([256**i for i in range(size)], tf.int64))

    def big(start: int, size: int) -> tf.Tensor:
        return tf.reduce_sum(header[start : start + size] * tf.constant([256**i for i in range(size)][::-1], tf.int64))

    def starts(magic: bytes, at: int = 0) -> tf.Tensor:
        return tf.reduce_all(header[at : at + len(magic)] == tf.constant(list(magic), tf.int64))

    def jpeg() -> tf.Tensor:
        return tf.cast(tf.image.extract_jpeg_shape(picture), tf.int64)[:2]

    webp = starts(b"RIFF") & starts(b"WEBP", 8)
    lossless = little(21, 4)  # two fields of 14 bits
    sizes = [
        # IHDR must come first: libpng skips chunks before it, which could hold another size.
        (starts(b"\x89PNG\r\n\x1a\n") & starts(b"IHDR", 12), big(20, 4), big(16, 4)),
        (webp & starts(b"VP8X", 12), little(27, 3) + 1, little(24, 3) + 1),
        (webp & starts(b"VP8L", 12), lossless // 2**14 % 2**14 + 1, lossless % 2**14 + 1),
        (webp & starts(b"VP8 ", 12), little(28, 2) % 2**14, little(26, 2) % 2**14),
    ]
    # A file begins in one way at most, so a sum selects its size. Conditionals would add seconds to a server's start.
    others = tf.add_n([tf.cast(begins, tf.int64) * tf.stack(size) for begins, *size in sizes])
    return tf.cond(starts(b"\xff\xd8\xff"), jpeg, lambda: others)


def decode(
    picture: tf.Tensor, longest: tf.Tensor, size: tf.Tensor, name: tf.Tensor, *, limits: Limits, min_side: int
) -> tf.Tensor:
    """A file as an image, decoded and resized.

    Resizing uses antialiasing (the tutorial's does not, and aliases large photographs). It is bilinear, as in the
    tutorial, or bicubic to a given size, which enlarges the start of the next octave.

    Args:
        picture: The file, string scalar, in one of `contract.ENCODED_FORMATS`.
        longest: Longest side of the image in pixels, float32 scalar, if `size` is zeros.
        size: Height and width of the image, `[2]` int32; zeros keep the proportions of the file.
        name: Name of the input, for error messages, string scalar.
        limits: Limits of the model.
        min_side: Shortest side that the network can process, in pixels.

    Returns:
        `[1, height, width, 3]` float32 RGB in [0, 1].
    """
    most, most_pixels = (int(limits.numbers()[name]) for name in ("max_encoded_bytes", "max_encoded_pixels"))
    length = tf.strings.length(picture)
    picture = check(picture, length <= most, tf.strings.join([name, contract.bytes_rule(most)], separator=" "), length)
    claimed = header_size(picture)
    rule = tf.strings.join([name, contract.FILE_RULE], separator=" ")
    picture = check(picture, tf.reduce_all(claimed > 0), rule, claimed)
    picture = check(
        picture,
        tf.reduce_all(claimed <= most_pixels) & (tf.reduce_prod(claimed) <= most_pixels),
        tf.strings.join([name, contract.pixels_rule(most_pixels)], separator=" "),
        claimed,
    )
    sides = tf.cast(claimed, tf.float32)
    proportional = tf.cast(tf.round(sides * longest / tf.reduce_max(sides)), tf.int32)
    stretched = tf.reduce_all(size > 0)
    sides = tf.where(stretched, size, proportional)
    picture = checked_sides(picture, sides, tf.strings.join([name, contract.RESIZED]), limits, min_side)

    def resized(pixels: tf.Tensor) -> tf.Tensor:
        # Resized from integers: as floats a photograph takes several times the memory.
        def to_sides(method: str) -> tf.Tensor:
            return tf.cast(tf.image.resize(pixels[None], sides, method, antialias=True), tf.float32)

        image = tf.cond(
            stretched,
            lambda: to_sides(tf.image.ResizeMethod.BICUBIC),
            lambda: to_sides(tf.image.ResizeMethod.BILINEAR),
        )
        return tf.clip_by_value(image / float(pixels.dtype.max), 0.0, 1.0)

    sixteen_bits = _starts(picture, b"\x89PNG") & (tf.strings.substr(picture, _PNG_DEPTH, 1) == b"\x10")
    return tf.cond(
        sixteen_bits,
        lambda: resized(_rgb(tf.io.decode_png(picture, channels=3, dtype=tf.uint16))),
        lambda: resized(_decode(picture)),
    )


def _decode(picture: tf.Tensor) -> tf.Tensor:
    """Pixels `[height, width, 3]` uint8.

    JPEG is decoded with libjpeg's accurate transform, as in other programs. `tf.io.decode_image` uses the fast one,
    which is a level off on average.
    """
    pixels = tf.cond(
        tf.io.is_jpeg(picture),
        lambda: tf.io.decode_jpeg(picture, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_image(picture, channels=3, expand_animations=False),
    )
    return _rgb(pixels)


def _rgb(pixels: tf.Tensor) -> tf.Tensor:
    return tf.ensure_shape(pixels, [None, None, 3])


def _starts(picture: tf.Tensor, magic: bytes) -> tf.Tensor:
    return tf.strings.substr(picture, 0, len(magic)) == magic


def encode(image: tf.Tensor, image_format: tf.Tensor) -> tf.Tensor:
    """An image as a file, string scalar, rounded to the nearest level.

    PNG uses zlib's level 1: on a stylised picture the default takes three times as long for a file 4 to 10 % smaller.

    Args:
        image: `[height, width, 3]` float32 in [0, 1].
        image_format: One of `contract.IMAGE_FORMAT.choices`, string scalar.
    """

    def levels(dtype: tf.DType) -> tf.Tensor:
        return tf.cast(tf.round(image * float(dtype.max)), dtype)

    encoders = {
        "png": lambda: tf.io.encode_png(levels(tf.uint8), compression=1),
        "png16": lambda: tf.io.encode_png(levels(tf.uint16), compression=1),
        "jpeg": lambda: tf.io.encode_jpeg(levels(tf.uint8), quality=95, chroma_downsampling=False),
    }
    index = tf.argmax(image_format == tf.constant(contract.IMAGE_FORMAT.choices), output_type=tf.int32)
    return tf.switch_case(index, [encoders[name] for name in contract.IMAGE_FORMAT.choices])
