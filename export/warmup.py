"""Warm-up requests: a server replays them before it serves a version, so that the first caller does not wait."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from styleserve import contract
from styleserve.model import ModelSettings
from styleserve.version_directories import WARMUP_FILE

_SIDE: Final = 64
"""Side of the pictures, in pixels. The size has no effect on what a server prepares, and a larger one takes longer."""


def warmup_requests(settings: ModelSettings) -> list[predict_pb2.PredictRequest]:
    """One request of one step for each signature.

    `paint` has its default loss and optimiser. The first run of another one takes 0.4 s more on a CPU.
    """
    limits = settings.limits.numbers()
    max_side = min(_SIDE, math.isqrt(int(limits["max_pixels"])))
    side = min(max_side, math.isqrt(int(limits["max_encoded_pixels"])))
    numbers = {contract.STEPS.name: 1, contract.MAX_SIDE.name: max_side, contract.EXAMPLE.name: 0}
    requests: list[predict_pb2.PredictRequest] = []
    for signature in contract.SIGNATURES.values():
        request = predict_pb2.PredictRequest()
        request.model_spec.name = contract.DEFAULT_MODEL_NAME
        request.model_spec.signature_name = signature.name
        for field in signature.inputs:
            if in_first_request(field):
                request.inputs[field.name].CopyFrom(_grey(field, side))
            elif field.name in numbers:
                request.inputs[field.name].CopyFrom(tf.make_tensor_proto([numbers[field.name]], field.dtype))
        requests.append(request)
    return requests


def in_first_request(field: contract.Field) -> bool:
    """Whether the first request to a signature has this input: required inputs, and the pictures of a new run."""
    return field.required or field in (contract.CONTENT_BYTES, contract.STYLE_BYTES)


def write_warmup_requests(version_dir: Path, settings: ModelSettings) -> None:
    """Writes the warm-up file of a version; its `assets.extra` exists."""
    with tf.io.TFRecordWriter(str(version_dir / WARMUP_FILE)) as writer:
        for request in warmup_requests(settings):
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.CopyFrom(request)
            writer.write(log.SerializeToString())


def _grey(field: contract.Field, side: int) -> object:
    """A grey picture, which is small in the warm-up file: one value for all pixels, or a compressed file."""
    if field.dtype == "string":
        file = tf.io.encode_png(tf.fill([side, side, 3], tf.constant(128, tf.uint8))).numpy()
        return tf.make_tensor_proto([file], shape=[1] * len(field.shape))
    return tf.make_tensor_proto(0.5, field.dtype, shape=[1, side, side, 3])
