"""The port of the embedded server: gRPC with its bounds, threads, TLS and tokens, until services are put behind it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc

from ..errors import StartError
from ..ports import address_of, port_text
from .interceptor import Gate
from .security import Tokens
from .status import Answering

try:
    import resource
except ModuleNotFoundError:  # on Windows, where sockets are no files
    resource = None

SPARE_THREADS = 16
"""Threads for status, metadata and health, so that they are answered while every Predict is busy."""

REFUSING_THREADS = 4
"""Threads of Predict beyond the calls that run and wait: they refuse the next ones. Each may hold a request."""

SPARE_STREAMS = 100
"""Calls of one connection at a time, beyond twice those that the server takes. A client makes the calls over its bound
wait by itself, so it must not be lower: whoever sends too much is to be told."""

MAX_CONNECTIONS = 1000
"""One more is closed at once. Each costs some memory, and a file descriptor, of which a process may have fewer."""

SPARE_FILES = 100
"""File descriptors for all else: models, devices, the log, the metrics."""

WATCHING_THREADS = 4
"""They begin to watch health, and are free again: at once, but for requests that do not come."""

RECEIVE_TIMEOUT_S = 300.0
"""For the request of a Predict call to come: the largest, 202 MB, needs it at 5 Mbit/s."""

HANDSHAKE_TIMEOUT_S = 20
"""gRPC's own is 120 s, long enough to collect connections that say nothing."""


class Listener:
    """A gRPC server that is not started yet.

    Args:
        host: address to listen on.
        most_calls: Predict calls that run and wait.
        max_request_bytes: largest request.
        credentials: for TLS; None is plain text.
        tokens: that are accepted; None asks for none.
        desk: what surrounds the answer to a call that is turned away.
        max_connections: most connections at a time.
        receive_timeout_s: how long the request of a Predict call may take to come.
    """

    def __init__(
        self,
        host: str,
        *,
        most_calls: int,
        max_request_bytes: int,
        credentials: grpc.ServerCredentials | None = None,
        tokens: Tokens | None = None,
        desk: Answering | None = None,
        max_connections: int = MAX_CONNECTIONS,
        receive_timeout_s: float = RECEIVE_TIMEOUT_S,
    ) -> None:
        self._host = host
        self._credentials = credentials
        others = ThreadPoolExecutor(SPARE_THREADS, "grpc")
        predict = ThreadPoolExecutor(most_calls + REFUSING_THREADS, "predict")
        watch = ThreadPoolExecutor(WATCHING_THREADS, "watch")
        self._pools = (others, predict, watch)
        self.server = grpc.server(
            others,
            interceptors=[Gate(predict, watch, tokens, desk or Answering(), receive_timeout_s)],
            options=[
                # Else a second server shares the port, and each gets half of the calls.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", max_request_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_concurrent_streams", 2 * most_calls + SPARE_STREAMS),
                ("grpc.max_allowed_incoming_connections", max_connections),
                ("grpc.server_handshake_timeout_ms", 1000 * HANDSHAKE_TIMEOUT_S),
                # A client that pings to keep a long, silent call alive is not "too many pings".
                ("grpc.http2.min_ping_interval_without_data_ms", 20_000),
                ("grpc.keepalive_permit_without_calls", 1),
            ],
        )

    def start(self, port: int) -> int:
        """Opens the port, and returns its number.

        Raises:
            StartError: the port is taken, or the credentials cannot be used.
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
        """Closes the port; calls still inside are cancelled, and their threads have ended when this returns."""
        self.server.stop(0).wait()
        for pool in self._pools:
            pool.shutdown(wait=True)


def most_connections() -> int:
    """How many connections the process has files for, `MAX_CONNECTIONS` at most.

    With a descriptor for each and none to spare, the server could list no directory and load no version any more.

    Raises:
        StartError: it has files for none.
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
