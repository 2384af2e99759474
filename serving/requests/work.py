"""Work and memory of a request, estimated before pictures are decoded, and steps of a response.

The estimates sort calls into short and long ones, and keep those that run within the memory. A request with false
headers waits longer than necessary, or the graph refuses it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import numpy as np
from tensorflow.core.framework import tensor_pb2

from styleserve.contract import CONTENT_BYTES, LOSSES, MAX_SIDE, STATE, STEPS, STYLE_BYTES, STYLE_SCALE

from .file_headers import MAX_FILES, FileHeader, resized
from .request_header import RequestHeader, for_example

SHORT_PIXEL_STEPS: Final = 2**20
"""Most pixels times steps of a short call: four steps at 512 x 512 pixels, one at 1024 x 1024. On two cores of a CPU,
at the 6 µs that a step takes for each pixel in bfloat16, that is 6 s."""

_STATE_BYTES_PER_PIXEL: Final = 48
"""Bytes of a state of Adam for each pixel. L-BFGS has 36 to 96, so its runs count as up to twice as long."""
_LEAST_STATE_BYTES_PER_PIXEL: Final = 36


def pixel_steps(header: RequestHeader) -> float:
    """Pixels times steps, summed over the examples. Without steps a signature counts as one; so does each style."""
    steps = header.numbers(STEPS, 1.0)
    work = _image_pixels(header) * float(steps.max())
    for i, example in enumerate(_examples(header)):
        pixels = sum(length / _STATE_BYTES_PER_PIXEL for length in example.state_bytes) + sum(example.contents)
        work += pixels * float(for_example(steps, i)) + sum(example.styles)
    return work


def pixels_at_a_time(header: RequestHeader) -> float:
    """Most pixels that a call processes at a time: those of all images, or of the largest file after resizing."""
    found = [_image_pixels(header)]
    for example in _examples(header):
        found += [length / _LEAST_STATE_BYTES_PER_PIXEL for length in example.state_bytes]
        found += [*example.contents, *example.styles]
    return max(found)


def steps_done(outputs: Mapping[str, tensor_pb2.TensorProto], header: RequestHeader) -> int:
    """Steps of the optimiser in a response, summed over the examples.

    Args:
        outputs: Outputs of the response; their losses have a row for each step.
        header: Header of the request, whose steps count if there are no losses.
    """
    if LOSSES.name in outputs:
        losses = outputs[LOSSES.name]
        columns = [dim.size for dim in losses.tensor_shape.dim[-1:]]
        # The losses of each example end in NaN after its own last step.
        return int(np.isfinite(losses.float_val[:: max([1, *columns])]).sum())
    return int(header.batch_size * header.numbers(STEPS, 0.0).max())


class _Example(NamedTuple):
    """Files of an example.

    Attributes:
        state_bytes: Size of its state, if it has one.
        contents: Pixels of its content after resizing.
        styles: Pixels of each of its styles after resizing.
    """

    state_bytes: list[int]
    contents: list[float]
    styles: list[float]


def _examples(header: RequestHeader) -> Iterator[_Example]:
    """Examples of a signature with files, up to `MAX_FILES`."""
    sides = header.numbers(MAX_SIDE, 0.0)
    scale = float(header.numbers(STYLE_SCALE, 1.0).max())
    contents, styles, states = (header.files.get(field.name, []) for field in (CONTENT_BYTES, STYLE_BYTES, STATE))
    for i in range(min(header.batch_size, MAX_FILES) if contents or styles or states else 0):
        side = float(for_example(sides, i))
        yield _Example(
            [file.length for file in _row(states, i)],
            [_pixels(file, side) for file in _row(contents, i)],
            [_pixels(file, side * scale) for file in _row(styles, i)],
        )


def _image_pixels(header: RequestHeader) -> float:
    """Pixels of the images of all examples, by the largest one."""
    largest = max((shape[1] * shape[2] for shape in header.shapes.values() if len(shape) == 4), default=0)
    return float(largest * header.batch_size)


def _pixels(file: FileHeader, longest: float) -> float:
    """Pixels of a file after resizing; those of a square if its header has no size."""
    if not file.length:
        return 0.0
    return longest**2 if file.size is None or not min(file.size) else math.prod(resized(file.size, np.float32(longest)))


def _row(rows: list[list[FileHeader]], i: int) -> list[FileHeader]:
    return for_example(rows, i) if rows else []
