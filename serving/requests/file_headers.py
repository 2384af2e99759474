"""Headers of the files in a request: lengths, formats and sizes. No picture is decoded."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from tensorflow.core.framework import tensor_pb2

from .picture_headers import has_known_format, picture_size
from .tensors import TensorError, shape_of, to_array

MAX_FILES: Final = 1024
"""Most files of an input whose headers are read; the graph checks the files of larger inputs."""


class FileHeader(NamedTuple):
    """Header of a file.

    Attributes:
        length: Bytes of the file; 0 for one that is left out.
        has_known_format: Whether the file begins as one of the formats that models decode.
        size: Height and width by the header; None if the header lacks them.
    """

    length: int
    has_known_format: bool
    size: tuple[int, int] | None


def file_headers(proto: tensor_pb2.TensorProto) -> list[list[FileHeader]]:
    """Headers of the files of an input, one row for each example; empty if the input holds no readable files."""
    try:
        if not 1 <= len(proto.tensor_shape.dim) <= 2 or math.prod(shape_of(proto)) > MAX_FILES:
            return []
        files = to_array(proto)
    except TensorError:
        return []
    if files.dtype != np.object_:
        return []
    parsed: dict[int, FileHeader] = {}  # one value may stand for many elements, and is parsed once
    for data in files.flat:
        if id(data) not in parsed:
            parsed[id(data)] = FileHeader(len(data), has_known_format(data), picture_size(data))
    return [[parsed[id(data)] for data in row] for row in (files if files.ndim > 1 else files[:, None])]


def resized(size: tuple[int, int], longest: np.float32) -> tuple[int, int]:
    """Height and width after resizing to a longest side, rounded as in the graph: float32, half to even.

    >>> resized((25, 300), np.float32(100)), resized((300, 25), np.float32(60))
    ((8, 100), (60, 5))
    """
    height, width = np.rint(np.array(size, np.float32) * longest / np.float32(max(size))).astype(int).tolist()
    return height, width
