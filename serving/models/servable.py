"""One version of a model: a SavedModel in a session of its own, the way TensorFlow Serving runs it."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2

from styleserve.contract import LIMITS, SERVING_DEFAULT
from styleserve.sizing import inter_op_threads

from ..call import Call
from ..errors import (
    CancelledError,
    DeadlineError,
    GraphError,
    LoadError,
    OutOfRangeError,
    PreconditionError,
    RequestError,
    graph_message,
)
from ..observability.call_record import MAX_NAME_CHARS, clean
from ..requests.checks import check_request
from ..requests.files import RequestFiles
from ..requests.limits import ModelLimits
from ..requests.tensors import Array, fill_proto
from ..requests.work import pixel_steps, steps_done
from .fetches import OutputSets
from .signature import Signature
from .stop_switch import DEVICE_COUNT, StopSwitch

_SERVE_TAG = "serve"


@dataclass(frozen=True)
class SessionSettings:
    """How sessions are made.

    Attributes:
        max_calls: calls of one version at a time.

    Raises:
        ValueError: there is no call.
    """

    max_calls: int = 4 * (os.cpu_count() or 1)

    def __post_init__(self) -> None:
        if self.max_calls < 1:
            raise ValueError(f"max_calls is {self.max_calls}; it must be at least 1")

    def config(self) -> tf.compat.v1.ConfigProto:
        """The session's configuration."""
        config = tf.compat.v1.ConfigProto(
            device_count=DEVICE_COUNT,
            inter_op_parallelism_threads=inter_op_threads(self.max_calls),
            # Else all sessions of the process share the pool that the first one made.
            use_per_session_threads=True,
        )
        # Rewriting the graph takes ten seconds and more at the start, and saves nothing that could be seen: nearly all
        # time goes into convolutions.
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        # Else each function that is called is walked through with all that it calls, once for each level it lies below:
        # half of the warm-up's time.
        config.graph_options.optimizer_options.do_function_inlining = True
        # Else the first session takes the whole card, and the next version finds no room.
        config.gpu_options.allow_growth = True
        return config


@dataclass(frozen=True)
class Work:
    """A request that was found to fit its signature.

    Attributes:
        signature: that was called.
        feeds: arrays by tensor name, defaults included.
        fetches: tensor names of the outputs wanted, by alias.
    """

    signature: Signature
    feeds: dict[str, Array]
    fetches: dict[str, str]


class Servable:
    """A loaded version, ready to be called until it is closed.

    Args:
        path: directory of the SavedModel.
        version: its number.
        settings: how its session is made.

    Raises:
        LoadError: there is no SavedModel for serving, or TensorFlow cannot load it.
    """

    def __init__(self, path: Path, version: int, settings: SessionSettings) -> None:
        self.path = path
        self.version = version
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph, config=settings.config())
        try:
            with graph.as_default(), _without_deprecations():
                meta_graph: meta_graph_pb2.MetaGraphDef = tf.compat.v1.saved_model.load(
                    self._session, [_SERVE_TAG], str(path)
                )
                self._definitions = meta_graph.signature_def
                self.signatures = {name: Signature(name, item) for name, item in self._definitions.items()}
                outputs = {
                    name: [output.tensor_name for output in signature.outputs.values()]
                    for name, signature in self.signatures.items()
                }
                self._no_output = {name: fault for name in outputs if (fault := _no_output(graph, outputs[name]))}
                outputs = {name: names for name, names in outputs.items() if name not in self._no_output}
                self._output_sets = OutputSets(outputs)
                self._switch = StopSwitch(itertools.chain(*outputs.values()), settings.max_calls)
            graph.finalize()
            # The session prepares these ops at their first use; the first call to be stopped should not wait for that.
            self._switch.stop(self._session, [""], 0)
            self._switch.reset(self._session, 0)
            self.limits = self._read_limits()
        except LoadError:
            self._session.close()
            raise
        except Exception as error:  # TensorFlow raises many types for a broken file, all the same to us
            self._session.close()
            raise LoadError(f"cannot load {path}: {GraphError(0, str(error)).message}") from error

    @property
    def on_gpu(self) -> bool:
        """Whether there is a GPU that it may run on."""
        return any(device.device_type == "GPU" for device in self._session.list_devices())

    def signature_map(self) -> get_model_metadata_pb2.SignatureDefMap:
        """All signatures, as GetModelMetadata sends them."""
        return get_model_metadata_pb2.SignatureDefMap(signature_def=self._definitions)

    def steps(self, request: predict_pb2.PredictRequest, response: predict_pb2.PredictResponse) -> int:
        """Steps of the optimiser that an answer took."""
        return steps_done(response.outputs, request.inputs, self._signature(request).defaults)

    def predict(self, request: predict_pb2.PredictRequest, call: Call, slot: int) -> predict_pb2.PredictResponse:
        """The answer to one request.

        Args:
            request: its model name is echoed and not looked at.
            call: when to stop.
            slot: below `max_calls`; no two calls share a slot at the same time.

        Raises:
            ServingError: the request is refused, the model failed, or the call was stopped.
        """
        work = self.prepare(request)
        response = predict_pb2.PredictResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = self.version
        response.model_spec.signature_name = work.signature.name
        for alias, value in zip(work.fetches, self._outputs(work, call, slot), strict=True):
            fill_proto(response.outputs[alias], value)
        return response

    def check(self, request: predict_pb2.PredictRequest) -> float:
        """Work of a request in pixels times steps, an estimate, once it was checked.

        Names, types, shapes, lengths, limits and ranges are checked. Nothing is run and no picture decoded, so a
        request is checked when it comes, before it waits.

        Raises:
            ServingError: The request is refused, with the text of the model's own refusal where it has one.
        """
        signature = self._signature(request)
        signature.check(request.inputs, request.output_filter)
        if signature.name in self._no_output:
            raise OutOfRangeError(self._no_output[signature.name])
        files = RequestFiles(request.inputs)
        if self.limits is not None:
            check_request(self.limits, signature.name, request.inputs, signature.defaults, files)
        signature.check_lengths(request.inputs)
        return pixel_steps(request.inputs, signature.defaults, files)

    def prepare(self, request: predict_pb2.PredictRequest) -> Work:
        """What a request asks for, once it was checked.

        Raises:
            ServingError: the request is refused.
        """
        self.check(request)
        signature = self._signature(request)
        return Work(signature, signature.feeds(request.inputs), signature.fetches(request.output_filter))

    def _outputs(self, work: Work, call: Call, slot: int) -> list[Array]:
        """The outputs that are wanted, in their order."""
        names = list(self._output_sets.to_fetch(work.signature.name, work.fetches.values()))
        values = dict(zip(names, self._run(names, work.feeds, call, slot), strict=True))
        return [np.asarray(values[name]) for name in work.fetches.values()]

    def _signature(self, request: predict_pb2.PredictRequest) -> Signature:
        name = request.model_spec.signature_name or SERVING_DEFAULT
        signature = self.signatures.get(name)
        if signature is None:
            raise PreconditionError(f'Serving signature key "{clean(name, MAX_NAME_CHARS)}" not found. {self._has()}')
        return signature

    def _has(self) -> str:
        """What the model has instead of a signature that it lacks."""
        names = ", ".join(sorted(name for name in self.signatures if name not in self._no_output))
        version = "" if self.limits is None else f" of wire contract {self.limits.contract_version}"
        return f"The model has the signatures {names}{version}. For a call of another contract, update the client."

    def _read_limits(self) -> ModelLimits | None:
        """Limits that the model tells; None for one that does not, such as one of an older contract."""
        signature = self.signatures.get(LIMITS)
        if signature is None or set(signature.inputs) != set(signature.defaults):
            return None
        names = [field.name for field in fields(ModelLimits)]
        if not set(names) <= set(signature.outputs):
            return None
        work = Work(signature, signature.feeds({}), signature.fetches(names))
        return ModelLimits(
            **{name: value[0].item() for name, value in zip(names, self._outputs(work, Call(), 0), strict=True)}
        )

    def _run(self, outputs: list[str], feeds: dict[str, Any], call: Call, slot: int) -> list[Any]:
        clean = False
        try:
            with call.stoppable(partial(self._switch.stop, self._session, outputs, slot)):
                values, _ = self._step(
                    [outputs, self._switch.fetches(outputs)], {**feeds, **self._switch.feeds(outputs, slot)}, call
                )
            clean = not call.given_up
            return values
        except (tf.errors.CancelledError, tf.errors.AbortedError):
            if call.given_up:
                raise CancelledError("Cancelled") from None
        except tf.errors.OpError as error:
            if call.given_up:
                raise CancelledError("Cancelled") from error
            raise _graph_error(error) from error
        finally:
            if not clean:
                self._switch.reset(self._session, slot)
        # The model failed within microseconds, before the slot's number had reached the stop switch. Of that TensorFlow
        # keeps the consequence alone; the cause comes from a second run, with nothing beside it to be cancelled.
        try:
            return self._step(outputs, feeds, call)
        except tf.errors.OpError as error:
            raise _graph_error(error) from error

    def _step(self, fetches: list[Any], feeds: dict[Any, Any], call: Call) -> list[Any]:
        options = tf.compat.v1.RunOptions(timeout_in_ms=call.remaining_ms())
        try:
            return self._session.run(fetches, feeds, options=options)
        except tf.errors.DeadlineExceededError as error:
            raise DeadlineError("Timed out waiting for notification") from error
        except UnicodeDecodeError as error:  # a refusal that shows bytes of the request
            raise RequestError(graph_message(error.object.decode(errors="replace"))) from None

    def close(self) -> None:
        """Frees the session. Nobody may be inside."""
        self._session.close()


def _no_output(graph: tf.Graph, tensor_names: Iterable[str]) -> str | None:
    """TensorFlow's text about the first of these that an op does not put out; a SavedModel's initialiser has none."""
    for tensor_name in tensor_names:
        node, _, index = tensor_name.partition(":")
        op = graph.get_operation_by_name(node)
        if int(index or 0) >= len(op.outputs):
            outputs = f"(type: '{op.type}', num of outputs: {len(op.outputs)})"
            return f"Node '{node}' {outputs} does not have output {index or 0}"
    return None


def _graph_error(error: tf.errors.OpError) -> GraphError:
    # The session raises a copy whose text has Python stack traces in it; the plain one is its context.
    plain = error.__context__ if isinstance(error.__context__, tf.errors.OpError) else error
    return GraphError(plain.error_code, plain.message)


@contextmanager
def _without_deprecations() -> Generator[None]:
    """Keeps TensorFlow from advising, at each load, to use a loader that cannot be given a session."""

    def wanted(record: logging.LogRecord) -> bool:
        return "is deprecated" not in record.getMessage()

    logger = tf.get_logger()
    logger.addFilter(wanted)
    try:
        yield
    finally:
        logger.removeFilter(wanted)
