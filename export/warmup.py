"""Warm-up requests: a server replays them before a version serves, so that the first caller does not wait."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from styleserve import contract
from styleserve.model import ModelSettings

# Where TensorFlow Serving looks for them.
WARMUP_NAME: Final = "assets.extra/tf_serving_warmup_requests"

# Height to width of the pictures people send most: landscape and square.
_SHAPES: Final = ((3, 4), (1, 1))


def warmup_requests(settings: ModelSettings) -> list[predict_pb2.PredictRequest]:
    """Requests of one step for each signature, at the side that a caller gets who asks for none."""
    side = min(int(contract.MAX_SIDE.tutorial), settings.limits.max_side)
    requests: list[predict_pb2.PredictRequest] = []
    for signature in contract.SIGNATURES.values():
        for height, width in _SHAPES:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = contract.DEFAULT_MODEL_NAME
            request.model_spec.signature_name = signature.name
            for field in signature.inputs:
                if field.required:
                    request.inputs[field.name].CopyFrom(_grey(field, side * height // width, side))
                elif field.control is contract.STEPS:
                    request.inputs[field.name].CopyFrom(tf.make_tensor_proto([1], field.dtype))
            requests.append(request)
    return requests


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


def _grey(field: contract.Field, height: int, width: int) -> object:
    """A grey picture: as one value for all pixels, or as a file, it takes no room in the warm-up file."""
    if field.dtype == "string":
        return tf.make_tensor_proto([tf.io.encode_png(tf.fill([height, width, 3], tf.constant(128, tf.uint8))).numpy()])
    return tf.make_tensor_proto(0.5, field.dtype, shape=[1, height, width, 3])
