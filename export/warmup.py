"""Warm-up requests: a server replays them before a version serves, so that the first caller does not wait."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from styleserve import contract
from styleserve.model import ModelSettings

# Where TensorFlow Serving looks for them.
WARMUP_NAME: Final = "assets.extra/tf_serving_warmup_requests"

# A server prepares its graph at the first request of each signature, whatever the size of the picture; a larger one
# only takes longer.
_SIDE: Final = 64


def warmup_requests(settings: ModelSettings) -> list[predict_pb2.PredictRequest]:
    """One request of one step for each signature.

    `paint` has its defaults: with another loss or optimiser, the first run takes 0.4 s more on a CPU.
    """
    numbers = settings.limits.numbers()
    max_side = min(_SIDE, math.isqrt(int(numbers["max_pixels"])))
    side = min(max_side, math.isqrt(int(numbers["max_encoded_pixels"])))
    requests: list[predict_pb2.PredictRequest] = []
    for signature in contract.SIGNATURES.values():
        request = predict_pb2.PredictRequest()
        request.model_spec.name = contract.DEFAULT_MODEL_NAME
        request.model_spec.signature_name = signature.name
        for field in signature.inputs:
            if is_given(field):
                request.inputs[field.name].CopyFrom(_grey(field, side))
            elif field.control is contract.STEPS:
                request.inputs[field.name].CopyFrom(tf.make_tensor_proto([1], field.dtype))
            elif field.control is contract.MAX_SIDE:
                request.inputs[field.name].CopyFrom(tf.make_tensor_proto([max_side], field.dtype))
            elif field is contract.EXAMPLE:
                request.inputs[field.name].CopyFrom(tf.make_tensor_proto([0], field.dtype))
        requests.append(request)
    return requests


def is_given(field: contract.Field) -> bool:
    """Whether a request to try a signature has this input: what it needs, and the files that a run begins with."""
    return field.required or field in (contract.CONTENT_BYTES, contract.STYLE_BYTES)


def write_warmup_requests(version_dir: Path, settings: ModelSettings) -> None:
    """Writes the warm-up file of a version; its `assets.extra` exists."""
    with tf.io.TFRecordWriter(str(version_dir / WARMUP_NAME)) as writer:
        for request in warmup_requests(settings):
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.CopyFrom(request)
            writer.write(log.SerializeToString())


def read_warmup_requests(version_dir: Path) -> list[predict_pb2.PredictRequest]:
    """The requests in the warm-up file of a version.

    Raises:
        tf.errors.DataLossError: the file is damaged.
    """
    records = tf.data.TFRecordDataset(str(version_dir / WARMUP_NAME)).as_numpy_iterator()
    return [prediction_log_pb2.PredictionLog.FromString(record).predict_log.request for record in records]


def _grey(field: contract.Field, side: int) -> object:
    """A grey picture: as one value for all pixels, or as a file, it takes no room in the warm-up file."""
    if field.dtype == "string":
        file = tf.io.encode_png(tf.fill([side, side, 3], tf.constant(128, tf.uint8))).numpy()
        return tf.make_tensor_proto([file], shape=[1] * len(field.shape))
    return tf.make_tensor_proto(0.5, field.dtype, shape=[1, side, side, 3])
