"""The standard health service: whether something is served, for those who ask, and at each change for those who watch.

Of grpcio-health-checking the messages are used, and not the servicer: that one keeps every name that anybody watches,
for ever, and sends to watchers while it holds the lock that Check needs. So one watcher that takes nothing off its line
would end all probes, and keep the server from stopping.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from .interceptor import OTHERS_TIMEOUT_S, ended_after

TELLING_THREADS = 4
"""They tell watchers what has changed: several, because one that takes nothing holds a thread until its time is up."""

_SERVING: int = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: int = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN: int = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN

_Send = Callable[[Any], None]


@dataclass(eq=False)
class _Watcher:
    """A call that is told of changes; `told` is what it was told last."""

    context: grpc.ServicerContext
    send: _Send
    told: int | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class Health(health_pb2_grpc.HealthServicer):
    """Says of all services the same; at first that they do not serve.

    Args:
        services: names that may be asked for.
        timeout_s: how long a watcher may take to take a message; then its call is ended.
    """

    def __init__(self, services: Iterable[str], timeout_s: float = OTHERS_TIMEOUT_S) -> None:
        self._services = frozenset(services)
        self._timeout_s = timeout_s
        self._lock = threading.Lock()  # guards status and watchers; never held while sending
        self._status = _NOT_SERVING
        self._watchers: set[_Watcher] = set()
        self._pool = ThreadPoolExecutor(TELLING_THREADS, "health")

    def Check(  # noqa: N802 - the name in the protocol
        self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        """How it is now."""
        if request.service not in self._services:
            context.abort(grpc.StatusCode.NOT_FOUND, "service name unknown")
        return health_pb2.HealthCheckResponse(status=self._status)

    def Watch(  # noqa: N802 - the name in the protocol
        self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext, send: _Send
    ) -> None:
        """How it is now, and from then on at each change. Needs no thread in between."""
        if request.service not in self._services:
            # The call stays open, as the protocol asks, and nothing is kept for it: no service is added later.
            self._send(context, send, _UNKNOWN)
            return
        watcher = _Watcher(context, send)
        with self._lock:
            self._watchers.add(watcher)
        if context.add_callback(partial(self._gone, watcher)):
            self._tell(watcher)
        else:  # it is over already, and nobody will say so again
            self._gone(watcher)

    vars(Watch)["experimental_non_blocking"] = True  # so gRPC hands over `send`, and keeps the call open

    def report(self, *, serving: bool) -> list[Future[None]]:
        """Says so from now on. Of each watcher that is to be told, what is done when it was."""
        status = _SERVING if serving else _NOT_SERVING
        with self._lock:
            if status == self._status:
                return []
            self._status = status
            watchers = list(self._watchers)
        return [self._pool.submit(self._tell, watcher) for watcher in watchers]

    def close(self) -> None:
        """Ends its threads; by then no call may be open."""
        self._pool.shutdown(wait=True)

    def _tell(self, watcher: _Watcher) -> None:
        with watcher.lock:  # so that what is sent last is the newest
            with self._lock:
                status = self._status
            if status != watcher.told:
                watcher.told = status
                self._send(watcher.context, watcher.send, status)

    def _send(self, context: grpc.ServicerContext, send: _Send, status: int) -> None:
        with ended_after(context, self._timeout_s):
            send(health_pb2.HealthCheckResponse(status=status))

    def _gone(self, watcher: _Watcher) -> None:
        with self._lock:
            self._watchers.discard(watcher)
