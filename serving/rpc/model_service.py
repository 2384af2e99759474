"""The ModelService of TensorFlow Serving: GetModelStatus and HandleReloadConfigRequest."""

from __future__ import annotations

import threading

import grpc
from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2, model_service_pb2_grpc

from ..errors import OverloadedError, RequestError
from ..models.manager import ModelManager
from ..models.version_policy import configs_from_proto
from .status import Answering

MOST_RELOADS = 2
"""One loads, which takes as long as a model does, and one waits for it; more would hold the threads of health."""


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """Says how versions are, and takes new configurations.

    Args:
        manager: where the models are.
        desk: what surrounds each answer.
    """

    def __init__(self, manager: ModelManager, desk: Answering) -> None:
        self._manager = manager
        self._desk = desk
        self._reloads = threading.BoundedSemaphore(MOST_RELOADS)

    def GetModelStatus(  # noqa: N802 - the name in the protocol
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Lists the state of one version, or of all."""
        with self._desk.answering(context, "GetModelStatus") as record:
            if not request.HasField("model_spec"):
                raise RequestError("Missing ModelSpec")
            record.asks_for(request.model_spec.name)
            return get_model_status_pb2.GetModelStatusResponse(
                model_version_status=self._manager.status(request.model_spec)
            )

    def HandleReloadConfigRequest(  # noqa: N802 - the name in the protocol
        self, request: model_management_pb2.ReloadConfigRequest, context: grpc.ServicerContext
    ) -> model_management_pb2.ReloadConfigResponse:
        """Returns when the new configuration serves; a bad one changes nothing."""
        with self._desk.answering(context, "HandleReloadConfigRequest"):
            if request.config.WhichOneof("config") != "model_config_list":
                raise RequestError(
                    "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                    "Only ModelConfigList is currently supported"
                )
            configs = configs_from_proto(request.config.model_config_list)
            if not self._reloads.acquire(blocking=False):
                raise OverloadedError("Other configurations are being loaded, and the queue for them is full")
            try:
                self._manager.reload(configs)
            finally:
                self._reloads.release()
            return model_management_pb2.ReloadConfigResponse()
