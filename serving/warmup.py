"""Replays a version's warm-up requests before it serves, so that no client pays for the first run of each shape."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from .call import Call
from .errors import LoadError, ServingError
from .servable import Servable

WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
MAX_RECORDS = 1000
"""TensorFlow Serving refuses longer files."""


def warm_up(servable: Servable) -> int:
    """Number of requests replayed from the version's warm-up file; 0 if it has none.

    Raises:
        LoadError: the file cannot be read, or a request in it fails. TensorFlow Serving is as strict.
    """
    path = servable.path / WARMUP_FILE
    if not path.exists():
        return 0
    count = 0
    try:
        for record in tf.data.TFRecordDataset(str(path)):
            if count == MAX_RECORDS:
                raise LoadError(f"{path} has more than {MAX_RECORDS} records")
            _replay(servable, bytes(record.numpy()))
            count += 1
    except LoadError:
        raise
    except ServingError as error:
        raise LoadError(f"{path}: warm-up request {count} failed: {error.message}") from error
    except DecodeError as error:
        raise LoadError(f"{path}: record {count} is not a PredictionLog") from error
    except tf.errors.OpError as error:
        raise LoadError(f"{path} is not a TFRecord file, or is damaged after record {count}") from error
    return count


def _replay(servable: Servable, record: bytes) -> None:
    log = prediction_log_pb2.PredictionLog.FromString(record)
    kind = log.WhichOneof("log_type")
    if kind != "predict_log":
        raise ServingError(f"Unsupported log_type for warmup: {kind}")
    servable.predict(log.predict_log.request, Call(), slot=0)
