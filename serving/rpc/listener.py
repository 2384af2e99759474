"""gRPC server of the embedded server: port, threads, limits, TLS and tokens. Services are added by the caller."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc

from ..errors import StartError
from ..ports import address_of, port_text
from .interceptor import RequestInterceptor
from .security import Tokens
from .status import StatusReporter

try:
    import resource
except ModuleNotFoundError:  # on Windows, where sockets are no files
    resource = None

SPARE_THREADS = 16
"""Threads for status, metadata and health, beside those of Predict."""

REFUSAL_THREADS = 4
"""Threads of Predict for calls that are refused because the queue is full. Each may hold a request."""

SPARE_STREAMS = 100
"""Calls of one connection at a time, beyond twice the calls that the server accepts. gRPC clients hold back calls over
this limit without an error, so it is larger than the limits with an error."""

MAX_CONNECTIONS = 1000
"""Most connections at a time; a further one is closed. Each takes memory and a file descriptor."""

SPARE_FILES = 100
"""File descriptors for models, devices, the log and the metrics."""

WATCH_THREADS = 4
"""Threads that receive requests of health watches. An open watch holds none."""

RECEIVE_TIMEOUT_S = 300.0
"""Timeout for receiving the request of a Predict call: 202 MB, the largest by default, at 5 Mbit/s."""

HANDSHAKE_TIMEOUT_S = 20
"""Timeout of handshakes; gRPC's default of 120 s would let idle connections accumulate."""


class Listener:
    """A gRPC server, not started yet.

    Args:
        host: Address to listen on.
        max_calls: Most Predict calls, running and waiting.
        max_request_bytes: Largest request.
        credentials: Credentials for TLS; None for plain text.
        tokens: Accepted tokens; None accepts every call.
        reporter: Reporter of refused calls.
        max_connections: Most connections at a time.
        receive_timeout_s: Timeout for receiving the request of a Predict call, in seconds.
    """

    def __init__(
        self,
        host: str,
        *,
        max_calls: int,
        max_request_bytes: int,
        credentials: grpc.ServerCredentials | None = None,
        tokens: Tokens | None = None,
        reporter: StatusReporter | None = None,
        max_connections: int = MAX_CONNECTIONS,
        receive_timeout_s: float = RECEIVE_TIMEOUT_S,
    ) -> None:
        self._host = host
        self._credentials = credentials
        others = ThreadPoolExecutor(SPARE_THREADS, "grpc")
        predict = ThreadPoolExecutor(max_calls + REFUSAL_THREADS, "predict")
        watch = ThreadPoolExecutor(WATCH_THREADS, "watch")
        self._pools = (others, predict, watch)
        self.server = grpc.server(
            others,
            interceptors=[RequestInterceptor(predict, watch, tokens, reporter or StatusReporter(), receive_timeout_s)],
            options=[
                # By default a second server can share the port and take half of the calls.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", max_request_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_concurrent_streams", 2 * max_calls + SPARE_STREAMS),
                ("grpc.max_allowed_incoming_connections", max_connections),
                ("grpc.server_handshake_timeout_ms", 1000 * HANDSHAKE_TIMEOUT_S),
                # Clients may ping during long calls.
                ("grpc.http2.min_ping_interval_without_data_ms", 20_000),
                ("grpc.keepalive_permit_without_calls", 1),
            ],
        )

    def start(self, port: int) -> int:
        """Opens the port and returns its number.

        Raises:
            StartError: The port is in use, or the credentials are invalid.
        """
        address = address_of(self._host, port)
        try:
            if self._credentials is None:
                number = self.server.add_insecure_port(address)
            else:
                number = self.server.add_secure_port(address, self._credentials)
        except RuntimeError as error:
            tls = "" if self._credentials is None else ", or its certificate and its key do not belong together"
            raise StartError(port_text(self._host, port, f"it is in use{tls}")) from error
        self.server.start()
        return number

    def stop(self) -> None:
        """Closes the port, cancels open calls and waits for their threads."""
        self.server.stop(0).wait()
        for pool in self._pools:
            pool.shutdown(wait=True)


def connection_limit() -> int:
    """Most connections by the file descriptors of the process, up to `MAX_CONNECTIONS`.

    `SPARE_FILES` stay reserved, so that connections cannot prevent the loading of models.

    Raises:
        StartError: There are file descriptors for none.
    """
    if resource is None:
        return MAX_CONNECTIONS
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    if files <= SPARE_FILES:
        raise StartError(
            f"the process may have {files} files open, and needs {SPARE_FILES} beside one for each connection. "
            "Allow more: ulimit -n 1024."
        )
    return min(MAX_CONNECTIONS, files - SPARE_FILES)
