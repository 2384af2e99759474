"""How much work a request asks for, from what it says about itself: sizes and steps, before anything is decoded.

It is an estimate for the order of calls, and nothing else: a request that lies about its size is refused by the checks
that come later, or waits longer than it had to.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import islice

import numpy as np
from tensorflow.core.framework import tensor_pb2, types_pb2

from styleserve.contract import LOSS_COLUMNS, LOSSES, MAX_SIDE, STATE, STEPS

from .signature import Array

SHORT_PIXEL_STEPS = 2**20
"""Most pixels times steps of a short call: four steps at 512 x 512 pixels, one at 1024 x 1024. On two cores of a CPU,
at the 6 µs that a step takes for each pixel in bfloat16, that is 6 s."""

_MOST_VALUES = 1024
"""Of a vector, which has no more values than the batch has examples, so many are looked at; and so many inputs. A
message may have tens of millions, and nothing has been refused yet."""

_STATE_BYTES_PER_PIXEL = 54
"""Of a run that goes on, the picture is inside its state: 14 MB for 512 x 512 pixels with Adam, more with L-BFGS."""


def pixel_steps(inputs: Mapping[str, tensor_pb2.TensorProto], defaults: Mapping[str, Array]) -> float:
    """Pixels of the largest picture, times its steps, summed over the batch. A signature without steps counts as one.

    Args:
        inputs: of the request.
        defaults: of the signature, for what the request leaves out.
    """
    pixels = 0.0
    for name, proto in islice(inputs.items(), _MOST_VALUES):
        dims = proto.tensor_shape.dim
        if len(dims) == 4:
            pixels = max(pixels, math.prod(max(0, dim.size) for dim in dims[1:3]))
        elif proto.dtype != types_pb2.DT_STRING:
            continue
        elif name == STATE.name:
            largest = len(proto.tensor_content) or max(map(len, proto.string_val[:_MOST_VALUES]), default=0)
            pixels = max(pixels, largest / _STATE_BYTES_PER_PIXEL)
        else:  # encoded: as large as it may become
            pixels = max(pixels, _largest(MAX_SIDE.name, inputs, defaults, 0.0) ** 2)
    return _batch(inputs) * pixels * _largest(STEPS.name, inputs, defaults, 1.0)


def steps_done(
    outputs: Mapping[str, tensor_pb2.TensorProto],
    inputs: Mapping[str, tensor_pb2.TensorProto],
    defaults: Mapping[str, Array],
) -> int:
    """Steps of the optimiser behind an answer, summed over the examples.

    Args:
        outputs: of the answer; their losses tell.
        inputs: of the request, whose steps do where it asked for no losses.
        defaults: of the signature.
    """
    if LOSSES.name in outputs:
        # Each example's losses end in NaN after its own last step.
        return int(np.isfinite(outputs[LOSSES.name].float_val[:: len(LOSS_COLUMNS)]).sum())
    return int(_batch(inputs) * _largest(STEPS.name, inputs, defaults, 0.0))


def _batch(inputs: Mapping[str, tensor_pb2.TensorProto]) -> int:
    protos = islice(inputs.values(), _MOST_VALUES)
    sizes = (proto.tensor_shape.dim[0].size for proto in protos if proto.tensor_shape.dim)
    return max(1, max(sizes, default=1))


def _largest(
    name: str, inputs: Mapping[str, tensor_pb2.TensorProto], defaults: Mapping[str, Array], otherwise: float
) -> float:
    """Largest value of an int32 vector."""
    if name in inputs:
        proto = inputs[name]
        content = proto.tensor_content
        values = (
            np.frombuffer(content[: min(len(content), 4 * _MOST_VALUES) // 4 * 4], np.int32)
            if content
            else np.array(proto.int_val[:_MOST_VALUES], np.int32)
        )
    elif name in defaults:
        values = defaults[name]
    else:
        return otherwise
    return float(values.max(initial=0)) if values.size else 0.0
