"""Reader of the warm-up requests that the exporter writes into a version and servers replay before they serve it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from .version_directories import WARMUP_FILE


def read_warmup_logs(version_dir: Path) -> Iterator[prediction_log_pb2.PredictionLog]:
    """Records of the warm-up file of a version, in their order.

    Raises:
        tf.errors.OpError: The file is missing, is not a TFRecord file, or is damaged.
        google.protobuf.message.DecodeError: A record is not a PredictionLog.
    """
    for record in tf.data.TFRecordDataset(str(version_dir / WARMUP_FILE)).as_numpy_iterator():
        yield prediction_log_pb2.PredictionLog.FromString(record)
