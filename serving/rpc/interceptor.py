"""What a call passes before the service that answers it: who may come in, and on which threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from ..errors import RequestError, UnauthenticatedError
from ..observability.call_record import MAX_NAME_CHARS, clean
from .security import Tokens
from .status import Answering

PREDICT = "/tensorflow.serving.PredictionService/Predict"
OPEN_TO_ALL = "/grpc.health.v1.Health/"
"""Probes have no token, and learn no more than whether something is served."""

OTHERS_TIMEOUT_S = 10.0
"""How long any other request may take to come; none has more than a few hundred bytes, but configurations."""

MAX_HEALTH_BYTES = 1024
"""Of a request for health, which strangers may send: the name of a service."""

if TYPE_CHECKING:
    Handler: TypeAlias = grpc.RpcMethodHandler[Any, Any]


class Gate(grpc.ServerInterceptor):
    """Turns away calls without a token, and keeps those apart that could hold up others.

    gRPC gives a call a thread when its header comes, and the thread waits for the rest of the request. So a few large
    requests on slow lines, or a few that never come, could hold all threads. Here Predict has threads of its own, so
    has the watching of health, and a request that does not come in time ends its call.

    Args:
        predict_pool: the threads of Predict.
        watch_pool: the threads of methods with many answers; all others have those of the server.
        tokens: that are accepted; None asks for none.
        desk: what surrounds the answer to a call that is turned away.
        predict_timeout_s: how long the request of a Predict call may take to come.
    """

    def __init__(
        self,
        predict_pool: ThreadPoolExecutor,
        watch_pool: ThreadPoolExecutor,
        tokens: Tokens | None,
        desk: Answering,
        predict_timeout_s: float,
    ) -> None:
        self._predict_pool = predict_pool
        self._watch_pool = watch_pool
        self._tokens = tokens
        self._desk = desk
        self._predict_timeout_s = predict_timeout_s

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
        if handler is None or handler.request_streaming:
            return handler
        read = partial(self._read, method, handler.request_deserializer)
        if method == PREDICT:
            return _received_in_time(handler, read, self._predict_timeout_s, self._predict_pool)
        pool = self._watch_pool if handler.response_streaming else None
        return _received_in_time(handler, read, OTHERS_TIMEOUT_S, pool)

    def _read(
        self, method: str, parse: Callable[[bytes], Any] | None, received: bytes, context: grpc.ServicerContext
    ) -> Any:  # noqa: ANN401 - any message
        """The request in the bytes of one. gRPC itself would end the call with INTERNAL, as if it were our fault."""
        if method.startswith(OPEN_TO_ALL) and len(received) > MAX_HEALTH_BYTES:
            with self._desk.answering(context, _name(method)):
                raise RequestError(
                    f"{len(received)} bytes came as a request of {_name(method)}, which may have {MAX_HEALTH_BYTES}: "
                    "it holds the name of a service and nothing else."
                )
        try:
            return received if parse is None else parse(received)
        except DecodeError:
            with self._desk.answering(context, _name(method)):
                raise RequestError(
                    f"The {len(received)} bytes that came are no request of {_name(method)}: they are damaged, cut "
                    "short, or another message."
                ) from None

    def _turned_away(self, method: str, refusal: str) -> Handler:
        def refuse(_requests: object, context: grpc.ServicerContext) -> None:
            with self._desk.answering(context, _name(method)):
                raise UnauthenticatedError(refusal)

        # As a method of many requests, none of which is read: no memory is taken for a stranger's pictures.
        return grpc.stream_unary_rpc_method_handler(refuse)


@contextmanager
def ended_after(context: grpc.ServicerContext, timeout_s: float) -> Generator[None]:
    """Ends the call if what is inside takes longer."""
    too_late = threading.Timer(timeout_s, context.cancel)
    too_late.daemon = True
    too_late.start()
    try:
        yield
    finally:
        too_late.cancel()


def _received_in_time(
    handler: Handler,
    read: Callable[[bytes, grpc.ServicerContext], Any],
    timeout_s: float,
    pool: ThreadPoolExecutor | None,
) -> Handler:
    """The same, for gRPC a method of many requests: only of such a one it hands over the waiting for the first."""
    behaviour: Any = handler.unary_stream if handler.response_streaming else handler.unary_unary

    def answer(requests: Iterator[Any], context: grpc.ServicerContext, *send: object) -> Any:  # noqa: ANN401 - any message
        with ended_after(context, timeout_s):
            received = next(requests, None)
        if received is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "The method requires exactly one request message.")
        request = read(received, context)
        del received  # as large as the request, and not needed while that is worked on
        return behaviour(request, context, *send)

    # gRPC looks for them there.
    vars(answer)["experimental_thread_pool"] = pool
    vars(answer)["experimental_non_blocking"] = getattr(behaviour, "experimental_non_blocking", False)
    if handler.response_streaming:
        return grpc.stream_stream_rpc_method_handler(answer, None, handler.response_serializer)
    return grpc.stream_unary_rpc_method_handler(answer, None, handler.response_serializer)


def _name(method: str) -> str:
    return clean(method.rpartition("/")[2], MAX_NAME_CHARS)


def _text(value: str | bytes) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value
