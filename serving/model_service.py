"""The ModelService of TensorFlow Serving: GetModelStatus and HandleReloadConfigRequest."""

from __future__ import annotations

import grpc
from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2, model_service_pb2_grpc

from .answering import answering
from .errors import RequestError
from .manager import ModelManager
from .versions import configs_from_proto


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """Says how versions are, and takes new configurations.

    Args:
        manager: where the models are.
    """

    def __init__(self, manager: ModelManager) -> None:
        self._manager = manager

    def GetModelStatus(  # noqa: N802 - the name in the protocol
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Lists the state of one version, or of all."""
        with answering(context):
            if not request.HasField("model_spec"):
                raise RequestError("Missing ModelSpec")
            return get_model_status_pb2.GetModelStatusResponse(
                model_version_status=self._manager.status(request.model_spec)
            )

    def HandleReloadConfigRequest(  # noqa: N802 - the name in the protocol
        self, request: model_management_pb2.ReloadConfigRequest, context: grpc.ServicerContext
    ) -> model_management_pb2.ReloadConfigResponse:
        """Returns when the new configuration serves; a bad one changes nothing."""
        with answering(context):
            if request.config.WhichOneof("config") != "model_config_list":
                raise RequestError(
                    "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                    "Only ModelConfigList is currently supported"
                )
            self._manager.reload(configs_from_proto(request.config.model_config_list))
            return model_management_pb2.ReloadConfigResponse()
