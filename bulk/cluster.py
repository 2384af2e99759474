"""Ray: starting it here or joining a cluster, quietly, and the number of workers for it."""

from __future__ import annotations

import importlib.util
import logging
import math
import os
import re
import socket
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from styleserve.client.errors import SettingsError
from styleserve.stderr_filter import without_lines

from .settings import BulkSettings

_NOTES: Final = re.compile(rb"\[.* logging\.cc:\d+: Set ray log level ")
_CLIENT: Final = "ray://"
"""Start of an address for programs outside of a cluster."""
_CONNECT_TIMEOUT_S: Final = 10.0
_OBJECT_STORE_BYTES: Final = 256 * 2**20
"""Size of the object store of a local Ray. Only rows of the plan pass through it, never pictures."""


@dataclass(frozen=True)
class Workers:
    """Workers of a run.

    Attributes:
        count: Number of workers.
        cpus: CPUs of each, by Ray's count.
        gpus: GPUs of each.
    """

    count: int
    cpus: float
    gpus: float


@contextmanager
def connected(settings: BulkSettings) -> Generator[str]:
    """Yields the address of Ray's dashboard, or an empty text; Ray is left, or ended if it was started here.

    Raises:
        SettingsError: The cluster does not answer.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to Ray's makers
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # read once, when Ray is imported
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_worker_niceness", "0")  # as servers inherit it; the rest is lowered later
    with without_lines(_NOTES):
        import ray  # noqa: PLC0415 - after its environment is set

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if settings.address is None:
        # One CPU more than there are: workers take all, and the plan has to be read as well.
        options |= {
            "address": "local",  # also where a cluster runs on this machine
            "num_cpus": _cores() + 1,
            "object_store_memory": _OBJECT_STORE_BYTES,
            "include_dashboard": settings.dashboard and _has_dashboard(),
        }
    else:
        _check_reachable(settings.address)
        options["address"] = settings.address
    try:
        with without_lines(_NOTES), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of what the error says
            context: Any = ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _no_answer(settings.address, error) from error
    try:
        yield f"http://{context.dashboard_url}" if context.dashboard_url else ""
    finally:
        ray.shutdown()


def workers_for(settings: BulkSettings) -> Workers:
    """Workers for the connected cluster: one for each GPU, or for each machine, or for each given server."""
    import ray  # noqa: PLC0415 - as above

    return workers_on([node["Resources"] for node in ray.nodes() if node["Alive"]], settings)


def workers_on(nodes: Sequence[Mapping[str, float]], settings: BulkSettings) -> Workers:
    """Workers for nodes with these resources. A node without CPUs, such as the head on Kubernetes, gets none."""
    if settings.servers:
        return Workers(settings.workers or len(settings.servers), 0.5, 0.0)
    gpus = sum(int(node.get("GPU", 0) / (settings.gpus_per_worker or math.inf)) for node in nodes)
    if gpus:
        return Workers(settings.workers or gpus, 1.0, settings.gpus_per_worker)
    found = [node["CPU"] for node in nodes if node.get("CPU", 0.0) >= 1.0] or [1.0]
    cpus = min(found) - 1.0  # one stays for the plan
    count = settings.workers or len(found)
    return Workers(count, max(cpus * len(found) // count, 1.0) if settings.workers else max(cpus, 1.0), 0.0)


def _check_reachable(address: str) -> None:
    """Connects to an address, because Ray would wait for minutes.

    Raises:
        SettingsError: There is no connection. An address without a port, such as "auto", is left to Ray.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise _no_answer(address, error) from error


def _no_answer(address: str | None, error: Exception) -> SettingsError:
    where = "on this machine" if address is None else f"at {address}"
    remote = address is not None and address.startswith(_CLIENT)
    token = " If the cluster asks for a token: RAY_AUTH_MODE=token and RAY_AUTH_TOKEN." if remote else ""
    return SettingsError(f"Ray {where} does not answer: {error}", hint=f"Check --address.{token}")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _has_dashboard() -> bool:
    """Whether Ray was installed with the packages of its dashboard."""
    return importlib.util.find_spec("aiohttp_cors") is not None
