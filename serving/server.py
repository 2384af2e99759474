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

from .batching import Batcher
from .batching_settings import BatchingSettings
from .errors import ServingError, StartError
from .manager import ModelManager
from .model_service import ModelService
from .prediction_service import PredictionService
from .servable import SessionSettings
from .versions import ModelConfig, versions_on_disk

logger = logging.getLogger(__name__)

SPARE_THREADS = 16
"""Threads beyond those of Predict, so that status, metadata and health are answered while every Predict is busy."""

MAX_REQUEST_BYTES = 2 * Limits().max_batch * Limits().max_side ** 2 * 3 * 4 + 2**20
"""Two full batches of the largest images, 3 channels of 4 bytes (201 MB), and 1 MiB for all the rest.

Of a model that takes larger images or batches, two full batches of those.
"""

_SERVICES = ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@dataclass(frozen=True)
class ServerSettings:
    """How the embedded server runs.

    Attributes:
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        max_calls: Predict calls at a time; TensorFlow Serving's bound is 4 for each core, too.
        poll_s: seconds between two looks for new versions.
        grace_s: seconds that calls may go on after the server was told to stop.
        max_request_bytes: largest request; None for what suits the model that is there at the start.
        batching: how requests are joined; None runs each by itself.

    Raises:
        ValueError: a number is out of its range.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    max_calls: int = field(default_factory=lambda: 4 * (os.cpu_count() or 1))
    poll_s: float = 1.0
    grace_s: float = 5.0
    max_request_bytes: int | None = None
    batching: BatchingSettings | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port is {self.port}; it must be from 0 to 65535")
        if self.max_calls < 1:
            raise ValueError(f"max_calls is {self.max_calls}; it must be at least 1")
        if self.poll_s <= 0:
            raise ValueError(f"poll_s is {self.poll_s}; it must be above 0")
        if self.grace_s < 0:
            raise ValueError(f"grace_s is {self.grace_s}; it must not be negative")


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
        batching = self._settings.batching
        slots = self._settings.max_calls + (batching.num_batch_threads if batching else 0)
        self._manager = ModelManager(SessionSettings(slots), self._models_changed)
        self._batcher: Batcher | None = None
        self._server: grpc.Server | None = None
        self._workers: ThreadPoolExecutor | None = None
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
            self._close_models()
            raise
        self._models_changed()
        self._manager.watch(self._settings.poll_s)

    def stop(self, grace_s: float | None = None) -> None:
        """Takes no more calls, lets those inside end within the grace, stops the rest, unloads the model."""
        self._stopping = True
        self._report_health(serving=False)
        if self._server is not None and self._workers is not None:
            self._server.stop(self._settings.grace_s if grace_s is None else grace_s).wait()
            self._workers.shutdown(wait=True)
            self._server = self._workers = None
        self._close_models()

    def __enter__(self) -> EmbeddedServer:
        """Starts."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops; at once if something went wrong."""
        self.stop(0 if error else None)

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
        self._workers = ThreadPoolExecutor(self._settings.max_calls + SPARE_THREADS, "grpc")
        self._server = grpc.server(
            self._workers,
            options=[
                # Else a second server shares the port, and each gets half of the calls.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", self._max_request_bytes()),
                ("grpc.max_send_message_length", -1),
                # A client that pings to keep a long, silent call alive is not "too many pings".
                ("grpc.http2.min_ping_interval_without_data_ms", 20_000),
                ("grpc.keepalive_permit_without_calls", 1),
            ],
        )
        if self._settings.batching is not None:
            self._batcher = Batcher(self._settings.batching, first_slot=self._settings.max_calls)
        prediction = PredictionService(self._manager, self._settings.max_calls, self._batcher)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(prediction, self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(self._manager), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        try:
            self.port = self._server.add_insecure_port(self.address)
        except RuntimeError as error:
            raise StartError(_port_text(self._settings.host, self._settings.port, "it is in use")) from error
        self._server.start()

    def _close_models(self) -> None:
        if self._batcher is not None:
            self._batcher.close()
        self._manager.close()

    def _max_request_bytes(self) -> int:
        if self._settings.max_request_bytes is not None:
            return self._settings.max_request_bytes
        # 2^31 - 1 is the most that gRPC can be told.
        return min(max([MAX_REQUEST_BYTES, *(each.images_bytes + 2**20 for each in self._manager.limits())]), 2**31 - 1)

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
