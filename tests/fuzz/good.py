"""Requests that a model takes, and their tensors."""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
from PIL import Image
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import predict_pb2

from styleserve import contract
from styleserve.serving.requests.tensors import _varint

from .files import good_file


def strings(values: list[bytes], *shape: int, in_content: bool = False) -> tensor_pb2.TensorProto:
    """A tensor of strings; a vector where no shape is given."""
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING)
    if in_content:
        proto.tensor_content = b"".join([*(_varint(len(value)) for value in values), *values])
    else:
        proto.string_val.extend(values)
    for size in shape or (len(values),):
        proto.tensor_shape.dim.add(size=size)
    return proto


def numbers(array: np.ndarray[Any, Any]) -> tensor_pb2.TensorProto:
    """A tensor of float32 or int32."""
    dtype = types_pb2.DT_FLOAT if array.dtype == np.float32 else types_pb2.DT_INT32
    proto = tensor_pb2.TensorProto(dtype=dtype, tensor_content=array.tobytes())
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


def _floats(*values: Any) -> tensor_pb2.TensorProto:
    return numbers(np.array(values, np.float32))


def _ints(*values: int) -> tensor_pb2.TensorProto:
    return numbers(np.array(values, np.int32))


def mask(level: int, *, left: int | None = None) -> bytes:
    """A small grey PNG file, whose left part may have a level of its own."""
    image = Image.new("L", (9, 7), level)
    if left is not None:
        image.paste(left, (0, 0, 4, 7))
    with io.BytesIO() as file:
        image.save(file, "PNG")
        return file.getvalue()


STYLES: Final = 2

GOOD: Final[dict[str, tensor_pb2.TensorProto]] = {
    contract.CONTENT_IMAGE.name: numbers(np.full((1, 16, 20, 3), 0.5, np.float32)),
    contract.STYLE_IMAGE.name: numbers(np.full((1, 20, 16, 3), 0.25, np.float32)),
    contract.IMAGE.name: numbers(np.full((1, 16, 20, 3), 0.5, np.float32)),
    contract.CONTENT_BYTES.name: strings([good_file("png")]),
    contract.STYLE_BYTES.name: strings([good_file("jpeg"), good_file("webp")], 1, STYLES),
    contract.STEPS.name: _ints(1),
    contract.MAX_SIDE.name: _ints(24),
}
"""A good value of the inputs that every request for a signature has."""

OPTIONAL: Final[dict[str, tuple[tensor_pb2.TensorProto, ...]]] = {
    contract.STYLE_REGION_BYTES.name: (strings([b"", mask(0, left=255)], 1, STYLES), strings([mask(128)], 1, 1)),
    contract.CONTENT_REGION_BYTES.name: (
        strings([mask(255, left=0), mask(0, left=255)], 1, STYLES),
        strings([mask(0, left=200), b""], 1, STYLES),
    ),
    contract.START_BYTES.name: (strings([good_file("png")]),),
    contract.REFERENCE_BYTES.name: (strings([good_file("webp")]),),
    contract.REFERENCE_WEIGHT_BYTES.name: (strings([mask(255, left=0)]),),
    contract.REFERENCE_WEIGHT.name: (_floats(0), _floats(100)),
    contract.STYLE_BLEND.name: (_floats([1, 3]), _floats([0, 1]), _floats([1])),
    contract.STYLE_SCALE.name: (_floats([0.5, 2]), _floats([0.7])),
    contract.STYLE_LAYER_WEIGHTS.name: (_floats([0, 1]), _floats([2])),
    contract.START_NOISE.name: (_floats(0.5), _floats(1)),
    contract.SEED.name: (_ints(7), _ints(2**31 - 1)),
    contract.CONTRACT_VERSION_INPUT.name: (_ints(contract.CONTRACT_VERSION),),
    contract.RETURN_STATE.name: (_ints(0), _ints(1)),
    **{
        control.name: tuple(strings([choice.encode()]) for choice in control.choices)
        for control in contract.CONTROLS
        if control.choices
    },
}
"""Good values of inputs of `paint` that may be left out, where there are two styles."""


def good_request(signature: str = contract.SERVING_DEFAULT, *, steps: int = 1) -> predict_pb2.PredictRequest:
    """A request of images that the model takes."""
    request = _request(signature, steps)
    for seed, name in enumerate((contract.CONTENT_IMAGE.name, contract.STYLE_IMAGE.name)):
        request.inputs[name].CopyFrom(numbers(np.random.default_rng(seed).random((1, 16, 20, 3), np.float32)))
    return request


def paint_request(
    *, steps: int = 1, state: bytes = b"", loss: str = "painter", optimizer: str = "lbfgs"
) -> predict_pb2.PredictRequest:
    """A request for `paint` that begins a run with two styles, or resumes it from a state."""
    request = _request(contract.PAINT, steps)
    for control, value in ((contract.LOSS, loss), (contract.OPTIMIZER, optimizer)):
        request.inputs[control.name].CopyFrom(strings([value.encode()]))
    request.inputs[contract.RETURN_STATE.name].CopyFrom(_ints(1))
    if state:
        request.inputs[contract.STATE.name].CopyFrom(strings([state]))
        return request
    for name in (contract.CONTENT_BYTES.name, contract.STYLE_BYTES.name, contract.MAX_SIDE.name):
        request.inputs[name].CopyFrom(GOOD[name])
    return request


def _request(signature: str, steps: int) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = contract.DEFAULT_MODEL_NAME, signature
    request.inputs[contract.STEPS.name].CopyFrom(_ints(steps))
    return request
