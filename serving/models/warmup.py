"""Replay of a version's warm-up requests before it serves: the first run of each shape is slow."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import predict_pb2

from styleserve.version_directories import WARMUP_FILE
from styleserve.warmup_requests import read_warmup_logs

from ..call import ActiveCalls, Call
from ..errors import LoadError, ServingError
from .servable import Servable

MAX_RECORDS = 1000
"""Most records of a warm-up file, as in TensorFlow Serving."""


def warm_up(servable: Servable, calls: ActiveCalls | None = None) -> int:
    """Replays the version's warm-up file and returns the number of its requests; 0 without a file.

    One after another: the threads of `styleserve serve` share one heap, and several requests take longer.

    Args:
        servable: Servable without calls yet.
        calls: Set to which the running requests are added, for their cancellation.

    Raises:
        LoadError: The file is not readable, or one of its requests fails, as in TensorFlow Serving.
        ServingError: The requests were cancelled, with the reason given then.
    """
    active = ActiveCalls() if calls is None else calls
    path = servable.path / WARMUP_FILE
    if not path.exists():
        return 0
    requests = _requests(servable.path)
    for number, request in enumerate(requests):
        call = Call()
        active.add(call)
        try:
            servable.predict(request, call)
        except ServingError as error:
            if call.cancelled:
                raise call.error() from None
            raise LoadError(f"{path}: warm-up request {number} failed: {error.message}") from error
        finally:
            active.remove(call)
    return len(requests)


def _requests(version_dir: Path) -> list[predict_pb2.PredictRequest]:
    path = version_dir / WARMUP_FILE
    requests: list[predict_pb2.PredictRequest] = []
    try:
        for log in read_warmup_logs(version_dir):
            if len(requests) == MAX_RECORDS:
                raise LoadError(f"{path} has more than {MAX_RECORDS} records")
            kind = log.WhichOneof("log_type")
            if kind != "predict_log":
                raise LoadError(f"{path}: record {len(requests)}: Unsupported log_type for warmup: {kind}")
            requests.append(log.predict_log.request)
    except DecodeError as error:
        raise LoadError(f"{path}: record {len(requests)} is not a PredictionLog") from error
    except tf.errors.OpError as error:
        raise LoadError(f"{path} is not a TFRecord file, or is damaged after record {len(requests)}") from error
    return requests
