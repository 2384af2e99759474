"""The standard gRPC health service: Check, and Watch without a thread for each watcher.

grpcio-health-checking's servicer sends while it holds the lock of Check and `set`: one watcher that reads nothing
blocks both (`test_watchers_that_read_nothing_block_no_other_call`). It also keeps every watched name for ever.
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

from .interceptor import SMALL_REQUEST_TIMEOUT_S, cancelled_after

NOTIFIER_THREADS = 4
"""Threads that notify watchers. A watcher that reads nothing holds one until its timeout."""

_SERVING: int = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: int = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN: int = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN

_Send = Callable[[Any], None]


@dataclass(eq=False)
class _Watcher:
    """A Watch call, and the status that it was sent last."""

    context: grpc.ServicerContext
    send: _Send
    sent: int | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class HealthService(health_pb2_grpc.HealthServicer):
    """Health with one status for all services, NOT_SERVING at first.

    Args:
        services: Names of the services.
        timeout_s: Seconds for a watcher to read a message; its call is cancelled after that.
    """

    def __init__(self, services: Iterable[str], timeout_s: float = SMALL_REQUEST_TIMEOUT_S) -> None:
        self._services = frozenset(services)
        self._timeout_s = timeout_s
        self._lock = threading.Lock()  # guards status and watchers; never held while sending
        self._status = _NOT_SERVING
        self._watchers: set[_Watcher] = set()
        self._pool = ThreadPoolExecutor(NOTIFIER_THREADS, "health")

    def Check(  # noqa: N802 - the name in the protocol
        self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        """Returns the current status."""
        if request.service not in self._services:
            context.abort(grpc.StatusCode.NOT_FOUND, "service name unknown")
        return health_pb2.HealthCheckResponse(status=self._status)

    def Watch(  # noqa: N802 - the name in the protocol
        self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext, send: _Send
    ) -> None:
        """Sends the current status, and every later one."""
        if request.service not in self._services:
            self._send(context, send, _UNKNOWN)  # and the call stays open, as the protocol asks
            return
        watcher = _Watcher(context, send)
        with self._lock:
            self._watchers.add(watcher)
        if context.add_callback(partial(self._remove, watcher)):
            self._notify(watcher)
        else:  # the call has ended already
            self._remove(watcher)

    # gRPC then passes `send`, and open calls hold no threads; else `test_each_change_reaches_each_watcher` fails.
    vars(Watch)["experimental_non_blocking"] = True

    def report(self, *, serving: bool) -> list[Future[None]]:
        """Sets the status; returns a future for each watcher that is being notified."""
        status = _SERVING if serving else _NOT_SERVING
        with self._lock:
            if status == self._status:
                return []
            self._status = status
            watchers = list(self._watchers)
        return [self._pool.submit(self._notify, watcher) for watcher in watchers]

    def close(self) -> None:
        """Ends the notifier threads. All calls must have ended."""
        self._pool.shutdown(wait=True)

    def _notify(self, watcher: _Watcher) -> None:
        with watcher.lock:  # so that the last message has the newest status
            with self._lock:
                status = self._status
            if status != watcher.sent:
                watcher.sent = status
                self._send(watcher.context, watcher.send, status)

    def _send(self, context: grpc.ServicerContext, send: _Send, status: int) -> None:
        with cancelled_after(context, self._timeout_s):
            send(health_pb2.HealthCheckResponse(status=status))

    def _remove(self, watcher: _Watcher) -> None:
        with self._lock:
            self._watchers.discard(watcher)
