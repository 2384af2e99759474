"""Runs an exported model: the embedded server, and the files for a real TensorFlow Serving.

Here live the server (`EmbeddedServer`), its protocol and its life cycle, and beside them the files that `styleserve
deploy` hands out: for Docker Compose, Kubernetes, KServe, Envoy, Prometheus and Grafana. Nothing here knows how the
model works or how it is exported: all it is given is a directory with a SavedModel.

TensorFlow is imported when a name is first used, not when this package is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import StartError
    from .server import EmbeddedServer, ServerSettings

__all__ = ["EmbeddedServer", "ServerSettings", "StartError"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a class of this room
    if name in ("EmbeddedServer", "ServerSettings"):
        from . import server  # noqa: PLC0415

        return getattr(server, name)
    if name == "StartError":
        from .errors import StartError  # noqa: PLC0415

        return StartError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
