"""A TensorFlow session with a SavedModel, as TensorFlow Serving has it, whose steps can be cancelled."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from styleserve.session_options import session_config
from styleserve.sizing import inter_op_threads

from ..call import Call
from ..errors import CancelledError, DeadlineError, GraphError, RequestError, graph_message
from ..requests.tensors import Array
from .bounded_fetches import BoundedFetches
from .stop_switch import DEVICE_COUNT, StopSwitch

_SERVE_TAG = "serve"


@dataclass(frozen=True)
class SessionSettings:
    """Settings of sessions.

    Attributes:
        max_calls: Most calls of one version at a time.

    Raises:
        ValueError: `max_calls` is below 1.
    """

    max_calls: int = 4 * (os.cpu_count() or 1)

    def __post_init__(self) -> None:
        if self.max_calls < 1:
            raise ValueError(f"max_calls is {self.max_calls}; it must be at least 1")

    def config(self) -> tf.compat.v1.ConfigProto:
        """Configuration of a session."""
        config = session_config()
        config.device_count.update(DEVICE_COUNT)
        config.inter_op_parallelism_threads = inter_op_threads(self.max_calls)
        # By default all sessions share the pool of the first one.
        config.use_per_session_threads = True
        # By default the first session takes all memory of the GPU, and leaves none for the next version.
        config.gpu_options.allow_growth = True
        return config


class ModelSession:
    """Session with a loaded SavedModel. `run` is thread-safe.

    Args:
        path: Directory of the SavedModel.
        settings: Settings of the session.

    Attributes:
        signature_defs: Signatures of the SavedModel, by name.
        without_output: TensorFlow's message for each signature that lacks an output.
    """

    def __init__(self, path: Path, settings: SessionSettings) -> None:
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph, config=settings.config())
        try:
            with graph.as_default(), _without_deprecations():
                meta_graph: meta_graph_pb2.MetaGraphDef = tf.compat.v1.saved_model.load(
                    self._session, [_SERVE_TAG], str(path)
                )
                self.signature_defs = meta_graph.signature_def
                outputs = {
                    name: [info.name for info in definition.outputs.values()]
                    for name, definition in self.signature_defs.items()
                }
                self.without_output = {
                    name: fault for name in outputs if (fault := _missing_output(graph, outputs[name]))
                }
                outputs = {name: names for name, names in outputs.items() if name not in self.without_output}
                self._fetches = BoundedFetches(outputs)
                self._switch = StopSwitch(itertools.chain(*outputs.values()), settings.max_calls)
            graph.finalize()
            # The session prepares these ops at their first use, so that the first cancellation does not wait for it.
            self._switch.stop(self._session, [""], 0)
            self._switch.reset(self._session, 0)
        except BaseException:
            self._session.close()
            raise

    @property
    def on_gpu(self) -> bool:
        """Whether there is a GPU that the session may use."""
        return any(device.device_type == "GPU" for device in self._session.list_devices())

    def close(self) -> None:
        """Frees the session. No call may run."""
        self._session.close()

    def run(self, signature: str, tensor_names: Iterable[str], feeds: dict[str, Array], call: Call) -> list[Array]:
        """Values of some outputs of a signature, in their order.

        Raises:
            ServingError: The model failed, or the call was cancelled.
        """
        names = list(tensor_names)
        fetched = list(self._fetches.to_fetch(signature, names))
        with self._switch.slot() as slot:
            values = dict(zip(fetched, self._run_in(slot, fetched, feeds, call), strict=True))
        return [np.asarray(values[name]) for name in names]

    def _run_in(self, slot: int, outputs: list[str], feeds: dict[str, Any], call: Call) -> list[Any]:
        clean = False
        try:
            with call.on_cancel(partial(self._switch.stop, self._session, outputs, slot)):
                values, _ = self._step(
                    [outputs, self._switch.fetches(outputs)], {**feeds, **self._switch.feeds(outputs, slot)}, call
                )
            clean = not call.cancelled
            return values
        except tf.errors.OpError as error:
            if call.cancelled:
                raise CancelledError("Cancelled") from error
            if not isinstance(error, (tf.errors.CancelledError, tf.errors.AbortedError)):
                raise GraphError(error.error_code, error.message) from error
        finally:
            if not clean:
                self._switch.reset(self._session, slot)
        # A failure cancels the other ops, and at times TensorFlow reports that in place of the failure, as of a file
        # without a header (tests/contract/test_errors.py). A second run, without the stop switch, has the cause.
        try:
            return self._step(outputs, feeds, call)
        except tf.errors.OpError as error:
            raise GraphError(error.error_code, error.message) from error

    def _step(self, fetches: list[Any], feeds: dict[Any, Any], call: Call) -> list[Any]:
        options = tf.compat.v1.RunOptions(timeout_in_ms=call.remaining_ms())
        try:
            return self._session.run(fetches, feeds, options=options)
        except tf.errors.DeadlineExceededError as error:
            raise DeadlineError("Timed out waiting for notification") from error
        except UnicodeDecodeError as error:  # a refusal that quotes bytes of the request
            raise RequestError(graph_message(error.object.decode(errors="replace"))) from None


def _missing_output(graph: tf.Graph, tensor_names: Iterable[str]) -> str | None:
    """TensorFlow's message for the first of these that is no output of an op, as in a SavedModel's initialiser."""
    for tensor_name in tensor_names:
        node, _, index = tensor_name.partition(":")
        op = graph.get_operation_by_name(node)
        if int(index or 0) >= len(op.outputs):
            outputs = f"(type: '{op.type}', num of outputs: {len(op.outputs)})"
            return f"Node '{node}' {outputs} does not have output {index or 0}"
    return None


@contextmanager
def _without_deprecations() -> Generator[None]:
    """Context without TensorFlow's advice to use a loader that accepts no session."""

    def is_shown(record: logging.LogRecord) -> bool:
        return "is deprecated" not in record.getMessage()

    logger = tf.get_logger()
    logger.addFilter(is_shown)
    try:
        yield
    finally:
        logger.removeFilter(is_shown)
