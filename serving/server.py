"""The embedded server: one process that speaks TensorFlow Serving's protocol, for development, tests and small use."""

from __future__ import annotations

import logging
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from styleserve.contract import DEFAULT_MODEL_NAME, DEFAULT_PORT, Limits

from .call import OpenCalls
from .errors import ServingError, StartError, UnavailableError
from .gate import Gate
from .manager import ModelManager
from .model_service import ModelService
from .prediction_service import PredictionService
from .servable import SessionSettings
from .turns import Turns
from .versions import ModelConfig, versions_on_disk

logger = logging.getLogger(__name__)

SPARE_THREADS = 16
"""Threads for status, metadata and health, so that they are answered while every Predict is busy."""

REFUSING_THREADS = 4
"""Threads of Predict beyond the calls that run and wait: they refuse the next ones. Each may hold a request."""

GRACE_S = 25.0
"""Calls take tens of seconds, and Kubernetes kills 30 s after SIGTERM unless told otherwise."""

FAREWELL_S = 3.0
"""After the grace: to stop what still runs, milliseconds, and to tell its clients, over lines that may be slow."""

STOPPING = "The server is stopping; try again, here in a moment or at another one."
STOPPED = "The server stopped before the call had ended; try again, perhaps at another one."

MAX_REQUEST_BYTES = 2 * Limits().max_batch * Limits().max_side ** 2 * 3 * 4 + 2**20
"""Two full batches of the largest images, 3 channels of 4 bytes (201 MB), and 1 MiB for all the rest."""

_SERVICES = ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@dataclass(frozen=True)
class ServerSettings:
    """How the embedded server runs.

    Attributes:
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        max_calls: Predict calls that run at a time: one for each core, and no fewer than two, of which one is kept for
            short calls. Each holds its pictures and activations in memory.
        max_waiting: Predict calls that wait for those to end; the next one is refused. None is as many as make 4 for
            each core together with those that run: TensorFlow Serving's bound.
        poll_s: seconds between two looks for new versions.
        grace_s: seconds that running calls may go on after the server was told to stop. Whatever stops the process
            has to wait five more before it kills.
        max_request_bytes: largest request.

    Raises:
        ValueError: a number is out of its range.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    max_calls: int = field(default_factory=lambda: max(2, os.cpu_count() or 1))
    max_waiting: int | None = None
    poll_s: float = 1.0
    grace_s: float = GRACE_S
    max_request_bytes: int = MAX_REQUEST_BYTES

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port is {self.port}; it must be from 0 to 65535")
        if self.max_calls < 1:
            raise ValueError(f"max_calls is {self.max_calls}; it must be at least 1")
        if self.max_waiting is not None and self.max_waiting < 0:
            raise ValueError(f"max_waiting is {self.max_waiting}; it must not be negative")
        if self.poll_s <= 0:
            raise ValueError(f"poll_s is {self.poll_s}; it must be above 0")
        if self.grace_s < 0:
            raise ValueError(f"grace_s is {self.grace_s}; it must not be negative")

    @property
    def places(self) -> int:
        """Predict calls that wait at a time."""
        return max(0, 4 * (os.cpu_count() or 1) - self.max_calls) if self.max_waiting is None else self.max_waiting


class EmbeddedServer:
    """Serves the versions under a base path from `start` to `stop`; a context manager.

    Args:
        base_path: directory with one sub-directory for each version.
        model_name: what requests call the model.
        settings: how it runs.
    """

    def __init__(
        self,
        base_path: str | Path,
        *,
        model_name: str = DEFAULT_MODEL_NAME,
        settings: ServerSettings | None = None,
    ) -> None:
        self._settings = settings or ServerSettings()
        self._config = ModelConfig(model_name, Path(base_path).absolute())
        self._health = health.HealthServicer()
        self._report_health(serving=False)
        self._manager = ModelManager(SessionSettings(self._settings.max_calls), self._models_changed)
        self._turns = Turns(self._settings.max_calls, self._settings.places)
        self._calls = OpenCalls()
        self._server: grpc.Server | None = None
        self._workers: list[ThreadPoolExecutor] = []
        self._stopping = False
        self.port = self._settings.port

    @property
    def address(self) -> str:
        """Where it listens, as `host:port`."""
        return _address(self._settings.host, self.port)

    def start(self) -> None:
        """Loads the model, then opens the port. When this returns, the server answers.

        Raises:
            StartError: the port is taken, or no version can be served.
        """
        # A look before the load, so that a taken port is told at once; opened after it, as TensorFlow Serving does.
        _check_port(self._settings.host, self._settings.port)
        self._load()
        try:
            self._open()
        except StartError:
            self._manager.close()
            raise
        self._models_changed()
        self._manager.watch(self._settings.poll_s)

    def stop(self, grace_s: float | None = None) -> None:
        """Takes no more calls, lets those that run end within the grace, stops the rest, unloads the model.

        Until then the port stays open, so that health says NOT_SERVING and a new call is told to go elsewhere.
        """
        self._stopping = True
        self._report_health(serving=False)
        self._turns.close(UnavailableError(STOPPING))
        if self._server is not None:
            if not self._calls.wait_until_none(self._settings.grace_s if grace_s is None else grace_s):
                self._calls.give_up(UnavailableError(STOPPED))
                self._calls.wait_until_none(FAREWELL_S)
            self._server.stop(0).wait()
            for pool in self._workers:
                pool.shutdown(wait=True)
            self._server, self._workers = None, []
        self._manager.close()

    def __enter__(self) -> EmbeddedServer:
        """Starts."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops; at once if something went wrong."""
        self.stop(0 if error else None)

    @property
    def open_calls(self) -> int:
        """Predict calls that run or wait."""
        return len(self._calls)

    def serving(self) -> dict[str, list[int]]:
        """Versions of each model that take calls."""
        return self._manager.serving()

    def _load(self) -> None:
        base_path = self._config.base_path
        if not versions_on_disk(base_path):
            what = "has no version in it" if base_path.is_dir() else "is not a directory"
            raise StartError(f"{base_path} {what}. Export a model first: styleserve export --output {base_path}")
        try:
            self._manager.reload({self._config.name: self._config})
        except ServingError as error:
            reasons = "; ".join(str(failure) for failure in self._manager.failures())
            self._manager.close()
            raise StartError(f"no version of {base_path} can be served: {reasons or error}") from error

    def _open(self) -> None:
        most_calls = self._settings.max_calls + self._settings.places
        others = ThreadPoolExecutor(SPARE_THREADS, "grpc")
        predict = ThreadPoolExecutor(most_calls + REFUSING_THREADS, "predict")
        self._workers = [others, predict]
        self._server = grpc.server(
            others,
            interceptors=[Gate(predict)],
            options=[
                # Else a second server shares the port, and each gets half of the calls.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", self._settings.max_request_bytes),
                ("grpc.max_send_message_length", -1),
                # A client that pings to keep a long, silent call alive is not "too many pings".
                ("grpc.http2.min_ping_interval_without_data_ms", 20_000),
                ("grpc.keepalive_permit_without_calls", 1),
            ],
        )
        prediction = PredictionService(self._manager, self._turns, self._calls)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(prediction, self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(self._manager), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        try:
            self.port = self._server.add_insecure_port(self.address)
        except RuntimeError as error:
            raise StartError(_port_text(self._settings.host, self._settings.port, "it is in use")) from error
        self._server.start()

    def _models_changed(self) -> None:
        self._report_health(serving=not self._stopping and any(self._manager.serving().values()))

    def _report_health(self, *, serving: bool) -> None:
        for service in _SERVICES:
            self._health.set(service, _SERVING if serving else _NOT_SERVING)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _check_port(host: str, port: int) -> None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # Else a port whose last connections are still closing looks taken; one that is listened on stays so.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except OSError as error:
        raise StartError(_port_text(host, port, error.strerror or str(error))) from error


def _port_text(host: str, port: int, why: str) -> str:
    return f"cannot listen on {_address(host, port)}: {why}. Choose another with --host and --port."
