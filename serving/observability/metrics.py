"""Metrics for Prometheus: those of TensorFlow Serving under its names, and some that it lacks.

No label takes a value from a client: the label `model_name` is the name of a known model, or `UNKNOWN_MODEL`. Each
server has its own registry, so two servers in one process do not mix.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import grpc
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    make_wsgi_app,  # pyright: ignore[reportUnknownVariableType] - its result has no types
)

from .call_record import CallRecord
from .metrics_endpoint import Environ, StartResponse, WsgiApp

UNKNOWN_MODEL: Final = "(unknown)"

_MICROSECONDS: Final = 1e6
_BUCKETS: Final = tuple(float(f"{10 * 1.8**power:.6g}") for power in range(33))
"""Buckets of TensorFlow Serving: from 10 µs to 25 minutes, each 1.8 times the one before."""
_SECONDS: Final = (0.001, 0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)

# prometheus_client appends `_total` to the names of counters; TensorFlow Serving does not.
_THEIR_COUNTERS: Final = re.compile(rb"^((?:# (?:HELP|TYPE) )?:tensorflow:[\w:]+?)_total(?=[ {])", re.MULTILINE)

# prometheus_client adds a series with the start of each series; only OpenMetrics uses them.
_CREATED: Final = re.compile(rb"^(?:# (?:HELP|TYPE) )?[\w:]+_created[ {].*\n", re.MULTILINE)


class Metrics:
    """Metrics of one server. Thread-safe.

    Args:
        running: Returns the number of Predict calls that run.
        waiting: Returns the number of Predict calls that wait.
    """

    def __init__(self, running: Callable[[], int], waiting: Callable[[], int]) -> None:
        registry = self._registry = CollectorRegistry()
        self._requests = Counter(
            ":tensorflow:serving:request_count",
            "Predict calls, by status.",
            ("model_name", "status"),
            registry=registry,
        )
        self._request_latency = Histogram(
            ":tensorflow:serving:request_latency",
            "Microseconds of Predict calls that were answered with OK, with their wait.",
            ("model_name", "API", "entrypoint"),
            buckets=_BUCKETS,
            registry=registry,
        )
        self._runtime_latency = Histogram(
            ":tensorflow:serving:runtime_latency",
            "Microseconds that TensorFlow ran for Predict calls that were answered with OK.",
            ("model_name", "API", "runtime"),
            buckets=_BUCKETS,
            registry=registry,
        )
        self._loads = Counter(
            ":tensorflow:cc:saved_model:load_attempt_count",
            "Attempts to load a SavedModel.",
            ("model_path", "status"),
            registry=registry,
        )
        self._load_latency = Counter(
            ":tensorflow:cc:saved_model:load_latency",
            "Microseconds to load SavedModels, without their warm-up.",
            ("model_path",),
            registry=registry,
        )
        Gauge("styleserve_calls_running", "Predict calls that run.", registry=registry).set_function(running)
        Gauge("styleserve_calls_waiting", "Predict calls that wait in the queue.", registry=registry).set_function(
            waiting
        )
        self._waited = Histogram(
            "styleserve_wait_seconds",
            "Seconds that Predict calls waited in the queue.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._refused = Counter(
            "styleserve_refused",
            "Calls refused: queue full, server stopping, or no token.",
            ("reason",),
            registry=registry,
        )
        self._cancelled = Counter(
            "styleserve_cancelled",
            "Predict calls that were cancelled or whose deadline passed.",
            ("where",),
            registry=registry,
        )
        self._steps = Counter(
            "styleserve_steps", "Steps of the optimiser, summed over the pictures.", ("model_name",), registry=registry
        )
        for reason in _REFUSALS.values():
            self._refused.labels(reason)
        for where in ("waiting", "running"):
            self._cancelled.labels(where)
        ProcessCollector(registry=self._registry)

    def called(self, record: CallRecord) -> None:
        """Counts a finished call."""
        reason = _REFUSALS.get(record.status)
        if reason is not None and record.ran_s is None:
            self._refused.labels(reason).inc()
        if record.method != "Predict":
            return
        model = UNKNOWN_MODEL if record.known_model is None else record.known_model
        self._requests.labels(model, record.status.name).inc()
        if record.known_model is not None:
            self._waited.observe(record.waited_s)
        if record.status in (grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED):
            self._cancelled.labels("waiting" if record.ran_s is None else "running").inc()
        if record.status is grpc.StatusCode.OK and record.ran_s is not None:
            self._request_latency.labels(model, "Predict", "GRPC").observe(record.total_s() * _MICROSECONDS)
            self._runtime_latency.labels(model, "Predict", "TF1").observe(record.ran_s * _MICROSECONDS)
            self._steps.labels(model).inc(record.steps)

    def loaded(self, path: Path, seconds: float, success: bool) -> None:
        """Counts one attempt to load a version."""
        self._loads.labels(str(path), "success" if success else "fail").inc()
        if success:
            self._load_latency.labels(str(path)).inc(seconds * _MICROSECONDS)

    def app(self, environ: Environ, start_response: StartResponse) -> list[bytes]:
        """WSGI application: all metrics in Prometheus' text format, version 0.0.4.

        OpenMetrics is not offered: its counters must end in `_total`, and those of TensorFlow Serving do not.
        """
        plain = {name: value for name, value in environ.items() if name != "HTTP_ACCEPT"}
        app: WsgiApp = make_wsgi_app(self._registry, disable_compression=True)  # pyright: ignore[reportUnknownVariableType]
        return [_THEIR_COUNTERS.sub(rb"\1", _CREATED.sub(b"", page)) for page in app(plain, start_response)]


_REFUSALS: Final = {
    grpc.StatusCode.RESOURCE_EXHAUSTED: "full",
    grpc.StatusCode.UNAVAILABLE: "stopping",
    grpc.StatusCode.UNAUTHENTICATED: "token",
}
