"""The PredictionService of TensorFlow Serving: Predict and GetModelMetadata."""

from __future__ import annotations

import time
from functools import partial
from typing import NoReturn

import grpc
from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2, predict_pb2, prediction_service_pb2_grpc

from styleserve.contract import SERVING_DEFAULT

from ..call import ActiveCalls, Call
from ..errors import CancelledError, RequestError, UnimplementedError
from ..models.manager import ModelManager
from ..models.servable import Servable
from ..observability.call_record import CallRecord
from ..requests.work import SHORT_PIXEL_STEPS, pixel_steps, steps_done
from .request_queue import RequestQueue
from .status import StatusReporter

_SIGNATURE_DEF = "signature_def"


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata; the other methods are UNIMPLEMENTED.

    Args:
        manager: Manager of the models.
        queue: Queue of Predict calls.
        calls: Set of Predict calls without a response yet.
        reporter: Reporter of all calls.
    """

    def __init__(
        self, manager: ModelManager, queue: RequestQueue, calls: ActiveCalls, reporter: StatusReporter
    ) -> None:
        self._manager = manager
        self._queue = queue
        self._calls = calls
        self._reporter = reporter

    def Predict(  # noqa: N802 - the name in the protocol
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Runs a signature and returns its outputs."""
        with self._reporter.report(context, "Predict") as record:
            call = self._open(context)
            spec = _spec(request)
            record.set_request(spec.name, spec.signature_name or SERVING_DEFAULT)
            # Invalid requests are refused before they wait. A waiting call holds no version: the latest one may change
            # meanwhile, so the request is checked again.
            with self._manager.use(spec) as servable:
                record.known_model, record.version = spec.name, servable.version
                header = servable.check(request)
                memory = servable.call_memory(header)
            arrived = time.monotonic()
            try:
                short = pixel_steps(header) <= SHORT_PIXEL_STEPS
                with self._queue.admit(call, short=short, memory=memory), self._manager.use(spec) as servable:
                    record.waited_s = time.monotonic() - arrived
                    response = self._run(servable, request, call, record)
                record.steps = steps_done(response.outputs, header)
                return response
            finally:
                if record.ran_s is None:
                    record.waited_s = time.monotonic() - arrived

    def GetModelMetadata(  # noqa: N802 - the name in the protocol
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Returns the signatures."""
        with self._reporter.report(context, "GetModelMetadata") as record:
            spec = _spec(request)
            record.set_request(spec.name)
            if not request.metadata_field:
                raise RequestError("GetModelMetadataRequest must specify at least one metadata_field")
            for field in request.metadata_field:
                if field != _SIGNATURE_DEF:
                    raise RequestError(f"Metadata field {field} is not supported")
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            with self._manager.use(spec) as servable:
                response.model_spec.name = spec.name
                response.model_spec.version.value = record.version = servable.version
                response.metadata[_SIGNATURE_DEF].Pack(servable.signature_map())
            return response

    def Classify(self, request: object, context: grpc.ServicerContext) -> NoReturn:  # noqa: ARG002, N802
        """Is not there."""
        self._refuse("Classify", context)

    def Regress(self, request: object, context: grpc.ServicerContext) -> NoReturn:  # noqa: ARG002, N802
        """Is not there."""
        self._refuse("Regress", context)

    def MultiInference(self, request: object, context: grpc.ServicerContext) -> NoReturn:  # noqa: ARG002, N802
        """Is not there."""
        self._refuse("MultiInference", context)

    def _refuse(self, method: str, context: grpc.ServicerContext) -> NoReturn:
        # The generated base class would raise inside gRPC, which logs a stack trace for each call.
        with self._reporter.report(context, method):
            raise UnimplementedError(f"{method} is not there; this server answers Predict and GetModelMetadata.")
        raise AssertionError  # aborted before

    def _open(self, context: grpc.ServicerContext) -> Call:
        call = Call(context.time_remaining())
        self._calls.add(call)
        # gRPC runs the callback when the client cancels, when the deadline passes, and at the normal end.
        if not context.add_callback(partial(self._close, call)):
            self._close(call)
            raise CancelledError("Cancelled")
        return call

    def _close(self, call: Call) -> None:
        call.cancel()
        self._calls.remove(call)

    def _run(
        self, servable: Servable, request: predict_pb2.PredictRequest, call: Call, record: CallRecord
    ) -> predict_pb2.PredictResponse:
        record.version = servable.version
        began = time.monotonic()
        try:
            return servable.predict(request, call)
        except CancelledError:
            raise call.error() from None
        finally:
            record.ran_s = time.monotonic() - began


def _spec(request: predict_pb2.PredictRequest | get_model_metadata_pb2.GetModelMetadataRequest) -> model_pb2.ModelSpec:
    if not request.HasField("model_spec"):
        raise RequestError("Missing ModelSpec")
    return request.model_spec
