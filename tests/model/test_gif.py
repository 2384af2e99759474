import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from styleserve.contract import Limits
from styleserve.model.gif import first_frame
from styleserve.model.pictures import decode

HEIGHT, WIDTH = 25, 300


def animated(frames: int = 4, **options: object) -> bytes:
    rng = np.random.default_rng(0)
    first, *others = [Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH), np.uint8)) for _ in range(frames)]
    file = io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=others, **options)
    return file.getvalue()


def with_frame_of(data: bytes, height: int, width: int) -> bytes:
    """The file, whose first frame claims other sides."""
    at = data.index(b"," + struct.pack("<HHHH", 0, 0, WIDTH, HEIGHT))
    return data[: at + 5] + struct.pack("<HH", width, height) + data[at + 9 :]


def decoded(data: bytes) -> np.ndarray:
    limits = Limits(max_encoded_pixels=20_000)
    name = tf.constant("content_bytes")
    return decode(
        tf.constant(data), tf.constant(float(WIDTH)), tf.constant([0, 0]), name, limits=limits, min_side=4
    ).numpy()


@pytest.mark.parametrize(
    "options",
    [{}, {"duration": 20, "loop": 0}, {"comment": b"x" * 600}, {"interlace": True, "disposal": 2}],
    ids=str,
)
@pytest.mark.parametrize("frames", [1, 4])
def test_the_first_frame_alone(frames: int, options: dict[str, object]) -> None:
    data = animated(frames, **options)
    still, size = first_frame(data)
    assert size.numpy().tolist() == [HEIGHT, WIDTH]
    with Image.open(io.BytesIO(still.numpy())) as image, Image.open(io.BytesIO(data)) as whole:
        assert getattr(image, "n_frames", 1) == 1
        np.testing.assert_array_equal(image.convert("RGB"), whole.convert("RGB"))
        np.testing.assert_allclose(decoded(data)[0], np.asarray(whole.convert("RGB")) / 255.0, atol=1e-6)


def test_colours_of_its_own_are_part_of_the_frame() -> None:
    """Global table taken away, and given to the frame."""
    data = animated(1)
    colours = 3 * 2 ** (data[10] % 8 + 1)
    at = data.index(b"," + struct.pack("<HHHH", 0, 0, WIDTH, HEIGHT))
    header = data[:10] + bytes([data[10] & 0x7F]) + data[11:13]
    flags = bytes([data[at + 9] | data[10] & 0x87])  # whether it is interlaced stays
    own = header + data[13 + colours : at + 9] + flags + data[13 : 13 + colours] + data[at + 10 :]
    still, size = first_frame(own)
    assert still.numpy() == own
    assert size.numpy().tolist() == [HEIGHT, WIDTH]
    np.testing.assert_array_equal(decoded(own), decoded(data))


def test_further_frames_are_not_decoded_whatever_they_claim() -> None:
    data = animated(1)
    bomb = b"," + struct.pack("<HHHH", 0, 0, 65535, 65535) + b"\0\x02\x02\x4c\x01\0"
    np.testing.assert_array_equal(decoded(data[:-1] + 1000 * bomb + b";"), decoded(data))


def test_a_frame_larger_than_its_picture_counts() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"at most 20000 pixels; got height, width:.*60000 40000"):
        decoded(with_frame_of(animated(), 60_000, 40_000))


def test_where_the_frame_stands_on_its_canvas_is_forgotten() -> None:
    """Decoders that cut it off there would show half of it, or nothing."""
    data = animated(1)
    at = data.index(b"," + struct.pack("<HHHH", 0, 0, WIDTH, HEIGHT))
    moved = data[: at + 1] + struct.pack("<HH", 200, 20) + data[at + 5 :]
    np.testing.assert_array_equal(decoded(moved), decoded(data))


def test_an_empty_extension_hides_no_frame() -> None:
    """To decoders an empty first part is not the last one: what looks like a small frame is another part to them."""
    data = animated(1)
    at = data.index(b"," + struct.pack("<HHHH", 0, 0, WIDTH, HEIGHT))
    small = b"," + struct.pack("<HHHH", 0, 0, 1, 1)
    hidden = data[:at] + b"!\xfe\0" + small.ljust(45, b"x") + b"\0" + data[at:]
    assert tf.io.decode_gif(hidden).shape == (1, HEIGHT, WIDTH, 3)
    still, size = first_frame(hidden)
    assert size.numpy().tolist() == [HEIGHT, WIDTH]
    np.testing.assert_array_equal(tf.io.decode_gif(still), tf.io.decode_gif(data))


@pytest.mark.parametrize("length", [6, 10, 13, 20, 790, 1000])
def test_a_file_that_is_cut_short_is_the_decoder_s_to_refuse(length: int) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError):
        decoded(animated(1)[:length])


@pytest.mark.parametrize("part", [b"\xff" + 255 * b"x", b"\1x", b"\2xx\1x"], ids=len)
def test_parts_before_the_frame(part: bytes) -> None:
    """Of one size they are passed in long runs; in ever changing sizes only so many are."""
    data = animated(1)
    at = data.index(b"," + struct.pack("<HHHH", 0, 0, WIDTH, HEIGHT))
    long = data[:at] + b"!\xfe" + part * 10_000 + b"\0" + data[at:]
    if len(part) == 5:
        with pytest.raises(tf.errors.InvalidArgumentError, match="with its size in its header; got height, width:"):
            decoded(long)
    else:
        np.testing.assert_array_equal(decoded(long), decoded(data))
