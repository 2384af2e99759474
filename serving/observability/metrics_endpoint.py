"""Where Prometheus fetches the metrics: one path of a small HTTP server, and nothing else."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ..config_files import MonitoringConfig, read_config
from ..errors import StartError
from ..ports import port_text

logger = logging.getLogger(__name__)

DEFAULT_PATH: Final = "/monitoring/prometheus/metrics"
"""TensorFlow Serving's."""

MAX_CONNECTIONS: Final = 8
"""Who scrapes comes alone every few seconds."""

TIMEOUT_S: Final = 10.0
"""For a request that does not come, and an answer that is not taken."""

WHOLE_TIMEOUT_S: Final = 30.0
"""For both together: a byte every few seconds would hold a connection for days."""


def path_of(config_file: Path | None) -> str | None:
    """Where the metrics are, by TensorFlow Serving's MonitoringConfig; None where it switches them off.

    Raises:
        StartError: the file cannot be read, or its path is none.
    """
    if config_file is None:
        return DEFAULT_PATH
    config = read_config(config_file, MonitoringConfig).prometheus_config
    path: str = config.path or DEFAULT_PATH
    if not path.startswith("/"):
        raise StartError(f"{config_file}: the path of the metrics is {path!r}; it must begin with /")
    return path if config.enable else None


class MetricsEndpoint:
    """Answers from `start` to `stop`.

    Args:
        host: address to listen on.
        path: of the metrics.
        page: makes the answer.
        timeout_s: from when a connection is there to when it is closed, at the latest.
    """

    def __init__(self, host: str, path: str, page: Callable[[], bytes], *, timeout_s: float = WHOLE_TIMEOUT_S) -> None:
        self._timeout_s: Final = timeout_s
        self._host: Final = host
        self._path: Final = path
        self._page: Final = page
        self._server: _Server | None = None

    def start(self, port: int) -> int:
        """Opens the port, 0 being any that is free, and returns its number.

        Raises:
            StartError: it is taken.
        """
        try:
            family = socket.getaddrinfo(self._host, port, type=socket.SOCK_STREAM)[0][0]
            self._server = _Server((self._host, port), family, self._path, self._page, self._timeout_s)
        except OSError as error:
            raise StartError(port_text(self._host, port, error.strerror or str(error), metrics=True)) from error
        threading.Thread(target=self._server.serve_forever, args=(0.1,), name="metrics", daemon=True).start()
        return self._server.server_address[1]

    def stop(self) -> None:
        """Closes the port."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class _Server(ThreadingHTTPServer):
    """With a bound for its threads. Those still answering do not keep the process up."""

    def __init__(
        self,
        address: tuple[str, int],
        family: socket.AddressFamily,
        path: str,
        page: Callable[[], bytes],
        timeout_s: float,
    ) -> None:
        self._timeout_s: Final = timeout_s
        self.address_family = family
        self.path: Final = path
        self.page: Final = page
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the base class's
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the base class's
        too_late = threading.Timer(self._timeout_s, _hang_up, (request,))
        too_late.daemon = True
        too_late.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            too_late.cancel()
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - the base class's
        logger.debug("a request for the metrics failed", exc_info=True)


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):  # it is closed already
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    timeout = TIMEOUT_S
    server_version = "styleserve"
    sys_version = ""

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, _Server)  # noqa: S101 - nobody else makes one of these
        if urlsplit(self.path).path == server.path:
            self._answer(200, server.page(), "text/plain; version=0.0.4; charset=utf-8")
        else:
            self._answer(404, f"Metrics are at {server.path}; nothing else is here.\n".encode(), "text/plain")

    def log_message(self, format: str, *args: object) -> None:
        logger.debug(format, *args)

    def _answer(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
