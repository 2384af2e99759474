"""Metrics as Prometheus gets them."""

from __future__ import annotations

import re
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc

from styleserve.contract import DEFAULT_MODEL_NAME
from styleserve.serving import EmbeddedServer, ServerSettings, StartError
from styleserve.serving.observability.metrics_endpoint import DEFAULT_PATH, MAX_CONNECTIONS, MetricsEndpoint, path_of

from ..ports import free_port

Make = Callable[..., Any]
ENDLESS = 2**31 - 1
"""Steps that no machine does in the time of a test."""


@pytest.fixture
def server(stand_in_base: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(
        stand_in_base, settings=ServerSettings(port=0, max_calls=1, max_waiting=1, grace_s=0)
    ) as server:
        yield server


@pytest.fixture
def channel(server: EmbeddedServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as channel:
        yield channel


def call(channel: grpc.Channel, request: Any, **options: Any) -> Any:
    future = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict.future(request, timeout=60, **options)
    future.exception()
    return future


def samples(page: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Line by line, as they are printed; the library's own parser renames counters."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for line in page.decode().splitlines():
        if not line.startswith("#"):
            series, number = line.rsplit(" ", 1)
            name, _, labels = series.partition("{")
            found[name, frozenset(re.findall(r'(\w+)="([^"]*)"', labels))] = float(number)
    return found


def page_of(server: EmbeddedServer) -> bytes:
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": DEFAULT_PATH}
    return b"".join(server._metrics.app(environ, lambda _status, _headers: None))


def value(server: EmbeddedServer, name: str, **labels: str) -> float | None:
    return samples(page_of(server)).get((name, frozenset(labels.items())))


def test_tensorflow_servings_names_and_labels(
    server: EmbeddedServer, channel: grpc.Channel, request_of: Make, stand_in_base: Path
) -> None:
    for _ in range(2):
        assert call(channel, request_of(steps=7)).code() is grpc.StatusCode.OK
    assert call(channel, request_of(steps=-1)).code() is grpc.StatusCode.INVALID_ARGUMENT
    name = {"model_name": DEFAULT_MODEL_NAME}
    assert value(server, ":tensorflow:serving:request_count", **name, status="OK") == 2
    assert value(server, ":tensorflow:serving:request_count", **name, status="INVALID_ARGUMENT") == 1
    for metric, labels in (
        (":tensorflow:serving:request_latency", {"API": "Predict", "entrypoint": "GRPC"}),
        (":tensorflow:serving:runtime_latency", {"API": "Predict", "runtime": "TF1"}),
    ):
        assert value(server, f"{metric}_count", **name, **labels) == 2
        assert value(server, f"{metric}_bucket", **name, **labels, le="10.0") == 0
        assert value(server, f"{metric}_bucket", **name, **labels, le="32.4") == 0
        assert value(server, f"{metric}_bucket", **name, **labels, le="+Inf") == 2
        assert (value(server, f"{metric}_sum", **name, **labels) or 0) > 0
    path = str(stand_in_base / "1")
    assert value(server, ":tensorflow:cc:saved_model:load_attempt_count", model_path=path, status="success") == 1
    assert (value(server, ":tensorflow:cc:saved_model:load_latency", model_path=path) or 0) > 0
    assert value(server, "styleserve_steps_total", **name) == 14
    page = page_of(server)
    assert b"\n# TYPE :tensorflow:serving:request_count counter\n" in page
    assert b"_created" not in page
    assert b"process_resident_memory_bytes" in page
    assert {family.type for family in text_string_to_metric_families(page.decode())} == {
        "counter",
        "gauge",
        "histogram",
    }


def test_what_a_client_makes_up_is_no_label(server: EmbeddedServer, channel: grpc.Channel, request_of: Make) -> None:
    for number in range(20):
        call(channel, request_of(name=f"made-up-{number}"))
        call(channel, request_of(signature=f"made-up-{number}"))
        call(channel, request_of(), metadata=[("x-request-id", f"made-up-{number}")])
        channel.unary_unary(f"/made-up-{number}/Method").future(b"", timeout=60).exception()
    page = page_of(server)
    assert b"made-up" not in page
    assert value(server, ":tensorflow:serving:request_count", model_name="(unknown)", status="NOT_FOUND") == 20


def test_a_version_that_does_not_load(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    server = EmbeddedServer(tmp_path, settings=ServerSettings(port=0))
    with pytest.raises(StartError):
        server.start()
    path = str(tmp_path / "1")
    assert value(server, ":tensorflow:cc:saved_model:load_attempt_count", model_path=path, status="fail") == 1
    assert value(server, ":tensorflow:cc:saved_model:load_latency", model_path=path) is None


def test_running_waiting_refused_cancelled(
    server: EmbeddedServer, channel: grpc.Channel, held: Any, request_of: Make, until: Make
) -> None:
    model = held(server)
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    running = stub.Predict.future(request_of(), timeout=60)
    model.wait_for(began=1)
    waiting = stub.Predict.future(request_of(), timeout=60)
    until(lambda: value(server, "styleserve_calls_waiting") == 1)
    assert value(server, "styleserve_calls_running") == 1
    call(channel, request_of())
    waiting.cancel()
    until(lambda: value(server, "styleserve_cancelled_total", where="waiting") == 1)
    assert value(server, "styleserve_calls_waiting") == 0
    running.cancel()
    until(lambda: value(server, "styleserve_cancelled_total", where="running") == 1)
    until(lambda: value(server, "styleserve_calls_running") == 0)
    assert value(server, "styleserve_refused_total", reason="full") == 1
    assert value(server, "styleserve_refused_total", reason="stopping") == 0
    name = {"model_name": DEFAULT_MODEL_NAME}
    assert value(server, ":tensorflow:serving:request_count", **name, status="CANCELLED") == 2
    assert value(server, ":tensorflow:serving:request_count", **name, status="RESOURCE_EXHAUSTED") == 1
    assert value(server, "styleserve_wait_seconds_count") == 3


def test_a_stranger_is_counted(stand_in_base: Path, tmp_path: Path, request_of: Make) -> None:
    (tmp_path / "tokens").write_text("a-token")
    settings = ServerSettings(port=0, grace_s=0, token_file=tmp_path / "tokens")
    with (
        EmbeddedServer(stand_in_base, settings=settings) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        assert call(channel, request_of()).code() is grpc.StatusCode.UNAUTHENTICATED
        assert value(server, "styleserve_refused_total", reason="token") == 1
        assert value(server, ":tensorflow:serving:request_count", model_name="(unknown)", status="UNAUTHENTICATED") == 1
        assert b"a-token" not in page_of(server)


def test_losses_tell_the_steps(server: EmbeddedServer, request_of: Make) -> None:
    from styleserve.serving.call import Call  # noqa: PLC0415
    from styleserve.serving.requests.work import steps_done  # noqa: PLC0415

    ((version,),) = (versions.values() for versions in server._manager._table._models.values())
    servable: Any = version.servable
    request = request_of(steps=9)
    header, response = servable.check(request), servable.predict(request, Call())
    assert steps_done(response.outputs, header) == 9
    response.outputs["losses"].CopyFrom(tensor_pb2.TensorProto(dtype=1, float_val=[1.0] * 10))
    for size in (1, 2, 5):
        response.outputs["losses"].tensor_shape.dim.add(size=size)
    assert steps_done(response.outputs, header) == 2


OPEN_METRICS = {"Accept": "application/openmetrics-text; version=1.0.0", "Accept-Encoding": "gzip"}
"""Accept header of Prometheus. In OpenMetrics, counters would have other names than TensorFlow Serving's."""


def fetch(port: int, path: str) -> tuple[int, str, bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=OPEN_METRICS)
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310 - of this machine
            return reply.status, reply.headers["Content-Type"], reply.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read()


def test_the_endpoint(stand_in_base: Path, tmp_path: Path) -> None:
    port = free_port()
    config = tmp_path / "monitoring.config"
    config.write_text('prometheus_config { enable: true path: "/metrics" }')
    settings = ServerSettings(port=0, rest_api_port=port, monitoring_config_file=config)
    with EmbeddedServer(stand_in_base, settings=settings):
        status, kind, page = fetch(port, "/metrics?x=1")
        assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert ("styleserve_calls_running", frozenset()) in samples(page)
        assert fetch(port, DEFAULT_PATH)[0] == 404
        with pytest.raises(StartError, match=rf"cannot listen on .*:{port} for the metrics: .*--rest-api-port"):
            EmbeddedServer(stand_in_base, settings=ServerSettings(port=0, rest_api_port=port)).start()
    with pytest.raises(urllib.error.URLError):
        fetch(port, "/metrics")


def one_page(_environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"page\n"]


def is_answered(port: int) -> bool:
    try:
        return fetch(port, "/metrics")[2] == b"page\n"
    except OSError:
        return False


def test_connections_that_say_nothing_are_few(until: Make) -> None:
    endpoint = MetricsEndpoint("127.0.0.1", "/metrics", one_page)
    port = endpoint.start(0)
    silent = [socket.create_connection(("127.0.0.1", port), 60) for _ in range(MAX_CONNECTIONS)]
    with socket.create_connection(("127.0.0.1", port), 60) as refused:
        assert refused.recv(1) == b""
    for each in silent:
        each.close()
    until(lambda: is_answered(port))  # the threads of the others have to see first that they are gone
    endpoint.stop()


def is_hung_up(connection: socket.socket) -> bool:
    try:
        connection.sendall(b"G")
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_a_request_that_comes_byte_by_byte_ends(until: Make) -> None:
    """Each byte comes in time, and the whole never does."""
    endpoint = MetricsEndpoint("127.0.0.1", "/metrics", one_page, timeout_s=0.2)
    port = endpoint.start(0)
    with socket.create_connection(("127.0.0.1", port), 0.01) as slow:
        until(lambda: is_hung_up(slow))
    endpoint.stop()


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("prometheus_config { enable: true }", DEFAULT_PATH),
        ('prometheus_config { enable: true path: "/m" }', "/m"),
        ('prometheus_config { path: "/m" }', None),
        ("", None),
    ],
)
def test_configurations(tmp_path: Path, text: str, path: str | None) -> None:
    config = tmp_path / "monitoring.config"
    config.write_text(text)
    assert path_of(config) == path
    assert path_of(None) == DEFAULT_PATH


def test_configurations_that_cannot_be_used(tmp_path: Path, stand_in_base: Path) -> None:
    config = tmp_path / "monitoring.config"
    config.write_text('prometheus_config { enable: true path: "m" }')
    with pytest.raises(StartError, match="it must begin with /"):
        path_of(config)
    config.write_text("prometheus_config { enable: true }")
    with pytest.raises(StartError, match="give their port, as in --rest-api-port 8501"):
        EmbeddedServer(stand_in_base, settings=ServerSettings(port=0, monitoring_config_file=config)).start()
