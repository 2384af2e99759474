"""Calls during a stop of the server, ordered by events and never by the clock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from styleserve.client.transport.retry import may_be_retried
from styleserve.client.transport.status import service_error
from styleserve.contract import DEFAULT_MODEL_NAME
from styleserve.serving import EmbeddedServer, ServerSettings
from styleserve.serving.server import STOPPING

Make = Callable[..., Any]
FOR_EVER = 1_000_000_000
LOADING = get_model_status_pb2.ModelVersionStatus.LOADING
SOON_S = 60.0


def start(channel: grpc.Channel, request: Any) -> Any:
    return prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict.future(request, timeout=120.0)


def is_serving(channel: grpc.Channel) -> bool:
    reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=SOON_S)
    return reply.status == health_pb2.HealthCheckResponse.SERVING


def stop(server: EmbeddedServer, grace_s: float) -> threading.Thread:
    thread = threading.Thread(target=server.stop, args=(grace_s,), daemon=True)
    thread.start()
    return thread


@pytest.fixture
def server(stand_in_base: Path) -> EmbeddedServer:
    server = EmbeddedServer(stand_in_base, settings=ServerSettings(port=0, max_calls=1, max_waiting=1))
    server.start()
    return server


def test_while_it_drains(server: EmbeddedServer, held: Any, request_of: Make, until: Make) -> None:
    """Running calls end; waiting and new calls are refused as UNAVAILABLE; health reports it at once."""
    model = held(server)
    with grpc.insecure_channel(server.address) as channel, grpc.insecure_channel(server.address) as probe:
        running = start(channel, request_of())
        model.wait_for(began=1)
        waiting = start(channel, request_of())
        until(lambda: server._queue.waiting == 1)
        assert is_serving(probe)

        stopping = stop(server, 2 * SOON_S)
        refused = [waiting.exception(), start(channel, request_of()).exception()]
        assert not is_serving(probe)
        for failure in refused:
            assert failure.code() == grpc.StatusCode.UNAVAILABLE
            assert failure.details() == "The server is stopping; try again, here in a moment or at another one."
            assert may_be_retried(service_error(failure, server.address, 60.0))
        assert not running.done()
        assert stopping.is_alive()

        model.let_go()
        assert running.result().outputs
    stopping.join(SOON_S)
    assert not stopping.is_alive()
    assert model.began == 1


def test_when_the_grace_is_over(server: EmbeddedServer, request_of: Make, until: Make) -> None:
    with grpc.insecure_channel(server.address) as channel:
        running = start(channel, request_of(steps=FOR_EVER))
        until(lambda: server._queue.running == 1)
        stopping = stop(server, 0.1)
        failure = running.exception()
        assert failure.code() == grpc.StatusCode.UNAVAILABLE
        assert failure.details() == "The server stopped before the call had ended; try again, perhaps at another one."
        assert may_be_retried(service_error(failure, server.address, 60.0))
    stopping.join(SOON_S)
    assert not stopping.is_alive()


def test_a_watcher_gets_the_change_and_does_not_delay_the_stop(server: EmbeddedServer) -> None:
    with grpc.insecure_channel(server.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=2 * SOON_S)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        stopping = stop(server, 2 * SOON_S)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        stopping.join(SOON_S)
        assert not stopping.is_alive()


PROGRAM = (
    "import typer; from styleserve.serving.command import register; app = typer.Typer();"
    "app.callback()(lambda: None); register(app); app()"
)


@contextmanager
def process(base_path: Path, *options: str) -> Generator[tuple[subprocess.Popen[str], str]]:
    """A running server, and its address."""
    command = [sys.executable, "-c", PROGRAM, "serve", "--model-base-path", str(base_path), "--port=0", *options]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as running:
        try:
            assert running.stdout is not None
            yield running, running.stdout.readline().partition(" on ")[2].split(". ")[0]
        finally:
            running.kill()


def reload(channel: grpc.Channel, base_path: Path) -> Any:
    request = model_management_pb2.ReloadConfigRequest()
    request.config.model_config_list.config.add(
        name=DEFAULT_MODEL_NAME, base_path=str(base_path), model_platform="tensorflow"
    )
    return model_service_pb2_grpc.ModelServiceStub(channel).HandleReloadConfigRequest.future(request, timeout=120.0)


def loading(channel: grpc.Channel, version: int) -> bool:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = DEFAULT_MODEL_NAME
    reply = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request, timeout=SOON_S)
    return any(each.version == version and each.state == LOADING for each in reply.model_version_status)


@pytest.mark.parametrize("what", ["a version", "a configuration"])
def test_what_is_being_loaded_keeps_nothing_up(
    tmp_path: Path, add_stand_in: Make, warmup_file: Make, request_of: Make, until: Make, what: str
) -> None:
    """Though its warm-up does not end."""
    add_stand_in(tmp_path / "served", 1)
    new = add_stand_in(tmp_path / "new", 2, warmup=warmup_file(*[request_of(steps=FOR_EVER)] * 3))
    server = EmbeddedServer(tmp_path / "served", settings=ServerSettings(port=0, poll_s=0.05))
    server.start()
    with grpc.insecure_channel(server.address) as channel:
        reloading = None
        if what == "a version":
            new.rename(tmp_path / "served" / "2")
        else:
            reloading = reload(channel, tmp_path / "new")
        until(lambda: len(server._manager._warm_ups) > 0)
        stopping = stop(server, 2 * SOON_S)
        stopping.join(SOON_S)
        assert not stopping.is_alive()
        assert len(server._manager._warm_ups) == 0
        if reloading is not None:
            assert reloading.exception().code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def test_a_configuration_that_comes_while_it_drains(
    server: EmbeddedServer, held: Any, request_of: Make, until: Make, stand_in_base: Path
) -> None:
    model = held(server)
    with grpc.insecure_channel(server.address) as channel:
        running = start(channel, request_of())
        model.wait_for(began=1)
        stopping = stop(server, 2 * SOON_S)
        until(server._manager._closed.is_set)
        failure = reload(channel, stand_in_base).exception()
        assert failure.code() == grpc.StatusCode.UNAVAILABLE
        assert failure.details() == STOPPING
        model.let_go()
        assert running.result().outputs
    stopping.join(SOON_S)
    assert not stopping.is_alive()


def test_a_process_that_loads_a_version(
    tmp_path: Path, add_stand_in: Make, warmup_file: Make, request_of: Make, until: Make
) -> None:
    add_stand_in(tmp_path / "served", 1)
    new = add_stand_in(tmp_path, 2, warmup=warmup_file(request_of(steps=FOR_EVER)))
    with process(tmp_path / "served", "--poll-s=0.05") as (running, address), grpc.insecure_channel(address) as channel:
        new.rename(tmp_path / "served" / "2")
        until(lambda: loading(channel, 2))
        running.send_signal(signal.SIGTERM)
        assert running.wait(SOON_S) == 0
        assert running.stderr is not None
        errors = running.stderr.read()
        assert "Traceback" not in errors
        assert "version 2 is loaded" not in errors  # it was given up, or not even begun


def is_refused(channel: grpc.Channel, request: Any) -> bool:
    failure = start(channel, request).exception()
    return failure is not None and failure.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("grace", ["0.2", "600"])
def test_a_process_with_a_call_that_does_not_end(
    stand_in_base: Path, request_of: Make, until: Make, grace: str
) -> None:
    """After the grace it ends with 0; a second signal ends it at once."""
    options = ("--max-calls=1", "--max-waiting=0", f"--grace-s={grace}")
    with process(stand_in_base, *options) as (running, address), grpc.insecure_channel(address) as channel:
        calls = [start(channel, request_of(steps=FOR_EVER))]

        def runs() -> bool:
            if calls[-1].done():  # the one that asks whether it runs was there before it
                calls.append(start(channel, request_of(steps=FOR_EVER)))
                return False
            return is_refused(channel, request_of(steps=0)) and not calls[-1].done()

        until(runs)
        running.send_signal(signal.SIGTERM)
        assert running.stdout is not None
        assert f"have up to {grace} s to end" in running.stdout.readline()
        if grace == "600":
            running.send_signal(signal.SIGTERM)
        assert running.wait(SOON_S) == (-signal.SIGTERM if grace == "600" else 0)
        assert calls[-1].exception().code() == grpc.StatusCode.UNAVAILABLE
        assert running.stderr is not None
        assert "Traceback" not in running.stderr.read()
