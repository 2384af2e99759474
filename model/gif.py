"""The first frame of an animated GIF, found in the graph without decoding anything.

Format: GIF89a Specification, CompuServe 1990, sections 15 to 26. `tf.io.decode_image` uses one frame and yet decodes
all of them, each as large as it says, so a file of some megabytes may hold thousands of pictures.
"""

from __future__ import annotations

from typing import Final

import tensorflow as tf

from .interruptible import uninlined

_MOST_PARTS: Final = 2**18
"""Read in a few seconds. Encoders make parts of 255 bytes: a first frame of 67 MB. More is cut off."""

_AT_BLOCK, _IN_EXTENSION, _IN_FRAME, _AT_END = range(4)


def _first_frame(picture: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """A GIF file that ends with its first frame.

    Args:
        picture: string scalar, a file that begins as a GIF does. What is no GIF further on is the decoder's to refuse.

    Returns:
        The shorter file, string scalar; and height and width of its frame, `[2]` int64, which may differ from those in
        the file's header. Zeros where there is no frame.
    """
    length = tf.strings.length(picture)

    def numbers(at: tf.Tensor) -> tf.Tensor:
        """Ten bytes as int32; zeros behind the end."""
        part = tf.strings.join([tf.strings.substr(picture, tf.minimum(at, length), 10), tf.constant(b"\0" * 10)])
        return tf.cast(tf.io.decode_raw(tf.strings.substr(part, 0, 10), tf.uint8), tf.int32)

    def colours_bytes(flags: tf.Tensor) -> tf.Tensor:
        """Of the table of colours that a byte of flags tells of."""
        return tf.where(flags >= 0x80, 3 * 2 ** (flags % 8 + 1), 0)

    def wanted(at: tf.Tensor, state: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        return (state != _AT_END) & (at < length)

    def step(at: tf.Tensor, state: tf.Tensor, frame: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        part = numbers(at)
        kind, at_block = part[0], state == _AT_BLOCK
        extension, starts_frame = at_block & (kind == ord("!")), at_block & (kind == ord(","))
        # Parts of data begin with their length, and the one without any is the last.
        ends = tf.where(kind > 0, state, tf.where(state == _IN_FRAME, _AT_END, _AT_BLOCK))
        after = tf.where(starts_frame, _IN_FRAME, tf.where(extension, _IN_EXTENSION, _AT_END))
        # A descriptor is followed by its colours and the size of codes.
        skipped = tf.where(starts_frame, 11 + colours_bytes(part[9]), tf.where(extension, 2, 0))
        return (
            at + tf.where(at_block, skipped, 1 + kind),
            tf.where(at_block, after, ends),
            tf.where(starts_frame, at, frame),
        )

    start = 13 + colours_bytes(numbers(tf.constant(10))[0])
    at, _, frame = tf.while_loop(
        wanted,
        step,
        (start, tf.constant(_AT_BLOCK), length),
        maximum_iterations=_MOST_PARTS,
        parallel_iterations=1,
    )
    sides = tf.cast(numbers(frame), tf.int64)
    still = tf.strings.join([tf.strings.substr(picture, 0, tf.minimum(at, length)), tf.constant(b";")])
    return still, tf.stack([sides[7] + 256 * sides[8], sides[5] + 256 * sides[6]])


# A call, so that it is one function in the graph however often it is used, and prepared only where a GIF comes.
first_frame = uninlined(_first_frame, [tf.TensorSpec([], tf.string)])
