from __future__ import annotations

import inspect
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import typer
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)
from typer.testing import CliRunner

from styleserve.contract import DEFAULT_MODEL_NAME
from styleserve.export.command import export
from styleserve.server_process import ServerProcess
from styleserve.serving import EmbeddedServer, ServerSettings, StartError
from styleserve.serving.command import EXIT_START_FAILED, register, serve
from styleserve.serving.models import manager
from styleserve.serving.models.lifecycle import LoadRetries

from ..ports import free_port

Make = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[2]
SETTINGS = ServerSettings(port=0, max_calls=2, poll_s=0.05, grace_s=0.0)


@pytest.fixture(scope="module")
def server(stand_in_base: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(stand_in_base, settings=SETTINGS) as server:
        yield server


def _predict(channel: grpc.Channel, request: Any, timeout_s: float = 30.0) -> Any:
    return prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=timeout_s)


def test_two_servers_beside_each_other(server: EmbeddedServer, stand_in_base: Path, request_of: Make) -> None:
    with EmbeddedServer(stand_in_base, model_name="other", settings=SETTINGS) as other:
        assert other.port != server.port
        with grpc.insecure_channel(other.address) as channel:
            assert _predict(channel, request_of(name="other")).model_spec.name == "other"


def test_a_call_without_a_deadline(server: EmbeddedServer, request_of: Make) -> None:
    with grpc.insecure_channel(server.address) as channel:
        assert prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request_of()).outputs


def test_health_of_each_service(server: EmbeddedServer) -> None:
    with grpc.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"):
            reply = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10.0)
            assert reply.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as caught:
            stub.Check(health_pb2.HealthCheckRequest(service="nosuch"), timeout=10.0)
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("method", ["Classify", "Regress", "MultiInference"])
def test_methods_that_are_not_there(
    server: EmbeddedServer, method: str, caplog: pytest.LogCaptureFixture, until: Make
) -> None:
    caplog.set_level(logging.INFO)
    path = f"/tensorflow.serving.PredictionService/{method}"
    with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(path)(b"", timeout=60.0, metadata=[("x-request-id", "its-id")])
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert caught.value.details() == f"{method} is not there; this server answers Predict and GetModelMetadata."
    assert ("x-request-id", "its-id") in caught.value.trailing_metadata()
    until(lambda: any("UNIMPLEMENTED" in record.getMessage() for record in caplog.records))
    assert not any(record.exc_info or record.name.startswith("grpc") for record in caplog.records)


@pytest.mark.parametrize(
    "method",
    [
        "tensorflow.serving.PredictionService/Predict",
        "tensorflow.serving.PredictionService/GetModelMetadata",
        "tensorflow.serving.ModelService/GetModelStatus",
        "tensorflow.serving.ModelService/HandleReloadConfigRequest",
        "grpc.health.v1.Health/Check",
    ],
)
def test_bytes_that_are_no_request(server: EmbeddedServer, method: str) -> None:
    with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(f"/{method}")(b"\xff" * 5, timeout=10.0)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    name = method.partition("/")[2]
    assert caught.value.details() == (
        f"The 5 bytes that came are no request of {name}: they are damaged, cut short, or another message."
    )


@pytest.mark.parametrize("char", ["a", "%", "\n", "ü", "\N{GRINNING FACE}"])
def test_a_long_name_leaves_the_status_unchanged(server: EmbeddedServer, request_of: Make, char: str) -> None:
    request = request_of(name=char * 5000)
    with grpc.insecure_channel(server.address, [("grpc.max_metadata_size", 8192)]) as channel:
        for _ in range(10):  # a client takes or leaves headers of over 8 KiB by chance
            with pytest.raises(grpc.RpcError, match=char * 100) as caught:
                _predict(channel, request)
            assert caught.value.code() == grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("method", ["reload", "start_polling"])
def test_an_interrupt_while_it_starts_leaves_nothing_open(
    stand_in_base: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    metrics_port = free_port()
    server = EmbeddedServer(stand_in_base, settings=ServerSettings(port=0, rest_api_port=metrics_port))
    monkeypatch.setattr(server._manager, method, interrupt)
    with pytest.raises(KeyboardInterrupt):
        server.start()
    assert not any(server.serving().values())
    for port in (metrics_port, server.port):
        if port:  # the other is not open yet where loading is interrupted
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), 60.0).close()


def test_a_taken_port_is_an_error_before_the_model_is_loaded(server: EmbeddedServer, stand_in_base: Path) -> None:
    settings = ServerSettings(port=server.port)
    with pytest.raises(StartError, match=rf"cannot listen on 127\.0\.0\.1:{server.port}: .*Choose another"):
        EmbeddedServer(stand_in_base, settings=settings).start()


@pytest.mark.parametrize("exists", [True, False])
def test_nothing_to_serve(tmp_path: Path, exists: bool) -> None:
    base_path = tmp_path if exists else tmp_path / "nosuch"
    with pytest.raises(StartError, match=r"(has no version in it|is not a directory)\. Export a model first"):
        EmbeddedServer(base_path, settings=SETTINGS).start()


def test_a_version_with_zeros_in_front(tmp_path: Path, add_stand_in: Make) -> None:
    add_stand_in(tmp_path, 123).rename(tmp_path / "00000123")
    with EmbeddedServer(tmp_path, settings=SETTINGS) as server:
        assert server.serving() == {DEFAULT_MODEL_NAME: [123]}


@pytest.mark.parametrize("below", [True, False])
def test_a_base_path_that_is_one_level_off(stand_in_base: Path, tmp_path: Path, below: bool) -> None:
    (tmp_path / "model").symlink_to(stand_in_base)
    base_path, right = (stand_in_base / "1", stand_in_base) if below else (tmp_path, tmp_path / "model")
    with pytest.raises(StartError, match=rf": --model-base-path {right}$") as caught:
        EmbeddedServer(base_path, settings=SETTINGS).start()
    assert "Export" not in str(caught.value)


def test_only_a_broken_version(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    with pytest.raises(StartError, match=r"no version of .* can be served: cannot load .*1"):
        EmbeddedServer(tmp_path, settings=SETTINGS).start()


def test_models_that_did_not_load_are_forgotten(server: EmbeddedServer, tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    with grpc.insecure_channel(server.address) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)

        def status(name: str) -> Any:
            request = get_model_status_pb2.GetModelStatusRequest()
            request.model_spec.name = name
            return stub.GetModelStatus(request, timeout=10.0).model_version_status

        for name in ("a", "b"):
            request = model_management_pb2.ReloadConfigRequest()
            request.config.model_config_list.config.add(name=name, base_path=str(tmp_path), model_platform="tensorflow")
            with pytest.raises(grpc.RpcError, match="did not become available"):
                stub.HandleReloadConfigRequest(request, timeout=60.0)
        assert "cannot load" in status("b")[0].status.error_message
        with pytest.raises(grpc.RpcError, match="Could not find any versions of model a"):
            status("a")
        assert status(DEFAULT_MODEL_NAME)


def test_a_version_whose_warm_up_fails_does_not_take_over(
    tmp_path: Path, add_stand_in: Make, warmup_file: Make, request_of: Make
) -> None:
    add_stand_in(tmp_path, 1)
    with EmbeddedServer(tmp_path, settings=SETTINGS) as server, grpc.insecure_channel(server.address) as channel:
        add_stand_in(tmp_path, 2, warmup=warmup_file(request_of(steps=-1)))
        time.sleep(1.0)
        assert _predict(channel, request_of()).model_spec.version.value == 1
        assert server.serving() == {DEFAULT_MODEL_NAME: [1]}
        add_stand_in(tmp_path, 3, warmup=warmup_file(request_of(steps=1)))
        _wait(lambda: server.serving() == {DEFAULT_MODEL_NAME: [3]})
        assert _predict(channel, request_of()).model_spec.version.value == 3


def test_stopping_ends_the_calls_inside(stand_in_base: Path, request_of: Make) -> None:
    server = EmbeddedServer(stand_in_base, settings=SETTINGS)
    server.start()
    with grpc.insecure_channel(server.address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        call = stub.Predict.future(request_of(steps=50_000_000), timeout=60.0)
        time.sleep(0.3)
        started = time.monotonic()
        server.stop(grace_s=0.2)
        assert time.monotonic() - started < 2.0
        assert call.exception().code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def test_stopping_waits_for_calls_within_the_grace(stand_in_base: Path, request_of: Make) -> None:
    server = EmbeddedServer(stand_in_base, settings=SETTINGS)
    server.start()
    with grpc.insecure_channel(server.address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        call = stub.Predict.future(request_of(steps=30_000), timeout=60.0)
        time.sleep(0.2)
        assert not call.done()
        server.stop(grace_s=30.0)
        assert call.result().outputs


def test_threads_are_gone_after_the_stop(stand_in_base: Path) -> None:
    before = threading.active_count()
    with EmbeddedServer(stand_in_base, settings=SETTINGS):
        pass
    _wait(lambda: threading.active_count() <= before)


def test_the_commands_defaults_are_those_of_the_settings() -> None:
    parameters = inspect.signature(serve).parameters
    names = ("host", "port", "poll_s", "grace_s", "max_request_bytes")
    for name in (*names, "max_num_load_retries", "load_retry_interval_micros"):
        assert parameters[name].default == getattr(ServerSettings(), name)


OUT_OF_RANGE = [{"port": 70_000}, {"max_calls": 0}, {"poll_s": 0.0}, {"poll_s": float("nan")}, {"grace_s": -1.0}]
TOO_MUCH = [{"grace_s": float("inf")}, {"max_request_bytes": 2**31}, {"load_retry_interval_micros": 86_400_000_001}]
TOO_LITTLE = [{"max_request_bytes": 0}, {"max_num_load_retries": -1}, {"load_retry_interval_micros": -1}]


@pytest.mark.parametrize("fields", [*OUT_OF_RANGE, *TOO_MUCH, *TOO_LITTLE])
def test_settings_out_of_range(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        ServerSettings(**fields)


def _app() -> typer.Typer:
    app = typer.Typer()
    register(app)

    @app.callback()
    def main() -> None: ...  # pyright: ignore[reportUnusedFunction]

    return app


def test_the_command_without_a_model(tmp_path: Path) -> None:
    result = CliRunner().invoke(_app(), ["serve", "--model-base-path", str(tmp_path)])
    assert result.exit_code == EXIT_START_FAILED
    assert "Export a model first" in result.output
    assert "Traceback" not in result.output


def test_retries_of_the_command(stand_in_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[EmbeddedServer] = []

    def fail(server: EmbeddedServer) -> None:
        started.append(server)
        raise StartError("enough")

    monkeypatch.setattr(EmbeddedServer, "start", fail)
    options = ["--max-num-load-retries=7", "--load-retry-interval-micros=1500000"]
    CliRunner().invoke(_app(), ["serve", "--model-base-path", str(stand_in_base), *options])
    (server,) = started
    assert server._manager._retries == LoadRetries(7, 1.5)


def test_ctrl_c_before_it_serves(stand_in_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(EmbeddedServer, "start", stopped)
    ran = CliRunner().invoke(_app(), ["serve", "--model-base-path", str(stand_in_base), "--port", "0"])
    assert (ran.exit_code, ran.stdout) == (130, "")
    assert "Error: stopped with Ctrl-C before it served" in ran.stderr


BEFORE_TENSORFLOW = """
import sys, typer
from styleserve.serving.command import register
app = typer.Typer()
app.callback()(lambda: None)
register(app)
try:
    app()
finally:
    sys.exit("tensorflow is imported") if "tensorflow" in sys.modules else None
"""


@pytest.mark.parametrize("option", ["--port", "--rest-api-port"])
def test_a_taken_port_is_an_error_before_tensorflow_is_imported(stand_in_base: Path, option: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ports = {"--port": "0", option: address.rpartition(":")[2]}
        options = [f"--model-base-path={stand_in_base}", *(f"{name}={port}" for name, port in ports.items())]
        command = [sys.executable, "-c", BEFORE_TENSORFLOW, "serve", *options]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (ran.returncode, ran.stdout) == (EXIT_START_FAILED, "")
    loading, refusal = ran.stderr.splitlines()
    assert loading.endswith(f"loading model {DEFAULT_MODEL_NAME} from {stand_in_base}")
    assert refusal.startswith(f"Error: cannot listen on {address}")
    assert refusal.endswith(f"{option.removesuffix('port')}port.")


def test_the_commands_take_the_same_base_path_where_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = Path("models") / DEFAULT_MODEL_NAME
    parameters = [
        inspect.signature(serve).parameters["model_base_path"],
        inspect.signature(export).parameters["output"],
    ]
    assert [parameter.default for parameter in parameters] == [default, default]
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(_app(), ["serve", "--port", "0"])
    assert f"{tmp_path / default} is not a directory" in result.output


def test_ctrl_c_while_it_imports(stand_in_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("styleserve.serving.__getattr__", stopped)
    ran = CliRunner().invoke(_app(), ["serve", "--model-base-path", str(stand_in_base), "--port", "0"])
    assert (ran.exit_code, ran.stdout) == (130, "")
    assert ran.stderr.endswith("Error: stopped with Ctrl-C before it served\n")


def test_front_door_and_command_leave_tensorflow_alone() -> None:
    code = (
        "import sys, styleserve.serving, styleserve.serving.command;"
        "sys.exit('tensorflow' in sys.modules or 'tensorflow_serving' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_the_largest_request_of_the_command(stand_in_base: Path, request_of: Make) -> None:
    right, larger = request_of(steps=1), request_of(steps=1000)  # one more byte
    most = right.ByteSize()
    assert larger.ByteSize() == most + 1
    option = f"--max-request-bytes={most}"
    with ServerProcess(stand_in_base, options=[option]) as server, grpc.insecure_channel(server.address) as channel:
        assert _predict(channel, right).outputs
        with pytest.raises(grpc.RpcError) as caught:
            _predict(channel, larger)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert f"Received message larger than max ({most + 1} vs. {most})" in str(caught.value.details())
        assert _predict(channel, right).outputs


@pytest.mark.parametrize("value", ["0", "2147483648", "20MB"])
def test_a_largest_request_that_cannot_be(stand_in_base: Path, value: str) -> None:
    ran = CliRunner().invoke(_app(), ["serve", "--model-base-path", str(stand_in_base), "--max-request-bytes", value])
    assert ran.exit_code == 2
    assert "Invalid value for '--max-request-bytes'" in ran.output


def test_a_signal_that_does_not_wake_the_main_thread_is_seen() -> None:
    """As of one that comes just before it goes to sleep: here another thread takes it."""
    code = (
        "import signal, threading, time; from styleserve.serving.command import _wait_for_a_signal\n"
        "def late():\n"
        "    while signal.getsignal(signal.SIGTERM) is signal.SIG_DFL: time.sleep(0.01)\n"
        "    time.sleep(0.2)\n"
        "    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)\n"
        "threading.Thread(target=late).start(); _wait_for_a_signal(); print('seen')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "seen\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_stops_cleanly(stand_in_base: Path, request_of: Make, number: signal.Signals) -> None:
    port = free_port()
    code = (
        "import typer; from styleserve.serving.command import register; app = typer.Typer();"
        "app.callback()(lambda: None); register(app); app()"
    )
    command = [sys.executable, "-c", code, "serve", "--model-base-path", str(stand_in_base), f"--port={port}"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        try:
            assert process.stdout is not None
            assert f"Serving {DEFAULT_MODEL_NAME}, version 1, on 127.0.0.1:{port}" in process.stdout.readline()
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                assert _predict(channel, request_of()).outputs
            process.send_signal(number)
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0
    assert "Traceback" not in errors


def test_memory_of_an_unloaded_version_is_given_back(
    add_stand_in: Make, tmp_path: Path, until: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back: list[dict[str, list[int]]] = []
    add_stand_in(tmp_path, 1)
    with EmbeddedServer(tmp_path, settings=SETTINGS) as server:
        monkeypatch.setattr(manager, "give_back_freed_memory", lambda: given_back.append(server.serving()))
        add_stand_in(tmp_path, 2)
        until(lambda: bool(given_back))
    assert given_back == [{DEFAULT_MODEL_NAME: [2]}]


def _wait(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    ends_at = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends_at, "it did not come"
        time.sleep(0.02)
