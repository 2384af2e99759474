"""Spans of OpenTelemetry. That nothing is asked of it where it is absent, the commands' tests show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from styleserve.client import ModelNotFound, StyleClient

trace = pytest.importorskip("opentelemetry.trace", reason="the extra 'telemetry' is not installed")
sdk = pytest.importorskip("opentelemetry.sdk.trace", reason="OpenTelemetry's SDK is not installed")
export = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
processors = pytest.importorskip("opentelemetry.sdk.trace.export")


@pytest.fixture(scope="module")
def exporter() -> Any:
    """Exporter of the spans of this process; OpenTelemetry takes one provider a process."""
    exporter, provider = export.InMemorySpanExporter(), sdk.TracerProvider()
    provider.add_span_processor(processors.SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(exporter: Any) -> Iterator[Any]:
    exporter.clear()
    yield exporter.get_finished_spans
    exporter.clear()


def test_a_request_is_one_span_that_the_server_hears_of(stub: Any, refusal: Any, spans: Any) -> None:
    good, failures = stub.metadata, [refusal(grpc.StatusCode.UNAVAILABLE, "gone")]
    stub.metadata = lambda message: failures.pop() if failures else good(message)  # pyright: ignore
    with (
        StyleClient(stub.address) as client,
        trace.get_tracer("test").start_as_current_span("outer") as outer,
    ):
        client.metadata(request_id="r1")
        assert trace.get_current_span() is outer
    span = spans()[0]
    assert span.name == "tensorflow.serving.PredictionService/GetModelMetadata"
    assert span.kind == trace.SpanKind.CLIENT
    assert span.parent.span_id == outer.get_span_context().span_id
    assert span.attributes == {
        "rpc.system": "grpc",
        "rpc.service": "tensorflow.serving.PredictionService",
        "rpc.method": "GetModelMetadata",
        "server.address": stub.address,
        "styleserve.model": "style_transfer",
        "styleserve.model_version": 42,
        "styleserve.request_id": "r1",
        "styleserve.tries": 2,
    }
    ids = f"{span.context.trace_id:032x}-{span.context.span_id:016x}"
    assert [headers["traceparent"].rpartition("-")[0] for headers in stub.headers[:2]] == [f"00-{ids}"] * 2


def test_a_failure_is_in_its_span(stub: Any, refusal: Any, spans: Any) -> None:
    stub.status = refusal(grpc.StatusCode.NOT_FOUND, "Could not find any versions of model")
    with StyleClient(stub.address) as client, pytest.raises(ModelNotFound):
        client.status()
    (span,) = spans()
    assert span.status.status_code == trace.StatusCode.ERROR
    assert "Could not find" in span.status.description
    assert span.attributes["error.type"] == "NOT_FOUND"


def test_other_ways_of_propagation_are_sent_in_lower_case(
    stub: Any, spans: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS X-Ray's key has capitals, which gRPC refuses."""
    from opentelemetry import propagate  # noqa: PLC0415 - where it is installed

    def inject(carrier: dict[str, str], **_: Any) -> None:
        carrier["X-Amzn-Trace-Id"] = "Root=1-5759e988-bd862e3fe1be46a994272793"

    monkeypatch.setattr(propagate, "inject", inject)
    with StyleClient(stub.address) as client:
        client.status()
    assert len(spans()) == 1
    assert stub.headers[0]["x-amzn-trace-id"] == "Root=1-5759e988-bd862e3fe1be46a994272793"
