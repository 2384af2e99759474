"""The first frame of an animated GIF, found in the graph without decoding anything.

Format: GIF89a Specification, CompuServe 1990, sections 15 to 26. `tf.io.decode_image` uses one frame and yet decodes
all of them, each as large as it says, so a file of some megabytes may hold thousands of pictures.
"""

from __future__ import annotations

from typing import Final

import tensorflow as tf

from .interruptible import uninlined

_MOST_RUNS: Final = 2**14
"""Walked in about a second. Encoders make all parts of one size but the last, so that no real file has so many."""

_RUN: Final = 256
"""Parts of the same size that are passed at once, at most."""

_AT_BLOCK, _IN_EXTENSION, _IN_FRAME, _AT_END = range(4)


def _first_frame(picture: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """A GIF file of the first frame alone: without extensions, and as large as the frame.

    Args:
        picture: string scalar, a file that begins as a GIF does. What is no GIF further on is the decoder's to refuse.

    Returns:
        The file, string scalar; height and width of its frame, `[2]` int64, zeros where there is none.
    """
    length = tf.strings.length(picture)

    def part(start: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
        start = tf.minimum(start, length)
        return tf.strings.substr(picture, start, tf.maximum(end - start, 0))

    def numbers(at: tf.Tensor, size: int | tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.io.decode_raw(part(at, at + size), tf.uint8), tf.int32)

    def ten_numbers(at: tf.Tensor) -> tf.Tensor:
        """Zeros behind the end."""
        return tf.pad(numbers(at, 10), [[0, 10]])[:10]

    def colours_bytes(flags: tf.Tensor) -> tf.Tensor:
        """Of the table of colours that a byte of flags tells of."""
        return tf.where(flags >= 0x80, 3 * 2 ** (flags % 8 + 1), 0)

    def unfinished(at: tf.Tensor, state: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        return (state != _AT_END) & (at < length)

    def block(at: tf.Tensor, _: tf.Tensor, frame: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        head = ten_numbers(at)
        extension, is_frame = head[0] == ord("!"), head[0] == ord(",")
        # An extension's first part may be empty and yet not the last: decoders take it for a part of the introducer.
        # A frame's descriptor is followed by its colours and the size of codes.
        skipped = tf.where(is_frame, 11 + colours_bytes(head[9]), tf.where(extension, 3 + head[2], 0))
        state = tf.where(is_frame, _IN_FRAME, tf.where(extension, _IN_EXTENSION, _AT_END))
        return at + skipped, state, tf.where(is_frame, at, frame)

    def parts(at: tf.Tensor, state: tf.Tensor, frame: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Each begins with its length, and the one without any is the last."""
        own = numbers(at, 1)[0]
        alike = tf.cast(numbers(at, _RUN * (own + 1))[:: own + 1] == own, tf.int32)
        run = tf.where(own > 0, tf.reduce_sum(tf.math.cumprod(alike)), 1)
        after = tf.where(state == _IN_FRAME, _AT_END, _AT_BLOCK)
        return at + run * (own + 1), tf.where(own > 0, state, after), frame

    def step(at: tf.Tensor, state: tf.Tensor, frame: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        return tf.cond(state == _AT_BLOCK, lambda: block(at, state, frame), lambda: parts(at, state, frame))

    start = 13 + colours_bytes(ten_numbers(tf.constant(10))[0])
    at, _, frame = tf.while_loop(
        unfinished,
        step,
        (start, tf.constant(_AT_BLOCK), length),
        maximum_iterations=_MOST_RUNS,
        parallel_iterations=1,
    )
    sides = tf.cast(ten_numbers(frame), tf.int64)
    # In the corner of a canvas that decoders make as large as the frame: elsewhere they cut it off.
    still = tf.strings.join([part(tf.constant(0), start), ",\0\0\0\0", part(frame + 5, at), ";"])
    return still, tf.stack([sides[7] + 256 * sides[8], sides[5] + 256 * sides[6]])


# A call, so that it is one function in the graph however often it is used, and prepared only where a GIF comes.
first_frame = uninlined(_first_frame, [tf.TensorSpec([], tf.string)])
