"""Checks of a request against the limits of a model, before pictures are decoded.

The graph makes the same checks with the same texts; these refuse a request before it takes memory. The graph alone
checks pixels, states, and combinations of files.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np

from styleserve import contract
from styleserve.contract import Control, Field

from .file_headers import FileHeader, resized
from .limits import ModelLimits
from .refusals import refusal
from .request_header import RequestHeader, for_example
from .tensors import Array

_RANK_OF_IMAGES: Final = 4
_BATCHES: Final = (contract.STATE, contract.RETURN_STATE, contract.CONTRACT_VERSION_INPUT, contract.EXAMPLE)
"""Inputs beside images and files that have the batch size."""
_PER: Final = {"style": "style", "layer": "style layer"}
"""Names in messages for the second dimension of an input."""


def check_request(limits: ModelLimits, signature: str, header: RequestHeader) -> None:
    """Refuses a request that the model would refuse.

    Args:
        limits: Limits of the model.
        signature: Name of the signature to call.
        header: Header of the request, whose names, types and ranks were checked.

    Raises:
        RequestError: The request is refused, with the text of the model's own refusal.
    """
    if signature in contract.SIGNATURES:
        _Check(limits, contract.SIGNATURES[signature].inputs, header).run()


class _Check:
    """Check of one request."""

    def __init__(self, limits: ModelLimits, fields: Iterable[Field], header: RequestHeader) -> None:
        self._limits = limits
        self._fields = tuple(fields)
        self._header = header
        self._batch_size = 1
        self._counts = {"style": 1, "layer": limits.style_layers}

    def run(self) -> None:
        self._check_batch()
        self._check_version()
        self._check_styles()
        controls = {field.name: self._control(field.control) for field in self._fields if field.control is not None}
        steps = controls.get(contract.STEPS.name)
        for field, shape in self._sent(self._images()):
            self._check_image(field.name, *shape[1:3])
            self._check_batch_pixels(field.name, shape[:3])
            if field is contract.CONTENT_IMAGE and steps is not None:
                self._check_work(shape[1] * shape[2], int(steps.max()))
        for field in self._file_fields():
            self._check_files(field.name)
        max_sides, scales = (controls.get(name) for name in (contract.MAX_SIDE.name, contract.STYLE_SCALE.name))
        if max_sides is not None:
            self._check_contents(max_sides, steps)
            if scales is not None:
                self._check_style_sizes(max_sides, scales)

    def _images(self) -> Iterator[Field]:
        return (field for field in self._fields if len(field.shape) == _RANK_OF_IMAGES)

    def _file_fields(self) -> Iterator[Field]:
        return (field for field in self._fields if field in contract.FILES)

    def _sent(self, fields: Iterable[Field]) -> Iterator[tuple[Field, tuple[int, ...]]]:
        """Shapes of the inputs that were sent."""
        for field in fields:
            shape = self._header.shapes.get(field.name, ())
            if len(shape) == len(field.shape):
                yield field, shape

    def _check_batch(self) -> None:
        fields = [*self._images(), *self._file_fields(), *(field for field in self._fields if field in _BATCHES)]
        for field, (size, *_) in self._sent(fields):
            if not 1 <= size <= self._limits.max_batch:
                raise refusal(field.name, contract.batch_rule(self._limits.max_batch), [size])
            self._batch_size = max(self._batch_size, size)

    def _check_version(self) -> None:
        for field, allowed, rule in (
            (contract.CONTRACT_VERSION_INPUT, [self._limits.contract_version], contract.CONTRACT_VERSION_RULE),
            (contract.RETURN_STATE, [0, 1], contract.RETURN_STATE_RULE),
        ):
            values = self._values(field.name, np.int32, 1) if field.name in self._header.inputs else None
            if values is not None and not np.all(np.isin(values, allowed)):
                raise refusal(field.name, rule, np.broadcast_to(values, [self._batch_size]))

    def _check_styles(self) -> None:
        for _, (_, styles) in self._sent([contract.STYLE_BYTES]):
            if not 1 <= styles <= self._limits.max_styles:
                raise refusal(contract.STYLE_BYTES.name, contract.styles_rule(self._limits.max_styles), [styles])
            self._counts["style"] = styles
        for field, shape in self._sent(self._file_fields()):
            if len(shape) > 1:
                self._check_per(field.name, "style", shape[1])

    def _check_per(self, name: str, per: str, size: int) -> None:
        if size not in (1, self._counts[per]):
            raise refusal(name, contract.per_rule(_PER[per]), [size], [self._counts[per]])

    def _values(self, name: str, dtype: Any, rank: int) -> Array | None:  # noqa: ANN401 - as NumPy takes it
        """Values of a control, sent or by default; None if they are not readable as such an array."""
        array = self._header.controls.get(name)
        return array if array is not None and array.ndim == rank and array.dtype == dtype else None

    def _control(self, control: Control) -> Array | None:
        """Values of a control, after their checks; None if there are none."""
        for _, shape in self._sent(field for field in self._fields if field.control is control):
            if shape[0] not in (1, self._batch_size):
                raise refusal(control.name, contract.partner_rule(contract.THE_BATCH), [shape[0]], [self._batch_size])
            if control.per:
                self._check_per(control.name, control.per, shape[1])
        dtype = np.object_ if control.dtype == "string" else control.dtype
        array = self._values(control.name, dtype, len(control.shape))
        if array is None:
            return None
        if control.choices:
            if not set(array.flat) <= {choice.encode() for choice in control.choices}:
                raise refusal(control.name, contract.choice_rule(control.choices), array)
            return array
        high = self._limits.max_steps if control is contract.STEPS else self._limits.max_side
        high = high if control.maximum is None else control.maximum
        if not np.all((array >= array.dtype.type(control.minimum)) & (array <= array.dtype.type(high))):
            raise refusal(control.name, contract.range_rule(control.minimum, high), array)
        if control is contract.STYLE_BLEND and not array.any(axis=1).all():
            shares = np.broadcast_to(array, [self._batch_size, self._counts["style"]])
            raise refusal(control.name, contract.BLEND_RULE, shares)
        return array

    def _check_files(self, name: str) -> None:
        most_bytes, most_pixels = self._limits.max_encoded_bytes, self._limits.max_encoded_pixels
        for file in (file for row in self._header.files.get(name, []) for file in row if file.length):
            if file.length > most_bytes:
                raise refusal(name, contract.bytes_rule(most_bytes), [file.length])
            if not file.has_known_format:
                raise refusal(name, contract.FILE_RULE, [0, 0])
            if file.size is not None and min(file.size) and math.prod(file.size) > most_pixels:
                raise refusal(name, contract.pixels_rule(most_pixels), file.size)

    def _check_contents(self, max_sides: Array, steps: Array | None) -> None:
        name = contract.CONTENT_BYTES.name
        rows = self._header.files.get(name, [])
        for i in range(self._batch_size if rows else 0):
            (file,) = for_example(rows, i)
            if (size := _size(file, np.float32(for_example(max_sides, i)))) is not None:
                self._check_image(name + contract.RESIZED, *size)
                if steps is not None:
                    self._check_work(math.prod(size), int(for_example(steps, i)))

    def _check_style_sizes(self, max_sides: Array, scales: Array) -> None:
        name = contract.STYLE_BYTES.name
        rows = self._header.files.get(name, [])
        for i in range(self._batch_size if rows else 0):
            for s, file in enumerate(for_example(rows, i)):
                longest = np.float32(for_example(max_sides, i)) * for_example(for_example(scales, i), s)
                if (size := _size(file, longest)) is not None:
                    self._check_image(name + contract.RESIZED, *size)

    def _check_image(self, name: str, height: int, width: int) -> None:
        limits = self._limits
        if not limits.min_side <= min(height, width) <= max(height, width) <= limits.max_side:
            raise refusal(name, contract.sides_rule(limits.min_side, limits.max_side), [height, width])
        if height * width > limits.max_pixels:
            raise refusal(name, contract.pixels_rule(limits.max_pixels), [height, width])

    def _check_batch_pixels(self, name: str, sizes: tuple[int, ...]) -> None:
        most = self._limits.max_batch_pixels
        if math.prod(sizes) > most:
            raise refusal(name, contract.batch_pixels_rule(most), sizes)

    def _check_work(self, pixels: int, steps: int) -> None:
        work = pixels * steps * self._batch_size / 1e6
        # The limit is a float32, which may be a little less than the number in the graph.
        if np.float32(work) > np.float32(self._limits.max_work):
            raise refusal(contract.STEPS.name, contract.work_rule(self._limits.max_work), [work])


def _size(file: FileHeader, longest: np.float32) -> tuple[int, int] | None:
    """Size of a picture after resizing; None if its header has no size."""
    return resized(file.size, longest) if file.size is not None and min(file.size) else None
