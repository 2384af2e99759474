"""Interceptor of all calls: tokens, threads, and timeouts of requests."""

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
from .status import StatusReporter

PREDICT = "/tensorflow.serving.PredictionService/Predict"
HEALTH_PREFIX = "/grpc.health.v1.Health/"
"""Prefix of the methods that need no token: probes have none."""

SMALL_REQUEST_TIMEOUT_S = 10.0
"""Timeout for receiving any request but those of Predict; most have a few hundred bytes."""

MAX_HEALTH_BYTES = 1024
"""Largest health request, which holds the name of a service."""

if TYPE_CHECKING:
    Handler: TypeAlias = grpc.RpcMethodHandler[Any, Any]


class RequestInterceptor(grpc.ServerInterceptor):
    """Interceptor that checks tokens, and gives Predict and health watches their own threads.

    gRPC assigns a thread to a call when its header arrives, and the thread waits for the request. A few slow or missing
    requests could hold all threads of a shared pool, so a timeout ends their calls.

    Args:
        predict_pool: Threads of Predict.
        watch_pool: Threads of methods with streamed responses; other methods use the threads of the server.
        tokens: Accepted tokens; None accepts every call.
        reporter: Reporter of refused calls.
        predict_timeout_s: Timeout for receiving the request of a Predict call, in seconds.
    """

    def __init__(
        self,
        predict_pool: ThreadPoolExecutor,
        watch_pool: ThreadPoolExecutor,
        tokens: Tokens | None,
        reporter: StatusReporter,
        predict_timeout_s: float,
    ) -> None:
        self._predict_pool = predict_pool
        self._watch_pool = watch_pool
        self._tokens = tokens
        self._reporter = reporter
        self._predict_timeout_s = predict_timeout_s

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Returns the handler of a call."""
        method = _text(handler_call_details.method)
        if self._tokens is not None and not method.startswith(HEALTH_PREFIX):
            metadata = handler_call_details.invocation_metadata
            refusal = self._tokens.refusal(_text(value) for key, value in metadata if key == "authorization")
            if refusal is not None:
                return self._refusing(method, refusal)
        handler = continuation(handler_call_details)
        if handler is None or handler.request_streaming:
            return handler
        read = partial(self._read, method, handler.request_deserializer)
        if method == PREDICT:
            return _with_timeout(handler, read, self._predict_timeout_s, self._predict_pool)
        pool = self._watch_pool if handler.response_streaming else None
        return _with_timeout(handler, read, SMALL_REQUEST_TIMEOUT_S, pool)

    def _read(
        self, method: str, parse: Callable[[bytes], Any] | None, received: bytes, context: grpc.ServicerContext
    ) -> Any:  # noqa: ANN401 - any message
        """Parsed request. gRPC itself would end the call of a damaged one with INTERNAL."""
        if method.startswith(HEALTH_PREFIX) and len(received) > MAX_HEALTH_BYTES:
            with self._reporter.report(context, _name(method)):
                raise RequestError(
                    f"{len(received)} bytes came as a request of {_name(method)}, which may have {MAX_HEALTH_BYTES}: "
                    "it holds the name of a service and nothing else."
                )
        try:
            return received if parse is None else parse(received)
        except DecodeError:
            with self._reporter.report(context, _name(method)):
                raise RequestError(
                    f"The {len(received)} bytes that came are no request of {_name(method)}: they are damaged, cut "
                    "short, or another message."
                ) from None

    def _refusing(self, method: str, refusal: str) -> Handler:
        def refuse(_requests: object, context: grpc.ServicerContext) -> None:
            with self._reporter.report(context, _name(method)):
                raise UnauthenticatedError(refusal)

        # A method of streamed requests reads none, so unauthenticated requests take no memory.
        return grpc.stream_unary_rpc_method_handler(refuse)


@contextmanager
def cancelled_after(context: grpc.ServicerContext, timeout_s: float) -> Generator[None]:
    """Context that cancels the call after a timeout."""
    timer = threading.Timer(timeout_s, context.cancel)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _with_timeout(
    handler: Handler,
    read: Callable[[bytes, grpc.ServicerContext], Any],
    timeout_s: float,
    pool: ThreadPoolExecutor | None,
) -> Handler:
    """The same handler with a timeout for its request: as one of streamed requests, whose arrival it can wait for."""
    behaviour: Any = handler.unary_stream if handler.response_streaming else handler.unary_unary

    def answer(requests: Iterator[Any], context: grpc.ServicerContext, *send: object) -> Any:  # noqa: ANN401 - any message
        with cancelled_after(context, timeout_s):
            received = next(requests, None)
        if received is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "The method requires exactly one request message.")
        request = read(received, context)
        del received  # as large as the request, which may run for minutes
        return behaviour(request, context, *send)

    # Not public in gRPC, which reads these attributes: else these fail: `test_each_change_reaches_each_watcher`,
    # `test_requests_on_slow_lines_keep_nothing_from_being_answered`.
    vars(answer)["experimental_thread_pool"] = pool
    vars(answer)["experimental_non_blocking"] = getattr(behaviour, "experimental_non_blocking", False)
    if handler.response_streaming:
        return grpc.stream_stream_rpc_method_handler(answer, None, handler.response_serializer)
    return grpc.stream_unary_rpc_method_handler(answer, None, handler.response_serializer)


def _name(method: str) -> str:
    return clean(method.rpartition("/")[2], MAX_NAME_CHARS)


def _text(value: str | bytes) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value
