"""Header of a Predict request: shapes, controls and file headers. No picture is decoded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from tensorflow.core.framework import tensor_pb2

from styleserve import contract

from .file_headers import FileHeader, file_headers
from .tensors import MAX_RANK, Array, TensorError, shape_of, to_array

_CONTROLS: Final = frozenset(
    [
        *(control.name for control in (*contract.CONTROLS, *contract.ADAM_CONTROLS)),
        contract.CONTRACT_VERSION_INPUT.name,
        contract.RETURN_STATE.name,
    ]
)
_FILES: Final = frozenset(field.name for field in (*contract.FILES, contract.STATE))

_MAX_VALUES: Final = 1024
"""Most values of a control that are read; the graph checks larger ones."""


@dataclass(frozen=True, eq=False)
class RequestHeader:
    """Header of a Predict request. Each part is parsed once, when it is first used.

    Attributes:
        inputs: Inputs of the request.
        defaults: Values of inputs that the request may omit.
    """

    inputs: Mapping[str, tensor_pb2.TensorProto]
    defaults: Mapping[str, Array]

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the inputs, as sent; no more than one size over the allowed rank."""
        return {
            name: tuple(dim.size for dim in proto.tensor_shape.dim[: MAX_RANK + 1])
            for name, proto in self.inputs.items()
        }

    @property
    def batch_size(self) -> int:
        """Largest first dimension of the inputs."""
        return max((shape[0] for shape in self.shapes.values() if shape), default=1)

    @cached_property
    def controls(self) -> dict[str, Array]:
        """Values of the controls, sent or by default, without those that are unreadable or have too many values."""
        values = {name: default for name, default in self.defaults.items() if name in _CONTROLS}
        for name in _CONTROLS & self.inputs.keys():
            values.pop(name, None)
            try:
                if math.prod(shape_of(self.inputs[name])) <= _MAX_VALUES:
                    values[name] = to_array(self.inputs[name])
            except TensorError:
                continue
        return values

    @cached_property
    def files(self) -> dict[str, list[list[FileHeader]]]:
        """Headers of the files of each input, one row for each example; empty if an input holds no readable files."""
        return {name: file_headers(self.inputs[name]) for name in _FILES & self.inputs.keys()}

    def numbers(self, control: contract.Control, default: float) -> Array:
        """Values of a control of numbers as a vector; `default` if there are none."""
        values = self.controls.get(control.name, np.empty(0)).reshape(-1)
        return values if values.size and values.dtype != np.object_ else np.array([default])


def for_example(values: Any, i: int) -> Any:  # noqa: ANN401 - an array, or rows of files
    """Value of example (or style) `i`, of one value for each or one for all."""
    return values[min(i, len(values) - 1)]
