"""Replays a version's warm-up requests before it serves, so that no client pays for the first run of each shape."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from ..call import Call, OpenCalls
from ..errors import LoadError, ServingError
from .servable import Servable

WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
MAX_RECORDS = 1000
"""TensorFlow Serving refuses longer files."""


def warm_up(servable: Servable, calls: OpenCalls | None = None) -> int:
    """Number of requests replayed from the version's warm-up file; 0 if it has none.

    One after another: in `styleserve serve`, whose threads share one heap, several at a time wait for each other to
    take memory from it, and take longer.

    Args:
        servable: that nobody else calls yet.
        calls: where the requests are noted while they run, so that they can be given up.

    Raises:
        LoadError: the file cannot be read, or a request in it fails. TensorFlow Serving is as strict.
        ServingError: they were given up; what was said then.
    """
    noted = OpenCalls() if calls is None else calls
    path = servable.path / WARMUP_FILE
    if not path.exists():
        return 0
    requests = _requests(path)
    for number, request in enumerate(requests):
        call = Call()
        noted.opened(call)
        try:
            servable.predict(request, call, slot=0)
        except ServingError as error:
            if call.given_up:
                raise call.why() from None
            raise LoadError(f"{path}: warm-up request {number} failed: {error.message}") from error
        finally:
            noted.closed(call)
    return len(requests)


def _requests(path: Path) -> list[predict_pb2.PredictRequest]:
    requests: list[predict_pb2.PredictRequest] = []
    try:
        for record in tf.data.TFRecordDataset(str(path)):
            if len(requests) == MAX_RECORDS:
                raise LoadError(f"{path} has more than {MAX_RECORDS} records")
            log = prediction_log_pb2.PredictionLog.FromString(bytes(record.numpy()))
            kind = log.WhichOneof("log_type")
            if kind != "predict_log":
                raise LoadError(f"{path}: record {len(requests)}: Unsupported log_type for warmup: {kind}")
            requests.append(log.predict_log.request)
    except DecodeError as error:
        raise LoadError(f"{path}: record {len(requests)} is not a PredictionLog") from error
    except tf.errors.OpError as error:
        raise LoadError(f"{path} is not a TFRecord file, or is damaged after record {len(requests)}") from error
    return requests
