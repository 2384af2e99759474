"""What a model takes, held against a request before anything in it is parsed or decoded.

The graph makes the same checks, and says the same: these only come before memory is taken for what will be refused.
Whatever cannot be told from shapes, headers and controls is left to the graph.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tensorflow.core.framework import tensor_pb2

from styleserve import contract

from .errors import RequestError
from .picture_headers import picture_size
from .tensors import TensorError, to_array

_IMAGES = (contract.CONTENT_IMAGE, contract.STYLE_IMAGE, contract.IMAGE)
_FILES = (contract.CONTENT_BYTES, contract.STYLE_BYTES)
_PAINTED = (contract.CONTENT_IMAGE, contract.CONTENT_BYTES)
"""Inputs whose pixels make the work of a call. Of a style, only its features are taken, once."""

Inputs = Mapping[str, tensor_pb2.TensorProto]
Defaults = Mapping[str, np.ndarray[Any, np.dtype[Any]]]


@dataclass(frozen=True)
class ModelLimits:
    """The limits of a model.

    Attributes:
        min_side: shortest side of an image that is worked on, in pixels.
        max_side: longest side.
        max_pixels: most pixels of an image that is worked on.
        max_steps: most steps of one call.
        max_batch: most examples of one call.
        max_work: most megapixel-steps of one call.
        max_encoded_pixels: most pixels of a file.
        max_encoded_bytes: most bytes of a file.
        max_batch_pixels: Most pixels of the images that one call works on together; None for models of older exports.
    """

    min_side: int
    max_side: int
    max_pixels: int
    max_steps: int
    max_batch: int
    max_work: float
    max_encoded_pixels: int
    max_encoded_bytes: int
    max_batch_pixels: int | None = None

    @property
    def images_bytes(self) -> int:
        """What two full batches of the largest images take, 3 channels of 4 bytes each."""
        return 2 * self.max_batch * self.max_pixels * 3 * 4

    def check(self, inputs: Inputs, defaults: Defaults) -> None:
        """Refuses a request that the model would refuse.

        Args:
            inputs: as they were sent.
            defaults: of the signature's inputs that may be left out.

        Raises:
            RequestError: with the text of the model's own refusal.
        """
        steps, max_sides = (self._control(control, inputs, defaults) for control in (contract.STEPS, contract.MAX_SIDE))
        for field in (*_IMAGES, *_FILES, contract.EXAMPLE):
            if field.name not in inputs:
                continue
            proto = inputs[field.name]
            if len(proto.tensor_shape.dim) != len(field.shape):
                continue
            shape = [dim.size for dim in proto.tensor_shape.dim]
            if min(shape) < 0:
                continue
            if not 1 <= shape[0] <= self.max_batch:
                raise _refusal(field.name, contract.batch_rule(self.max_batch), [shape[0]])
            sizes: list[tuple[int, int]] = []
            if field in _IMAGES:
                sizes = list(self._image_sizes(field.name, shape))
                # A run in chunks has a state for each example, and works on one after another.
                if contract.STATE.name not in defaults:
                    self._check_batch_pixels(field.name, shape[:3])
            elif field in _FILES and len(proto.string_val) == shape[0]:  # else it cannot be parsed; and may be millions
                sizes = list(self._file_sizes(field.name, proto, max_sides))
            if steps and field in _PAINTED:
                self._check_work(sizes, steps, shape[0])
        self._check_controls(inputs)

    def _check_controls(self, inputs: Inputs) -> None:
        """More values than the largest batch has examples are too many for any."""
        examples = (*_IMAGES, *_FILES, contract.STATE)
        sent = (inputs[field.name].tensor_shape.dim for field in examples if field.name in inputs)
        batch = max([1, *(dims[0].size for dims in sent if dims)])
        for control in contract.CONTROLS:
            values = _elements(inputs[control.name]) if control.name in inputs else 0
            if values > self.max_batch:
                raise _refusal(control.name, contract.partner_rule(contract.THE_BATCH), [values], [batch])

    def _image_sizes(self, name: str, shape: list[int]) -> Iterator[tuple[int, int]]:
        _, height, width, _ = shape
        if height or width:  # nothing at all stands for an image that is not given
            self._check_image(name, height, width)
            yield height, width

    def _file_sizes(self, name: str, proto: tensor_pb2.TensorProto, max_sides: list[int]) -> Iterator[tuple[int, int]]:
        """What the pictures are resized to; (0, 0) for one that is not given, or cannot be told."""
        for i, data in enumerate(proto.string_val):
            if len(data) > self.max_encoded_bytes:
                raise _refusal(name, contract.bytes_rule(self.max_encoded_bytes), [len(data)])
            size = picture_size(data)
            if size is None or not max_sides or not min(size):
                yield 0, 0
                continue
            if size[0] * size[1] > self.max_encoded_pixels:
                raise _refusal(name, contract.pixels_rule(self.max_encoded_pixels), size)
            max_side = max_sides[min(i, len(max_sides) - 1)]
            # In the graph's own precision, and with its rounding: half to even.
            height, width = (
                np.rint(np.array(size, np.float32) * np.float32(max_side) / np.float32(max(size))).astype(int).tolist()
            )
            self._check_image(name + contract.RESIZED, height, width)
            yield height, width

    def _check_image(self, name: str, height: int, width: int) -> None:
        if not self.min_side <= min(height, width) <= max(height, width) <= self.max_side:
            raise _refusal(name, contract.sides_rule(self.min_side, self.max_side), [height, width])
        if height * width > self.max_pixels:
            raise _refusal(name, contract.pixels_rule(self.max_pixels), [height, width])

    def _check_batch_pixels(self, name: str, sizes: list[int]) -> None:
        if self.max_batch_pixels is not None and math.prod(sizes) > self.max_batch_pixels:
            raise _refusal(name, contract.batch_pixels_rule(self.max_batch_pixels), sizes)

    def _check_work(self, sizes: list[tuple[int, int]], steps: list[int], batch: int) -> None:
        """Images of one tensor go on together until the last has its steps; files one after another, each its own."""
        together = len(sizes) < batch
        for i, (height, width) in enumerate(sizes):
            own = max(steps) if together else steps[min(i, len(steps) - 1)]
            work = height * width * own * batch / 1e6
            # The limit came as a float32, which may be a little less than what the graph compares with.
            if np.float32(work) > np.float32(self.max_work):
                raise _refusal(contract.STEPS.name, contract.work_rule(self.max_work), [float(f"{work:.9g}")])

    def _control(self, control: contract.Control, inputs: Inputs, defaults: Defaults) -> list[int]:
        """The values of a control; none where the model has no such control, or will refuse them."""
        try:
            small = control.name in inputs and 0 < _elements(inputs[control.name]) <= self.max_batch
            array = to_array(inputs[control.name]) if small else defaults.get(control.name)
        except TensorError:
            return []
        if array is None or (control.name in inputs and not small) or array.dtype != np.int32:
            return []
        high = self.max_steps if control is contract.STEPS else self.max_side
        values = array.reshape(-1).tolist()
        return values if all(control.minimum <= value <= high for value in values) else []


def _elements(proto: tensor_pb2.TensorProto) -> int:
    (size,) = [dim.size for dim in proto.tensor_shape.dim] if len(proto.tensor_shape.dim) == 1 else [0]
    return size


def _refusal(name: str, rule: str, *came: Sequence[float]) -> RequestError:
    """As the graph refuses, with the vectors that came."""
    vectors = (f"[{' '.join(str(number) for number in vector)}]" for vector in came)
    return RequestError(f"assertion failed: [{name} {rule}] {' '.join(vectors)}")
