"""The PredictionService of TensorFlow Serving: Predict and GetModelMetadata."""

from __future__ import annotations

import time
from functools import partial
from typing import NoReturn

import grpc
from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2, predict_pb2, prediction_service_pb2_grpc

from styleserve.contract import SERVING_DEFAULT

from ..call import Call, OpenCalls
from ..errors import CancelledError, RequestError, UnimplementedError
from ..models.manager import ModelManager
from ..models.servable import Servable
from ..observability.call_record import CallRecord
from ..requests.work import SHORT_PIXEL_STEPS
from .request_queue import Turns
from .status import Answering

_SIGNATURE_DEF = "signature_def"


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers Predict and GetModelMetadata; the others are UNIMPLEMENTED.

    Args:
        manager: where the models are.
        turns: when a Predict call may run.
        calls: where the Predict calls that are not over are noted.
        desk: what surrounds each answer.
    """

    def __init__(self, manager: ModelManager, turns: Turns, calls: OpenCalls, desk: Answering) -> None:
        self._manager = manager
        self._turns = turns
        self._calls = calls
        self._desk = desk

    def Predict(  # noqa: N802 - the name in the protocol
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Runs a signature."""
        with self._desk.answering(context, "Predict") as record:
            call = self._open(context)
            spec = _spec(request)
            record.asks_for(spec.name, spec.signature_name or SERVING_DEFAULT)
            # Refusals come before the queue. A call that waits holds no version: the newest may change meanwhile, and
            # the request is checked again.
            with self._manager.use(spec) as servable:
                record.known_model, record.version = spec.name, servable.version
                short = servable.check(request) <= SHORT_PIXEL_STEPS
            came = time.monotonic()
            try:
                with self._turns.slot(call, short=short) as slot, self._manager.use(spec) as servable:
                    record.waited_s = time.monotonic() - came
                    return self._run(servable, request, call, slot, record)
            finally:
                if record.ran_s is None:
                    record.waited_s = time.monotonic() - came

    def GetModelMetadata(  # noqa: N802 - the name in the protocol
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Lists the signatures."""
        with self._desk.answering(context, "GetModelMetadata") as record:
            spec = _spec(request)
            record.asks_for(spec.name)
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
        # What was generated for these raises inside gRPC, whose log gets a stack trace for each call.
        with self._desk.answering(context, method):
            raise UnimplementedError(f"{method} is not there; this server answers Predict and GetModelMetadata.")
        raise AssertionError  # aborted before

    def _open(self, context: grpc.ServicerContext) -> Call:
        call = Call(context.time_remaining())
        self._calls.opened(call)
        # Fires when the client gives up, when the deadline passes, and at the normal end.
        if not context.add_callback(partial(self._over, call)):
            self._over(call)
            raise CancelledError("Cancelled")
        return call

    def _over(self, call: Call) -> None:
        call.give_up()
        self._calls.closed(call)

    def _run(
        self,
        servable: Servable,
        request: predict_pb2.PredictRequest,
        call: Call,
        slot: int,
        record: CallRecord,
    ) -> predict_pb2.PredictResponse:
        record.version = servable.version
        began = time.monotonic()
        try:
            response = servable.predict(request, call, slot)
            record.steps = servable.steps(request, response)
            return response
        except CancelledError:
            raise call.why() from None
        finally:
            record.ran_s = time.monotonic() - began


def _spec(request: predict_pb2.PredictRequest | get_model_metadata_pb2.GetModelMetadataRequest) -> model_pb2.ModelSpec:
    if not request.HasField("model_spec"):
        raise RequestError("Missing ModelSpec")
    return request.model_spec
