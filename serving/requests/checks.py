"""Checks of a request against the limits of a model, before anything in it is decoded.

The graph makes the same checks with the same texts; these come before memory is taken for a request that will be
refused. The graph alone checks pixels, states, and whether files go together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from styleserve import contract
from styleserve.contract import Control, Field

from .files import FileFacts, Inputs, RequestFiles, resized
from .limits import ModelLimits
from .refusals import refusal
from .tensors import TensorError, to_array

Array = NDArray[Any]
Defaults = Mapping[str, Array]

_RANK_OF_IMAGES: Final = 4
_BATCHES: Final = (contract.STATE, contract.RETURN_STATE, contract.CONTRACT_VERSION_INPUT, contract.EXAMPLE)
"""Inputs beside images and files whose first size is that of the batch."""
_PER: Final = {"style": "style", "layer": "style layer"}
"""Words of the graph for what an input has a value for."""


def check_request(limits: ModelLimits, signature: str, inputs: Inputs, defaults: Defaults, files: RequestFiles) -> None:
    """Refuses a request that the model would refuse.

    Args:
        limits: Limits of the model.
        signature: Name of the signature that is called.
        inputs: Inputs as sent; names, types and ranks were checked.
        defaults: Values of the inputs that are left out.
        files: Files among the inputs.

    Raises:
        RequestError: The text is that of the model's own refusal.
    """
    if signature in contract.SIGNATURES:
        _Check(limits, contract.SIGNATURES[signature].inputs, inputs, defaults, files).run()


class _Check:
    """Check of one request."""

    def __init__(
        self, limits: ModelLimits, fields: Iterable[Field], inputs: Inputs, defaults: Defaults, files: RequestFiles
    ) -> None:
        self._limits = limits
        self._fields = tuple(fields)
        self._inputs = inputs
        self._defaults = defaults
        self._files = files
        self._batch = 1
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

    def _sent(self, fields: Iterable[Field]) -> Iterator[tuple[Field, list[int]]]:
        """Shapes of the inputs that were sent."""
        for field in fields:
            dims = self._inputs[field.name].tensor_shape.dim if field.name in self._inputs else ()
            if len(dims) == len(field.shape):
                yield field, [dim.size for dim in dims]

    def _check_batch(self) -> None:
        fields = [*self._images(), *self._file_fields(), *(field for field in self._fields if field in _BATCHES)]
        for field, (size, *_) in self._sent(fields):
            if not 1 <= size <= self._limits.max_batch:
                raise refusal(field.name, contract.batch_rule(self._limits.max_batch), [size])
            self._batch = max(self._batch, size)

    def _check_version(self) -> None:
        for field, allowed, rule in (
            (contract.CONTRACT_VERSION_INPUT, [self._limits.contract_version], contract.CONTRACT_VERSION_RULE),
            (contract.RETURN_STATE, [0, 1], contract.RETURN_STATE_RULE),
        ):
            values = self._values(field.name, np.int32, 1) if field.name in self._inputs else None
            if values is not None and not np.all(np.isin(values, allowed)):
                raise refusal(field.name, rule, np.broadcast_to(values, [self._batch]))

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
        """Values of an input, sent or by default; None where there are none that can be read."""
        if name not in self._inputs:
            return self._defaults.get(name)
        if len(self._inputs[name].tensor_shape.dim) != rank:
            return None
        try:
            array = to_array(self._inputs[name])
        except TensorError:
            return None
        return array if array.dtype == dtype else None

    def _control(self, control: Control) -> Array | None:
        """Values of a control, once they were checked."""
        for _, shape in self._sent(field for field in self._fields if field.control is control):
            if shape[0] not in (1, self._batch):
                raise refusal(control.name, contract.partner_rule(contract.THE_BATCH), [shape[0]], [self._batch])
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
            shares = np.broadcast_to(array, [self._batch, self._counts["style"]])
            raise refusal(control.name, contract.BLEND_RULE, shares)
        return array

    def _check_files(self, name: str) -> None:
        most_bytes, most_pixels = self._limits.max_encoded_bytes, self._limits.max_encoded_pixels
        for file in (file for row in self._files.of(name) for file in row if file.length):
            if file.length > most_bytes:
                raise refusal(name, contract.bytes_rule(most_bytes), [file.length])
            if not file.has_known_start:
                raise refusal(name, contract.FILE_RULE, [0, 0])
            if file.size is not None and min(file.size) and math.prod(file.size) > most_pixels:
                raise refusal(name, contract.pixels_rule(most_pixels), file.size)

    def _check_contents(self, max_sides: Array, steps: Array | None) -> None:
        name = contract.CONTENT_BYTES.name
        rows = self._files.of(name)
        for i in range(self._batch if rows else 0):
            (file,) = _of(rows, i)
            if (size := _size(file, np.float32(_of(max_sides, i)))) is not None:
                self._check_image(name + contract.RESIZED, *size)
                if steps is not None:
                    self._check_work(math.prod(size), int(_of(steps, i)))

    def _check_style_sizes(self, max_sides: Array, scales: Array) -> None:
        name = contract.STYLE_BYTES.name
        rows = self._files.of(name)
        for i in range(self._batch if rows else 0):
            for s, file in enumerate(_of(rows, i)):
                longest = np.float32(_of(max_sides, i)) * _of(_of(scales, i), s)
                if (size := _size(file, longest)) is not None:
                    self._check_image(name + contract.RESIZED, *size)

    def _check_image(self, name: str, height: int, width: int) -> None:
        limits = self._limits
        if not limits.min_side <= min(height, width) <= max(height, width) <= limits.max_side:
            raise refusal(name, contract.sides_rule(limits.min_side, limits.max_side), [height, width])
        if height * width > limits.max_pixels:
            raise refusal(name, contract.pixels_rule(limits.max_pixels), [height, width])

    def _check_batch_pixels(self, name: str, sizes: list[int]) -> None:
        most = self._limits.max_batch_pixels
        if math.prod(sizes) > most:
            raise refusal(name, contract.batch_pixels_rule(most), sizes)

    def _check_work(self, pixels: int, steps: int) -> None:
        work = pixels * steps * self._batch / 1e6
        # The limit came as a float32, which may be a little less than what the graph compares with.
        if np.float32(work) > np.float32(self._limits.max_work):
            raise refusal(contract.STEPS.name, contract.work_rule(self._limits.max_work), [work])


def _of(values: Any, i: int) -> Any:  # noqa: ANN401 - an array, or rows of files
    """Value of example (or style) `i`, of one for each or one for all."""
    return values[min(i, len(values) - 1)]


def _size(file: FileFacts, longest: np.float32) -> tuple[int, int] | None:
    """Size of a picture once it is resized; None where its header does not tell."""
    return resized(file.size, longest) if file.size is not None and min(file.size) else None
