"""What a call passes before the service that answers it: who may come in, and on which threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from .answering import Answering
from .call_record import MAX_NAME_CHARS, clean
from .errors import UnauthenticatedError
from .security import Tokens

PREDICT = "/tensorflow.serving.PredictionService/Predict"
OPEN_TO_ALL = "/grpc.health.v1.Health/"
"""Probes have no token, and learn no more than whether something is served."""

if TYPE_CHECKING:
    Handler: TypeAlias = grpc.RpcMethodHandler[Any, Any]


class Gate(grpc.ServerInterceptor):
    """Turns away calls without a token, and sends Predict calls to threads of their own.

    gRPC gives a call a thread when its header comes, and the thread waits for the rest of the request. So a few large
    requests on slow lines could hold all threads; then status, metadata and health would not be answered.

    Args:
        predict_pool: the threads of Predict; all other methods have those of the server.
        tokens: that are accepted; None asks for none.
        desk: what surrounds the answer to a call that is turned away.
    """

    def __init__(self, predict_pool: ThreadPoolExecutor, tokens: Tokens | None, desk: Answering) -> None:
        self._predict_pool = predict_pool
        self._tokens = tokens
        self._desk = desk

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """The handler of a call."""
        method = _text(handler_call_details.method)
        if self._tokens is not None and not method.startswith(OPEN_TO_ALL):
            metadata = handler_call_details.invocation_metadata
            refusal = self._tokens.refusal(_text(value) for key, value in metadata if key == "authorization")
            if refusal is not None:
                return self._turned_away(method, refusal)
        handler = continuation(handler_call_details)
        if handler is None or method != PREDICT:
            return handler
        behaviour: Any = handler.unary_unary

        def predict(request: object, context: grpc.ServicerContext) -> object:
            return behaviour(request, context)

        vars(predict)["experimental_thread_pool"] = self._predict_pool  # gRPC looks for it there
        return grpc.unary_unary_rpc_method_handler(predict, handler.request_deserializer, handler.response_serializer)

    def _turned_away(self, method: str, refusal: str) -> Handler:
        name = clean(method.rpartition("/")[2], MAX_NAME_CHARS)

        def refuse(_requests: object, context: grpc.ServicerContext) -> None:
            with self._desk.answering(context, name):
                raise UnauthenticatedError(refusal)

        # As a method of many requests, none of which is read: no memory is taken for a stranger's pictures.
        return grpc.stream_unary_rpc_method_handler(refuse)


def _text(value: str | bytes) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value
