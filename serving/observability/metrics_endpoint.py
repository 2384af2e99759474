"""HTTP endpoint of the metrics: prometheus_client's WSGI application at one path."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler

from prometheus_client.exposition import ThreadingWSGIServer

from ..config_files import MonitoringConfig, read_config
from ..errors import StartError
from ..ports import port_text

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]
WsgiApp = Callable[[Environ, StartResponse], Iterable[bytes]]

logger = logging.getLogger(__name__)

DEFAULT_PATH: Final = "/monitoring/prometheus/metrics"
"""TensorFlow Serving's default path."""

MAX_CONNECTIONS: Final = 8
"""Most connections at a time; a scraper opens one every few seconds."""

TIMEOUT_S: Final = 10.0
"""Timeout of a connection, from its start to the end of the response. A response takes milliseconds."""


def path_of(config_file: Path | None) -> str | None:
    """Path of the metrics in TensorFlow Serving's MonitoringConfig; None where the file disables them.

    Raises:
        StartError: The file cannot be read, or its path does not begin with a slash.
    """
    if config_file is None:
        return DEFAULT_PATH
    config = read_config(config_file, MonitoringConfig).prometheus_config
    path: str = config.path or DEFAULT_PATH
    if not path.startswith("/"):
        raise StartError(f"{config_file}: the path of the metrics is {path!r}; it must begin with /")
    return path if config.enable else None


class MetricsEndpoint:
    """HTTP server that serves an application at one path, and 404 elsewhere.

    Args:
        host: Address to listen on.
        path: Path of the metrics.
        app: WSGI application that renders the metrics.
        timeout_s: Timeout of a connection, in seconds.
    """

    def __init__(self, host: str, path: str, app: WsgiApp, *, timeout_s: float = TIMEOUT_S) -> None:
        self._host: Final = host
        self._path: Final = path
        self._app: Final = app
        self._timeout_s: Final = timeout_s
        self._server: _Server | None = None

    def start(self, port: int) -> int:
        """Opens the port (0: any free one) and returns its number.

        Raises:
            StartError: The port is in use.
        """
        try:
            family = socket.getaddrinfo(self._host, port, type=socket.SOCK_STREAM)[0][0]
            self._server = _Server((self._host, port), family, self._timeout_s)
        except OSError as error:
            raise StartError(port_text(self._host, port, error.strerror or str(error), metrics=True)) from error
        self._server.set_app(self._respond)
        threading.Thread(target=self._server.serve_forever, args=(0.1,), name="metrics", daemon=True).start()
        return self._server.server_address[1]

    def stop(self) -> None:
        """Closes the port."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _respond(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == self._path:
            return self._app(environ, start_response)
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [f"Metrics are at {self._path}; nothing else is here.\n".encode()]


class _Server(ThreadingWSGIServer):
    """prometheus_client's server with a limit and a timeout for its connections."""

    def __init__(self, address: tuple[str, int], family: socket.AddressFamily, timeout_s: float) -> None:
        self.address_family = family
        self._timeout_s: Final = timeout_s
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the base class's
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the base class's
        # A socket's own timeout is for each read: a byte every few seconds would hold a connection for days.
        timer = threading.Timer(self._timeout_s, _hang_up, (request,))
        timer.daemon = True
        timer.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            timer.cancel()
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - the base class's
        logger.debug("a request for the metrics failed", exc_info=True)


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):  # it is closed already
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(WSGIRequestHandler):
    """Handler that logs requests at level DEBUG alone."""

    def log_message(self, format: str, *args: object) -> None:
        logger.debug(format, *args)
