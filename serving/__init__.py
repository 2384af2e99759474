"""Runtime of exported models: the embedded server, and deployment files for TensorFlow Serving.

`EmbeddedServer` implements TensorFlow Serving's protocol and life cycle. `deploy` has the files of `styleserve deploy`,
for Docker Compose, Kubernetes, KServe, Envoy, Prometheus and Grafana. The package knows a model only as a directory
with a SavedModel, never its code.

The package imports TensorFlow when `EmbeddedServer` or `ServerSettings` is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import StartError
    from .server import EmbeddedServer
    from .settings import ServerSettings

__all__ = ["EmbeddedServer", "ServerSettings", "StartError"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a class of this package
    if name in ("EmbeddedServer", "ServerSettings"):
        from . import server  # noqa: PLC0415

        return getattr(server, name)
    if name == "StartError":
        from .errors import StartError  # noqa: PLC0415

        return StartError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
