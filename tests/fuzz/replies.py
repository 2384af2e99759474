"""Checks of answers with status OK: a picture of NaN is no answer."""

from __future__ import annotations

import io

import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import predict_pb2

from styleserve import contract


def reply_fault(message: bytes) -> str | None:
    """Fault of a reply of Predict; None if it is valid.

    Args:
        message: the reply, as it came.
    """
    reply = predict_pb2.PredictResponse.FromString(message)
    if not reply.outputs:
        return "OK, and no output"
    for name, proto in sorted(reply.outputs.items()):
        fault = _output_fault(name, tf.make_ndarray(proto))
        if fault is not None:
            return f"OK from {reply.model_spec.signature_name}, but {name} {fault}"
    return None


def _output_fault(name: str, values: np.ndarray) -> str | None:
    if values.shape[:1] == (0,):
        return "has no example"
    if name == contract.IMAGE_BYTES.name:
        return next(filter(None, map(_file_fault, values)), None)
    if name == contract.LOSSES.name:
        return _losses_fault(values)
    if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
        return "is not finite"
    if name == contract.STYLIZED_IMAGE.name and (values.min() < 0 or values.max() > 1):
        return f"is not in [0, 1]: {values.min()} to {values.max()}"
    return None


def _losses_fault(losses: np.ndarray) -> str | None:
    """An example that has had its steps has rows of NaN; the one with the most steps has none."""
    over = np.asarray(np.isnan(losses).all(axis=-1))
    if not np.isfinite(losses[~over]).all():
        return "are not finite"
    if (over[:, :-1] & ~over[:, 1:]).any() or (losses.shape[1] and over[:, -1].all()):
        return "are NaN before the last step"
    return None


def _file_fault(data: bytes) -> str | None:
    try:
        with Image.open(io.BytesIO(data), formats=["PNG", "JPEG"]) as image:
            image.verify()  # of the sums and the end, which are not looked at on loading
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except (OSError, SyntaxError) as error:  # as Pillow calls a chunk that is broken
        return f"does not decode: {error}"
    return None if image.mode == "RGB" else f"is of mode {image.mode}"
