"""Helpers for tests of deployment files: files, flags of the server, metrics."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import promql_parser

import styleserve.serving.deploy
from styleserve.serving.deploy.deployment import Deployment, Target
from styleserve.serving.deploy.rendering import rendered

FILES = Path(styleserve.serving.deploy.__file__).resolve().parent

FLAGS = frozenset(
    {
        "allow_version_labels_for_unavailable_models",
        "batching_parameters_file",
        "enable_batching",
        "enable_grpc_healthcheck_service",
        "enable_model_warmup",
        "enable_per_model_batching_parameters",
        "enable_profiler",
        "enable_serialization_as_tensor_content",
        "enable_signature_method_name_check",
        "file_system_poll_wait_seconds",
        "flush_filesystem_caches",
        "grpc_channel_arguments",
        "grpc_max_threads",
        "grpc_socket_path",
        "load_retry_interval_micros",
        "max_num_load_retries",
        "mixed_precision",
        "model_base_path",
        "model_config_file",
        "model_config_file_poll_wait_seconds",
        "model_name",
        "monitoring_config_file",
        "num_load_threads",
        "num_request_iterations_for_warmup",
        "num_unload_threads",
        "per_process_gpu_memory_fraction",
        "platform_config_file",
        "port",
        "rest_api_enable_cors_support",
        "rest_api_num_threads",
        "rest_api_port",
        "rest_api_timeout_in_ms",
        "saved_model_tags",
        "ssl_config_file",
        "tensorflow_inter_op_parallelism",
        "tensorflow_intra_op_parallelism",
        "tensorflow_session_parallelism",
        "thread_pool_factory_config_file",
        "xla_cpu_compilation_enabled",
        "xla_gpu_compilation_enabled",
    }
)
"""Flags of tensorflow_model_server, from its main.cc. It also starts with unknown flags, and only logs them."""

_HISTOGRAM = ("_bucket", "_sum", "_count")
METRICS = {
    ":tensorflow:serving:request_count": ("model_name", "status"),
    ":tensorflow:cc:saved_model:load_attempt_count": ("model_path", "status"),
    ":tensorflow:cc:saved_model:load_latency": ("model_path",),
    ":tensorflow:core:graph_runs": (),
    "up": (),
    **{f":tensorflow:serving:request_latency{end}": ("model_name", "API", "entrypoint", "le") for end in _HISTOGRAM},
    **{f":tensorflow:serving:runtime_latency{end}": ("model_name", "API", "runtime", "le") for end in _HISTOGRAM},
}
"""Metrics of TensorFlow Serving and their labels, from its util.cc and prometheus_exporter.cc, and of the loader."""

OWN_METRICS = {
    "styleserve_calls_running": (),
    "styleserve_calls_waiting": (),
    "styleserve_refused_total": ("reason",),
    "styleserve_cancelled_total": ("where",),
    "styleserve_steps_total": ("model_name",),
    **{f"styleserve_wait_seconds{end}": ("le",) for end in _HISTOGRAM},
}
"""Additional metrics of the embedded server, and their labels."""

FROM_PROMETHEUS = {"job", "instance", "namespace"}
"""Labels that Prometheus adds."""


def files_of(target: str, **fields: Any) -> dict[str, str]:
    """The files of a deployment."""
    model = "models/style_transfer" if target == "compose" else "pvc://models/style_transfer"
    return rendered(Deployment(target=Target(target), **{"model": model, **fields}))


def written(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def flags(arguments: Iterable[str]) -> dict[str, str]:
    """Flags of a server by name, each known and unique."""
    found = [argument.removeprefix("--").split("=", maxsplit=1) for argument in arguments]
    names = [name for name, _ in found]
    assert set(names) <= FLAGS
    assert len(set(names)) == len(names)
    return dict(found)


def check_query(query: str, metrics: Mapping[str, tuple[str, ...]] = METRICS) -> None:
    """Checks that a PromQL expression has known metrics and labels."""
    text = query.replace("$__rate_interval", "5m")
    parsed = promql_parser.parse(text)
    selectors = list(_selectors(parsed))
    assert selectors
    for selector in selectors:
        assert selector.name in metrics, query
        known = set(metrics[selector.name]) | FROM_PROMETHEUS
        assert {matcher.name for matcher in selector.matchers.matchers} <= known, query
    grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", text) for label in group.split(",")}
    assert grouped <= {label for selector in selectors for label in metrics[selector.name]} | FROM_PROMETHEUS, query
    for counter in re.findall(r"(?:rate)\(([^{\[]+)", text):
        assert counter.endswith((*_HISTOGRAM, "_count", "_runs", "_total")), query


def _selectors(node: Any) -> Iterator[Any]:
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for name in ("lhs", "rhs", "expr", "vector_selector"):
        child = getattr(node, name, None)
        if child is not None:
            yield from _selectors(child)
    for child in getattr(node, "args", None) or ():
        yield from _selectors(child)
