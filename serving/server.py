"""Embedded server: TensorFlow Serving's protocol in one Python process, for development, tests and small use."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future, wait
from pathlib import Path
from types import TracebackType

import grpc
from grpc_health.v1 import health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from styleserve.contract import DEFAULT_MODEL_NAME, Limits

from .call import ActiveCalls
from .errors import ServingError, StartError, UnavailableError
from .models.lifecycle import LoadRetries
from .models.manager import ModelManager
from .models.session import SessionSettings
from .models.version_policy import ModelConfig, check_base_path
from .observability.logs import log_call
from .observability.metrics import Metrics
from .observability.metrics_endpoint import MetricsEndpoint, path_of
from .ports import address_of, check_port
from .rpc.health import HealthService
from .rpc.listener import Listener, connection_limit
from .rpc.model_service import ModelService
from .rpc.prediction_service import PredictionService
from .rpc.request_queue import RequestQueue
from .rpc.security import Tokens, is_loopback, server_credentials
from .rpc.status import StatusReporter
from .settings import MAX_MESSAGE_BYTES, ServerSettings

logger = logging.getLogger(__name__)

FINAL_REPLY_TIMEOUT_S = 3.0
"""Timeout for stopping the calls left after the grace, and for telling slow clients and watchers."""

STOPPING = "The server is stopping; try again, here in a moment or at another one."
STOPPED = "The server stopped before the call had ended; try again, perhaps at another one."

MAX_REQUEST_BYTES = 2 * Limits().max_batch * Limits().max_side ** 2 * 3 * 4 + 2**20
"""Default limit of a request: two full batches of the largest images, 3 channels of 4 bytes (201 MB), and 1 MiB."""

_SERVICES = ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")


class EmbeddedServer:
    """Server of the versions under a base path, from `start` to `stop`; a context manager.

    Args:
        base_path: Directory with one sub-directory for each version.
        model_name: Name of the model in requests.
        settings: Settings of the server.
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
        self._health = HealthService(_SERVICES)
        self._reporting = threading.Lock()
        self._queue = RequestQueue(
            self._settings.running_limit, self._settings.waiting_limit, self._settings.call_memory
        )
        self._metrics = Metrics(lambda: self._queue.running, lambda: self._queue.waiting)
        retries = LoadRetries(self._settings.max_num_load_retries, self._settings.load_retry_interval_micros / 1e6)
        self._manager = ModelManager(
            SessionSettings(self._settings.running_limit), self._report_health, self._metrics.loaded, retries
        )
        self._calls = ActiveCalls()
        self._credentials: grpc.ServerCredentials | None = None
        self._tokens: Tokens | None = None
        self._listener: Listener | None = None
        self._endpoint: MetricsEndpoint | None = None
        self._stopping = False
        self.port = self._settings.port

    @property
    def address(self) -> str:
        """Address to connect to, as `host:port`."""
        return address_of(self._settings.host, self.port)

    def start(self) -> None:
        """Loads the model, then opens the port. The server is ready when this returns.

        Raises:
            StartError: The port is in use, TLS or tokens are invalid, the process may open too few files, or no version
                loads.
        """
        self._read_security()
        # A port in use is an error before the load; as in TensorFlow Serving the port opens after it.
        check_port(self._settings.host, self._settings.port)
        max_connections = connection_limit()
        try:
            self._open_endpoint()
            self._load()
            self._open_port(max_connections)
            self._report_health()
            self._manager.start_polling(self._settings.poll_s)
        except BaseException:  # an interrupt as well
            self._close_port()
            self._close()
            raise

    def stop(self, grace_s: float | None = None) -> None:
        """Refuses new calls, waits for running ones within the grace, cancels the rest and unloads the model.

        Meanwhile the port stays open: health is NOT_SERVING, and new calls get UNAVAILABLE. Loads are cancelled.
        """
        self._stopping = True
        notified = self._report_health()
        self._queue.close(UnavailableError(STOPPING))
        self._manager.cancel_loads(UnavailableError(STOPPING))
        if self._listener is not None:
            if not self._calls.wait_until_empty(self._settings.grace_s if grace_s is None else grace_s):
                self._calls.cancel_all(UnavailableError(STOPPED))
            ends_at = time.monotonic() + FINAL_REPLY_TIMEOUT_S
            self._calls.wait_until_empty(FINAL_REPLY_TIMEOUT_S)
            wait(notified, max(0.0, ends_at - time.monotonic()))
            self._close_port()
        self._close()

    def __enter__(self) -> EmbeddedServer:
        """Starts the server."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops the server, after an error without the grace."""
        self.stop(0 if error else None)

    @property
    def open_calls(self) -> int:
        """Number of Predict calls that run or wait."""
        return len(self._calls)

    def serving(self) -> dict[str, list[int]]:
        """Available versions of each model."""
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
            logger.warning(
                "every client that reaches %s may use the model, and change the served models", settings.host
            )
        elif self._tokens is not None and self._credentials is None and not settings.allow_plain_token:
            raise StartError(
                f"tokens would be sent to {settings.host} unencrypted. Give "
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
            raise StartError(f"{config_file} enables metrics; give their port, as in --rest-api-port 8501.")

    def _open_port(self, max_connections: int) -> None:
        reporter = StatusReporter([self._metrics.called, log_call])
        listener = Listener(
            self._settings.host,
            max_calls=self._settings.running_limit + self._settings.waiting_limit,
            max_request_bytes=self._max_request_bytes(),
            credentials=self._credentials,
            tokens=self._tokens,
            reporter=reporter,
            max_connections=max_connections,
        )
        prediction = PredictionService(self._manager, self._queue, self._calls, reporter)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(prediction, listener.server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            ModelService(self._manager, reporter), listener.server
        )
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
        return min(max([MAX_REQUEST_BYTES, *largest]), MAX_MESSAGE_BYTES)

    def _report_health(self) -> list[Future[None]]:
        with self._reporting:  # so that a status from before the stop is not reported after it
            return self._health.report(serving=not self._stopping and any(self._manager.serving().values()))
