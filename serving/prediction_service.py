"""The PredictionService of TensorFlow Serving: Predict and GetModelMetadata."""

from __future__ import annotations

import queue
from collections.abc import Generator
from contextlib import contextmanager

import grpc
from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2, predict_pb2, prediction_service_pb2_grpc

from .answering import answering
from .batching import Batcher
from .call import Call
from .errors import CancelledError, OverloadedError, RequestError
from .manager import ModelManager

_SIGNATURE_DEF = "signature_def"


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers Predict and GetModelMetadata; the others stay UNIMPLEMENTED.

    Args:
        manager: where the models are.
        max_calls: Predict calls at a time; one more is refused at once.
        batcher: that joins them; None runs each by itself.
    """

    def __init__(self, manager: ModelManager, max_calls: int, batcher: Batcher | None = None) -> None:
        self._manager = manager
        self._batcher = batcher
        self._slots: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(max_calls):
            self._slots.put(slot)

    def Predict(  # noqa: N802 - the name in the protocol
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Runs a signature."""
        with answering(context):
            call = Call(context.time_remaining())
            # Fires when the client gives up, when the deadline passes, and at the normal end.
            if not context.add_callback(call.give_up):
                raise CancelledError("Cancelled")
            with self._slot() as slot, self._manager.use(_spec(request)) as servable:
                if self._batcher is not None:
                    return self._batcher.predict(servable, request, call, slot)
                return servable.predict(request, call, slot)

    def GetModelMetadata(  # noqa: N802 - the name in the protocol
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Lists the signatures."""
        with answering(context):
            spec = _spec(request)
            if not request.metadata_field:
                raise RequestError("GetModelMetadataRequest must specify at least one metadata_field")
            for field in request.metadata_field:
                if field != _SIGNATURE_DEF:
                    raise RequestError(f"Metadata field {field} is not supported")
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            with self._manager.use(spec) as servable:
                response.model_spec.name = spec.name
                response.model_spec.version.value = servable.version
                response.metadata[_SIGNATURE_DEF].Pack(servable.signature_map())
            return response

    @contextmanager
    def _slot(self) -> Generator[int]:
        try:
            slot = self._slots.get_nowait()
        except queue.Empty:
            raise OverloadedError("Server Threadpool Exhausted") from None
        try:
            yield slot
        finally:
            self._slots.put(slot)


def _spec(request: predict_pb2.PredictRequest | get_model_metadata_pb2.GetModelMetadataRequest) -> model_pb2.ModelSpec:
    if not request.HasField("model_spec"):
        raise RequestError("Missing ModelSpec")
    return request.model_spec
