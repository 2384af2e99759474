"""Work of a request, estimated before anything is decoded, and steps behind an answer.

The estimate sorts calls into short and long ones; a request whose headers lie waits longer than it had to, or is
refused by the graph.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import islice
from typing import Final

import numpy as np
from tensorflow.core.framework import tensor_pb2

from styleserve.contract import CONTENT_BYTES, LOSSES, MAX_SIDE, STATE, STEPS, STYLE_BYTES, STYLE_SCALE

from .files import FileFacts, Inputs, RequestFiles, resized
from .tensors import Array, TensorError, shape_of, to_array

SHORT_PIXEL_STEPS: Final = 2**20
"""Most pixels times steps of a short call: four steps at 512 x 512 pixels, one at 1024 x 1024. On two cores of a CPU,
at the 6 µs that a step takes for each pixel in bfloat16, that is 6 s."""

_STATE_BYTES_PER_PIXEL: Final = 48
"""Bytes of a state of Adam for each pixel. L-BFGS has 36 to 96, so its runs count as up to twice as long."""

_MOST_VALUES: Final = 1024
"""Values of a control, and inputs, that are read."""


def pixel_steps(inputs: Inputs, defaults: Mapping[str, Array], files: RequestFiles) -> float:
    """Pixels times steps, summed over the examples. A signature without steps counts as one; a style as one step.

    Args:
        inputs: Inputs of a request that was checked.
        defaults: Values of the inputs that are left out.
        files: Files among the inputs.
    """
    steps = _values(STEPS.name, inputs, defaults, 1.0)
    sides = _values(MAX_SIDE.name, inputs, defaults, 0.0)
    scale = float(_values(STYLE_SCALE.name, inputs, defaults, 1.0).max())
    contents, styles, states = (files.of(name) for name in (CONTENT_BYTES.name, STYLE_BYTES.name, STATE.name))
    work = _image_pixels(inputs) * float(steps.max())
    for i in range(min(_batch(inputs), _MOST_VALUES) if contents or styles or states else 0):
        side = _of(sides, i)
        pixels = sum(file.length / _STATE_BYTES_PER_PIXEL for file in _row(states, i))
        pixels += sum(_pixels(file, side) for file in _row(contents, i))
        work += pixels * _of(steps, i) + sum(_pixels(file, side * scale) for file in _row(styles, i))
    return work


def steps_done(outputs: Mapping[str, tensor_pb2.TensorProto], inputs: Inputs, defaults: Mapping[str, Array]) -> int:
    """Steps of the optimiser behind an answer, summed over the examples.

    Args:
        outputs: Outputs of the answer; their losses tell.
        inputs: Inputs of the request, whose steps count where it asked for no losses.
        defaults: Values of the inputs that are left out.
    """
    if LOSSES.name in outputs:
        losses = outputs[LOSSES.name]
        columns = [dim.size for dim in losses.tensor_shape.dim[-1:]]
        # The losses of each example end in NaN after its own last step.
        return int(np.isfinite(losses.float_val[:: max([1, *columns])]).sum())
    return int(_batch(inputs) * _values(STEPS.name, inputs, defaults, 0.0).max())


def _image_pixels(inputs: Inputs) -> float:
    """Pixels of the images that are worked on together: examples times those of the largest."""
    shapes = (proto.tensor_shape.dim for proto in islice(inputs.values(), _MOST_VALUES))
    largest = max((shape[1].size * shape[2].size for shape in shapes if len(shape) == 4), default=0)
    return float(largest * _batch(inputs))


def _pixels(file: FileFacts, longest: float) -> float:
    """Pixels of a file once it is resized; those of a square where its header does not tell."""
    if not file.length:
        return 0.0
    return longest**2 if file.size is None or not min(file.size) else math.prod(resized(file.size, np.float32(longest)))


def _row(rows: list[list[FileFacts]], i: int) -> list[FileFacts]:
    """Files of example `i`, of one row for each example or one for all."""
    return rows[min(i, len(rows) - 1)] if rows else []


def _batch(inputs: Inputs) -> int:
    protos = islice(inputs.values(), _MOST_VALUES)
    return max((proto.tensor_shape.dim[0].size for proto in protos if proto.tensor_shape.dim), default=1)


def _of(values: Array, i: int) -> float:
    return float(values[min(i, len(values) - 1)])


def _values(name: str, inputs: Inputs, defaults: Mapping[str, Array], otherwise: float) -> Array:
    """Values of a control as a vector of at least one; 0 where there are none, or too many to be read."""
    if name not in inputs:
        return defaults.get(name, np.array([otherwise])).reshape(-1)
    try:
        few = math.prod(shape_of(inputs[name])) <= _MOST_VALUES
        values = to_array(inputs[name]).reshape(-1) if few else np.zeros(1)
    except TensorError:
        return np.zeros(1)
    return values if values.size and values.dtype != np.object_ else np.zeros(1)
