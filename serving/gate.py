"""What a call passes before the service that answers it: a pool of threads for each purpose."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

PREDICT = "/tensorflow.serving.PredictionService/Predict"

if TYPE_CHECKING:
    Handler: TypeAlias = grpc.RpcMethodHandler[Any, Any]


class Gate(grpc.ServerInterceptor):
    """Sends Predict calls to threads of their own.

    gRPC gives a call a thread when its header comes, and the thread waits for the rest of the request. So a few large
    requests on slow lines could hold all threads; then status, metadata and health would not be answered.

    Args:
        predict_pool: the threads of Predict; all other methods have those of the server.
    """

    def __init__(self, predict_pool: ThreadPoolExecutor) -> None:
        self._predict_pool = predict_pool

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """The handler of a call."""
        method = _text(handler_call_details.method)
        handler = continuation(handler_call_details)
        if handler is None or method != PREDICT:
            return handler
        behaviour: Any = handler.unary_unary

        def predict(request: object, context: grpc.ServicerContext) -> object:
            return behaviour(request, context)

        vars(predict)["experimental_thread_pool"] = self._predict_pool  # gRPC looks for it there
        return grpc.unary_unary_rpc_method_handler(predict, handler.request_deserializer, handler.response_serializer)


def _text(value: str | bytes) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value
