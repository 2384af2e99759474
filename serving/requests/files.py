"""Files of a request: their lengths and the sizes that their headers claim. Nothing is decoded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
from tensorflow.core.framework import tensor_pb2

from .picture_headers import has_a_known_start, picture_size
from .tensors import TensorError, shape_of, to_array

Inputs = Mapping[str, tensor_pb2.TensorProto]

MOST_FILES: Final = 1024
"""Files of an input that are read; a model with larger limits checks the others itself."""


class FileFacts(NamedTuple):
    """Facts of a file.

    Attributes:
        length: Bytes of the file; 0 for one that is left out.
        has_known_start: Whether it begins as one of the formats that models decode.
        size: Height and width in its header; None where the header has none that can be trusted.
    """

    length: int
    has_known_start: bool
    size: tuple[int, int] | None


class RequestFiles:
    """Facts of the files of a request. Each header is parsed once, when it is first asked for.

    Args:
        inputs: Inputs of the request, as sent.
    """

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        self._found: dict[str, list[list[FileFacts]]] = {}

    def of(self, name: str) -> list[list[FileFacts]]:
        """Facts of the files of an input, a row for each example; empty where the input is missing or unreadable."""
        if name not in self._found:
            self._found[name] = _facts(self._inputs[name]) if name in self._inputs else []
        return self._found[name]


def _facts(proto: tensor_pb2.TensorProto) -> list[list[FileFacts]]:
    try:
        if not 1 <= len(proto.tensor_shape.dim) <= 2 or math.prod(shape_of(proto)) > MOST_FILES:
            return []
        files = to_array(proto)
    except TensorError:
        return []
    if files.dtype != np.object_:
        return []
    parsed: dict[int, FileFacts] = {}  # one value may stand for many elements, and is parsed once
    for data in files.flat:
        if id(data) not in parsed:
            parsed[id(data)] = FileFacts(len(data), has_a_known_start(data), picture_size(data))
    return [[parsed[id(data)] for data in row] for row in (files if files.ndim > 1 else files[:, None])]


def resized(size: tuple[int, int], longest: np.float32) -> tuple[int, int]:
    """Height and width of a picture that is resized to a longest side, as the graph rounds: float32, half to even.

    >>> resized((25, 300), np.float32(100)), resized((300, 25), np.float32(60))
    ((8, 100), (60, 5))
    """
    height, width = np.rint(np.array(size, np.float32) * longest / np.float32(max(size))).astype(int).tolist()
    return height, width
