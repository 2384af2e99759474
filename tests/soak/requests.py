"""Requests of the load, and the pictures in their answers."""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
from PIL import Image
from tensorflow_serving.apis import predict_pb2

from styleserve import contract

from ..fuzz.good import OPTIONAL, good_request, paint_request

STEPS: Final = 4


def tensor_request(steps: int = STEPS) -> predict_pb2.PredictRequest:
    """Images in and out."""
    return good_request(steps=steps)


def files_request() -> predict_pb2.PredictRequest:
    """A run with two styles."""
    return paint_request(steps=STEPS)


def regions_request() -> predict_pb2.PredictRequest:
    """Every file there is: two styles with masks, a start, a reference with its mask."""
    request = paint_request(steps=STEPS)
    for file in contract.FILES:
        if file.name in OPTIONAL:
            request.inputs[file.name].CopyFrom(OPTIONAL[file.name][0])
    return request


def chunk_request(before: predict_pb2.PredictResponse | None = None) -> predict_pb2.PredictRequest:
    """The first chunk of a run, or the one that resumes it from an answer."""
    state = b"" if before is None else before.outputs[contract.STATE.name].string_val[0]
    return paint_request(steps=STEPS // 2, state=state, loss="tutorial", optimizer="adam")


def picture(reply: predict_pb2.PredictResponse) -> np.ndarray[Any, Any]:
    """The picture of an answer, `[height, width, 3]` in [0, 1]."""
    if contract.STYLIZED_IMAGE.name in reply.outputs:
        proto = reply.outputs[contract.STYLIZED_IMAGE.name]
        sizes = [dim.size for dim in proto.tensor_shape.dim]
        return np.array(proto.float_val, np.float32).reshape(sizes)[0]
    with Image.open(io.BytesIO(reply.outputs[contract.IMAGE_BYTES.name].string_val[0])) as image:
        return np.asarray(image, np.float32) / 255.0
