"""A span of OpenTelemetry for each request, where its API is installed (`styleserve[telemetry]`); else nothing."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Final, NamedTuple

from ..errors import ServiceError
from .settings import ConnectionSettings

if TYPE_CHECKING:
    from opentelemetry import trace

_NAME: Final = "styleserve.client"


class RequestSpan:
    """The span of one request, with all its tries.

    Args:
        span: Span of OpenTelemetry; None where it is not installed.
    """

    def __init__(self, span: trace.Span | None) -> None:
        self._span = span

    def note(self, **attributes: int | str) -> None:
        """Sets attributes, with the prefix of this package."""
        if self._span is not None:
            self._span.set_attributes({f"styleserve.{name}": value for name, value in attributes.items()})

    def propagated(self) -> tuple[tuple[str, str], ...]:
        """Metadata that links the server's spans to this one: W3C Trace Context, unless configured otherwise."""
        api = _api()
        if self._span is None or api is None:
            return ()
        carrier: dict[str, str] = {}
        api.propagate.inject(carrier, context=api.trace.set_span_in_context(self._span))
        return tuple((key.lower(), value) for key, value in carrier.items())  # gRPC refuses X-Amzn-Trace-Id


@contextmanager
def request_span(path: str, settings: ConnectionSettings, request_id: str) -> Generator[RequestSpan]:
    """Span of a request, which ends with the block.

    It does not become the current span: the block is part of a generator, and the caller of the generator would inherit
    it.

    Args:
        path: Path of the method.
        settings: Settings of the connection.
        request_id: Id of the request.
    """
    if (api := _api()) is None:
        yield RequestSpan(None)
        return
    trace = api.trace
    _, service, method = path.split("/")
    span = trace.get_tracer(_NAME).start_span(
        f"{service}/{method}",
        kind=trace.SpanKind.CLIENT,
        attributes={
            "rpc.system": "grpc",
            "rpc.service": service,
            "rpc.method": method,
            "server.address": settings.server,
            "styleserve.model": settings.model_name,
            "styleserve.request_id": request_id,
        },
    )
    try:
        yield RequestSpan(span)
    except ServiceError as error:
        span.set_attribute("error.type", error.status or type(error).__name__)
        span.set_status(trace.StatusCode.ERROR, error.message)
        raise
    finally:
        span.end()


class _Api(NamedTuple):
    trace: ModuleType
    propagate: ModuleType


@cache
def _api() -> _Api | None:
    """Modules of OpenTelemetry, imported once: at interpreter exit an import fails."""
    try:
        return _Api(import_module("opentelemetry.trace"), import_module("opentelemetry.propagate"))
    except ImportError:
        return None
