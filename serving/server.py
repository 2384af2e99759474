"""The embedded server: one process that speaks TensorFlow Serving's protocol, for development, tests and small use."""

from __future__ import annotations

import logging
import os
import threading
import time
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import grpc
from grpc_health.v1 import health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from styleserve.contract import DEFAULT_MODEL_NAME, DEFAULT_PORT, Limits

from .call import OpenCalls
from .errors import ServingError, StartError, UnavailableError
from .models.lifecycle import LoadRetries
from .models.manager import ModelManager
from .models.servable import SessionSettings
from .models.version_policy import ModelConfig, check_base_path
from .observability.logs import log_call
from .observability.metrics import Metrics
from .observability.metrics_endpoint import MetricsEndpoint, path_of
from .ports import address_of, check_port
from .rpc.health import Health
from .rpc.listener import Listener, most_connections
from .rpc.model_service import ModelService
from .rpc.prediction_service import PredictionService
from .rpc.request_queue import Turns, most_long
from .rpc.security import Tokens, is_loopback, server_credentials
from .rpc.status import Answering

logger = logging.getLogger(__name__)

GRACE_S = 25.0
"""Calls take tens of seconds, and Kubernetes kills 30 s after SIGTERM unless told otherwise."""

A_DAY_S = 86_400.0

MOST_BYTES = 2**31 - 1
"""More gRPC cannot be told."""

FAREWELL_S = 3.0
"""After the grace: to stop what still runs, milliseconds, and to tell clients and watchers, whose lines may be slow."""

STOPPING = "The server is stopping; try again, here in a moment or at another one."
STOPPED = "The server stopped before the call had ended; try again, perhaps at another one."

MAX_REQUEST_BYTES = 2 * Limits().max_batch * Limits().max_side ** 2 * 3 * 4 + 2**20
"""Two full batches of the largest images, 3 channels of 4 bytes (201 MB), and 1 MiB for all the rest.

Of a model that takes larger images or batches, two full batches of those.
"""

_SERVICES = ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")


@dataclass(frozen=True)
class ServerSettings:
    """How the embedded server runs.

    Attributes:
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        max_calls: Predict calls at a time, those that wait left out. None is one for each core, and no fewer than two,
            of which one is kept for short calls. Each holds its pictures and activations in memory.
        max_waiting: Predict calls that wait for those to end; the next one is refused. None is as many as let 4 long
            calls for each core in, TensorFlow Serving's bound, with the places that are kept for short ones beside.
        poll_s: seconds between two looks for new versions.
        max_num_load_retries: tries after the first one, for a version that does not load while the server runs; at the
            start there is none.
        load_retry_interval_micros: microseconds from a failure to the next try, which is made at the next look.
        grace_s: seconds that running calls may go on after the server was told to stop. Whatever stops the process
            has to wait five more before it kills.
        max_request_bytes: largest request, of any method; a larger one is refused before it is read. None is two full
            batches of the largest images of the model that is there at the start, and no less than 202 MB.
        ssl_config_file: TensorFlow Serving's SSLConfig as a text proto, for TLS; None is plain text.
        token_file: tokens, a line each, of which every call but those of health has to bring one; None asks for none.
        allow_plain_token: whether tokens may come unencrypted over other addresses than loopback.
        rest_api_port: port for metrics over HTTP, the one that TensorFlow Serving has REST on, too; 0 is none. There
            are no REST predictions.
        rest_api_host: address for it. Whoever reaches it may read the metrics, without a token.
        monitoring_config_file: TensorFlow Serving's MonitoringConfig as a text proto, with the path of the metrics;
            None is the usual path.

    Raises:
        ValueError: a number is out of its range.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    max_calls: int | None = None
    max_waiting: int | None = None
    poll_s: float = 1.0
    max_num_load_retries: int = 5
    load_retry_interval_micros: int = 60_000_000
    grace_s: float = GRACE_S
    max_request_bytes: int | None = None
    ssl_config_file: Path | None = None
    token_file: Path | None = None
    allow_plain_token: bool = False
    rest_api_port: int = 0
    rest_api_host: str = "127.0.0.1"
    monitoring_config_file: Path | None = None

    def __post_init__(self) -> None:
        for name in ("port", "rest_api_port"):
            if not 0 <= getattr(self, name) <= 65535:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be from 0 to 65535")
        if self.max_calls is not None and self.max_calls < 1:
            raise ValueError(f"max_calls is {self.max_calls}; it must be at least 1")
        if self.max_waiting is not None and self.max_waiting < 0:
            raise ValueError(f"max_waiting is {self.max_waiting}; it must not be negative")
        if not 0 < self.poll_s <= A_DAY_S:  # NaN is in no range
            raise ValueError(f"poll_s is {self.poll_s}; it must be above 0, and no more than a day ({A_DAY_S:g})")
        if self.max_num_load_retries < 0:
            raise ValueError(f"max_num_load_retries is {self.max_num_load_retries}; it must not be negative")
        if not 0 <= self.load_retry_interval_micros <= A_DAY_S * 1e6:
            raise ValueError(
                f"load_retry_interval_micros is {self.load_retry_interval_micros}; it must not be negative, nor more "
                f"than a day ({A_DAY_S * 1e6:.0f})"
            )
        if not 0 <= self.grace_s <= A_DAY_S:
            raise ValueError(f"grace_s is {self.grace_s}; it must not be negative, nor more than a day ({A_DAY_S:g})")
        if self.max_request_bytes is not None and not 1 <= self.max_request_bytes <= MOST_BYTES:
            raise ValueError(f"max_request_bytes is {self.max_request_bytes}; it must be from 1 to {MOST_BYTES}")

    @property
    def slots(self) -> int:
        """Predict calls that run at a time."""
        if self.max_calls is not None:
            return self.max_calls
        return max(2, os.cpu_count() or 1)

    @property
    def places(self) -> int:
        """Predict calls that wait at a time."""
        if self.max_waiting is not None:
            return self.max_waiting
        long = max(0, 4 * (os.cpu_count() or 1) - most_long(self.slots))
        return next(places for places in range(long, 2 * long + 2) if most_long(places) >= long)


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
        self._health = Health(_SERVICES)
        self._reporting = threading.Lock()
        self._turns = Turns(self._settings.slots, self._settings.places)
        self._metrics = Metrics(lambda: self._turns.running, lambda: self._turns.waiting)
        retries = LoadRetries(self._settings.max_num_load_retries, self._settings.load_retry_interval_micros / 1e6)
        self._manager = ModelManager(
            SessionSettings(self._settings.slots), self._models_changed, self._metrics.loaded, retries
        )
        self._calls = OpenCalls()
        self._credentials: grpc.ServerCredentials | None = None
        self._tokens: Tokens | None = None
        self._listener: Listener | None = None
        self._endpoint: MetricsEndpoint | None = None
        self._stopping = False
        self.port = self._settings.port

    @property
    def address(self) -> str:
        """Where it listens, as `host:port`."""
        return address_of(self._settings.host, self.port)

    def start(self) -> None:
        """Loads the model, then opens the port. When this returns, the server answers.

        Raises:
            StartError: the port is taken, TLS or tokens cannot be used, the process may open too few files, or no
                version can be served.
        """
        self._read_security()
        # A look before the load, so that a taken port is told at once; opened after it, as TensorFlow Serving does.
        check_port(self._settings.host, self._settings.port)
        max_connections = most_connections()
        try:
            self._open_endpoint()
            self._load()
            self._open(max_connections)
            self._models_changed()
            self._manager.watch(self._settings.poll_s)
        except BaseException:  # an interrupt, too: nobody else closes what was opened
            self._close_port()
            self._close()
            raise

    def stop(self, grace_s: float | None = None) -> None:
        """Takes no more calls, lets those that run end within the grace, stops the rest, unloads the model.

        Until then the port stays open, so that health says NOT_SERVING and a new call is told to go elsewhere. What is
        being loaded is given up at once.
        """
        self._stopping = True
        told = self._report_health()
        self._turns.close(UnavailableError(STOPPING))
        self._manager.stop_loading(UnavailableError(STOPPING))
        if self._listener is not None:
            if not self._calls.wait_until_none(self._settings.grace_s if grace_s is None else grace_s):
                self._calls.give_up(UnavailableError(STOPPED))
            ends_at = time.monotonic() + FAREWELL_S
            self._calls.wait_until_none(FAREWELL_S)
            wait(told, max(0.0, ends_at - time.monotonic()))
            self._close_port()
        self._close()

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

    def _read_security(self) -> None:
        settings = self._settings
        certificates = False
        if settings.ssl_config_file is not None:
            self._credentials, certificates = server_credentials(settings.ssl_config_file)
        if settings.token_file is not None:
            self._tokens = Tokens.from_file(settings.token_file)
        if is_loopback(settings.host):
            return
        if self._tokens is None and not certificates:
            logger.warning("everybody who reaches %s may use the model, and change which are served", settings.host)
        elif self._tokens is not None and self._credentials is None and not settings.allow_plain_token:
            raise StartError(
                f"tokens would come to {settings.host} unencrypted, for everybody on the way to read. Give "
                "--ssl-config-file; or --host 127.0.0.1, behind a proxy on this machine; or, where something else "
                "encrypts, --allow-plain-token."
            )

    def _load(self) -> None:
        base_path = self._config.base_path
        check_base_path(base_path)
        try:
            self._manager.reload({self._config.name: self._config})
        except ServingError as error:
            reasons = "; ".join(str(failure) for failure in self._manager.failures())
            raise StartError(f"no version of {base_path} can be served: {reasons or error}") from error

    def _open_endpoint(self) -> None:
        port, config_file = self._settings.rest_api_port, self._settings.monitoring_config_file
        path = path_of(config_file)
        if port and path is not None:
            self._endpoint = MetricsEndpoint(self._settings.rest_api_host, path, self._metrics.app)
            self._endpoint.start(port)
        elif config_file is not None and path is not None:
            raise StartError(f"{config_file} asks for metrics; --rest-api-port has to say where, as in 8501.")

    def _open(self, max_connections: int) -> None:
        desk = Answering([self._metrics.called, log_call])
        listener = Listener(
            self._settings.host,
            most_calls=self._settings.slots + self._settings.places,
            max_request_bytes=self._max_request_bytes(),
            credentials=self._credentials,
            tokens=self._tokens,
            desk=desk,
            max_connections=max_connections,
        )
        prediction = PredictionService(self._manager, self._turns, self._calls, desk)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(prediction, listener.server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(self._manager, desk), listener.server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, listener.server)
        self._listener = listener
        self.port = listener.start(self._settings.port)

    def _close_port(self) -> None:
        if self._listener is not None:
            self._listener.stop()
            self._listener = None

    def _close(self) -> None:
        self._manager.close()
        if self._endpoint is not None:
            self._endpoint.stop()
            self._endpoint = None
        self._health.close()

    def _max_request_bytes(self) -> int:
        if self._settings.max_request_bytes is not None:
            return self._settings.max_request_bytes
        largest = (each.request_bytes + 2**20 for each in self._manager.limits())
        return min(max([MAX_REQUEST_BYTES, *largest]), MOST_BYTES)

    def _models_changed(self) -> None:
        self._report_health()

    def _report_health(self) -> list[Future[None]]:
        with self._reporting:  # else what was found before a stop could be said after it
            return self._health.report(serving=not self._stopping and any(self._manager.serving().values()))
