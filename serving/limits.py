"""What a model takes, held against a request before anything in it is parsed or decoded.

The graph makes the same checks, and says the same: these only come before memory is taken for what will be refused.
Whatever cannot be told from shapes, headers and controls is left to the graph.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tensorflow.core.framework import tensor_pb2

from styleserve import contract

from .errors import RequestError
from .picture_headers import has_a_known_start, picture_size
from .tensors import TensorError, to_array

_IMAGES = (contract.CONTENT_IMAGE, contract.STYLE_IMAGE, contract.IMAGE)
_FILES = (contract.CONTENT_BYTES, contract.STYLE_BYTES)
_PAINTED = (contract.CONTENT_IMAGE, contract.CONTENT_BYTES)
"""Inputs whose pixels make the work of a call. Of a style, only its features are taken, once."""

_SHOWN = 8
"""Values of a vector that the graph shows in its refusal."""

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
        batch = self._check_batch(inputs)
        controls = {
            control.name: self._check_control(control, inputs, defaults, batch) for control in contract.CONTROLS
        }
        steps, max_sides = controls[contract.STEPS.name], controls[contract.MAX_SIDE.name]
        for field, shape in _shapes(inputs, (*_IMAGES, *_FILES)):
            if field in _IMAGES:
                sizes = list(self._image_sizes(field.name, shape))
                # A run in chunks has a state for each example, and works on one after another.
                if contract.STATE.name not in defaults:
                    self._check_batch_pixels(field.name, shape[:3])
            else:
                sizes = list(self._file_sizes(field.name, inputs[field.name], max_sides))
            if steps and field in _PAINTED:
                self._check_work(sizes, steps, shape[0])

    def _check_batch(self, inputs: Inputs) -> int:
        """Number of examples of the call."""
        batch = 1
        for field, (size, *_) in _shapes(inputs, (*_IMAGES, *_FILES, contract.STATE, contract.EXAMPLE)):
            if not 1 <= size <= self.max_batch:
                raise _refusal(field.name, contract.batch_rule(self.max_batch), [size])
            batch = max(batch, size)
        return batch

    def _check_control(self, control: contract.Control, inputs: Inputs, defaults: Defaults, batch: int) -> list[int]:
        """Values of a control, sent or by default; none where the model has no such control, or cannot read them."""
        if control.name not in inputs:
            return defaults[control.name].tolist() if control.name in defaults else []
        proto = inputs[control.name]
        if len(proto.tensor_shape.dim) != 1:
            return []
        if (count := proto.tensor_shape.dim[0].size) not in (1, batch):
            raise _refusal(control.name, contract.partner_rule(contract.THE_BATCH), [count], [batch])
        try:
            array = to_array(proto)
        except TensorError:
            return []
        if array.dtype != control.dtype:
            return []
        high = self.max_steps if control is contract.STEPS else self.max_side
        high = high if control.maximum is None else control.maximum
        if not np.all((array >= array.dtype.type(control.minimum)) & (array <= array.dtype.type(high))):
            values = array.tolist() if array.dtype == np.int32 else list(array)
            raise _refusal(control.name, contract.range_rule(control.minimum, high), values)
        return array.tolist()

    def _image_sizes(self, name: str, shape: list[int]) -> Iterator[tuple[int, int]]:
        _, height, width, _ = shape
        if height or width:  # nothing at all stands for an image that is not given
            self._check_image(name, height, width)
            yield height, width

    def _file_sizes(self, name: str, proto: tensor_pb2.TensorProto, max_sides: list[int]) -> Iterator[tuple[int, int]]:
        """What the pictures are resized to; (0, 0) for one that is not given, or cannot be told."""
        try:
            files = to_array(proto)
        except TensorError:
            return
        for i, data in enumerate(files.tolist()):
            if len(data) > self.max_encoded_bytes:
                raise _refusal(name, contract.bytes_rule(self.max_encoded_bytes), [len(data)])
            if data and not has_a_known_start(data):
                raise _refusal(name, contract.FILE_RULE, [0, 0])
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
                raise _refusal(contract.STEPS.name, contract.work_rule(self.max_work), [work])


def _shapes(inputs: Inputs, fields: Iterable[contract.Field]) -> Iterator[tuple[contract.Field, list[int]]]:
    """Shapes of inputs that were sent, where they have the field's rank; others the signature refuses."""
    for field in fields:
        dims = inputs[field.name].tensor_shape.dim if field.name in inputs else ()
        if len(dims) == len(field.shape) and min(dim.size for dim in dims) >= 0:
            yield field, [dim.size for dim in dims]


def _refusal(name: str, rule: str, *came: Sequence[float | np.float32]) -> RequestError:
    """As the graph refuses, with the vectors that came."""
    vectors = (f"[{' '.join(map(_text, vector[:_SHOWN]))}{'...' * (len(vector) > _SHOWN)}]" for vector in came)
    return RequestError(f"assertion failed: [{name} {rule}] {' '.join(vectors)}")


def _text(number: float | np.float32) -> str:
    """A number as TensorFlow writes it: with the fewest digits that no other number of its type has.

    >>> _text(5000), _text(np.float32(0.1)), _text(np.float32(1.1e12)), _text(123.0), _text(float("nan"))
    ('5000', '0.1', '1.1e+12', '123', 'nan')
    """
    if isinstance(number, int):
        return str(number)
    few, enough = (6, 9) if type(number) is np.float32 else (15, 17)
    text = f"{number:.{few}g}"
    return text if type(number)(text) == number or math.isnan(number) else f"{number:.{enough}g}"
