"""The ModelService of TensorFlow Serving: GetModelStatus and HandleReloadConfigRequest."""

from __future__ import annotations

import threading

import grpc
from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2, model_service_pb2_grpc

from ..errors import OverloadedError, RequestError
from ..models.manager import ModelManager
from ..models.version_policy import configs_from_proto
from .status import StatusReporter

MAX_RELOADS = 2
"""Most configurations at a time, one of which waits. Each holds a thread that health checks need."""


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """Status of versions, and changes of the configuration.

    Args:
        manager: Manager of the models.
        reporter: Reporter of all calls.
    """

    def __init__(self, manager: ModelManager, reporter: StatusReporter) -> None:
        self._manager = manager
        self._reporter = reporter
        self._reloads = threading.BoundedSemaphore(MAX_RELOADS)

    def GetModelStatus(  # noqa: N802 - the name in the protocol
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Returns the state of one version, or of all."""
        with self._reporter.report(context, "GetModelStatus") as record:
            if not request.HasField("model_spec"):
                raise RequestError("Missing ModelSpec")
            record.set_request(request.model_spec.name)
            return get_model_status_pb2.GetModelStatusResponse(
                model_version_status=self._manager.status(request.model_spec)
            )

    def HandleReloadConfigRequest(  # noqa: N802 - the name in the protocol
        self, request: model_management_pb2.ReloadConfigRequest, context: grpc.ServicerContext
    ) -> model_management_pb2.ReloadConfigResponse:
        """Returns once the new configuration is served; an invalid one changes nothing."""
        with self._reporter.report(context, "HandleReloadConfigRequest"):
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
