"""More calls than the server runs at a time: who waits, who is refused, and what is answered all the same."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from styleserve.client.transport.retry import may_be_retried
from styleserve.client.transport.status import service_error
from styleserve.contract import DEFAULT_MODEL_NAME
from styleserve.serving import EmbeddedServer, ServerSettings
from styleserve.serving.rpc.interceptor import PREDICT
from styleserve.serving.rpc.listener import REFUSAL_THREADS, Listener
from styleserve.serving.rpc.model_service import MAX_RELOADS
from styleserve.serving.rpc.request_queue import long_limit

Make = Callable[..., Any]
LONG = 2**20
"""Steps with which the stand-in's 8 x 8 pixels are no short call."""


@pytest.fixture
def server(stand_in_base: Path) -> Iterator[EmbeddedServer]:
    settings = ServerSettings(port=0, max_calls=1, max_waiting=1, grace_s=0.0)
    with EmbeddedServer(stand_in_base, settings=settings) as server:
        yield server


@pytest.fixture
def channel(server: EmbeddedServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as channel:
        yield channel


def start(channel: grpc.Channel, request: Any, timeout_s: float | None = 60.0) -> Any:
    return prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict.future(request, timeout=timeout_s)


def all_else_is_answered(channel: grpc.Channel) -> bool:
    health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60.0)
    spec = {"name": DEFAULT_MODEL_NAME}
    status = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(
        get_model_status_pb2.GetModelStatusRequest(model_spec=spec), timeout=60.0
    )
    metadata = prediction_service_pb2_grpc.PredictionServiceStub(channel).GetModelMetadata(
        get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"]), timeout=60.0
    )
    return health.status == health_pb2.HealthCheckResponse.SERVING and bool(
        status.model_version_status and metadata.metadata
    )


def test_one_runs_one_waits_and_the_next_is_refused_while_all_else_is_answered(
    server: EmbeddedServer, channel: grpc.Channel, held: Any, request_of: Make, until: Make
) -> None:
    model = held(server)
    first = start(channel, request_of())
    model.wait_for(began=1)
    second = start(channel, request_of())
    until(lambda: server._queue.waiting == 1)

    refused = start(channel, request_of()).exception()
    assert refused.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refused.details() == "Server Threadpool Exhausted"
    assert may_be_retried(service_error(refused, server.address, 60.0))
    assert all_else_is_answered(channel)

    assert model.began == 1
    model.let_go()
    assert first.result().outputs
    assert second.result().outputs
    assert model.began == 2


@pytest.mark.parametrize("how", ["cancels", "is gone", "has a deadline"])
def test_a_waiting_call_whose_client_gives_up_never_runs(
    server: EmbeddedServer, channel: grpc.Channel, held: Any, request_of: Make, until: Make, how: str
) -> None:
    model = held(server)
    first = start(channel, request_of())
    model.wait_for(began=1)
    another = grpc.insecure_channel(server.address)
    waiting = start(another, request_of(), 1.0 if how == "has a deadline" else None)
    if how == "has a deadline":
        assert waiting.exception().code() == grpc.StatusCode.DEADLINE_EXCEEDED
    else:
        until(lambda: server._queue.waiting == 1)
        waiting.cancel() if how == "cancels" else another.close()
    until(lambda: server._queue.waiting == 0)
    assert not first.done()
    another.close()
    model.let_go()
    assert first.result().outputs
    assert start(channel, request_of()).result().outputs
    assert model.began == 2


def test_what_is_not_there_is_refused_without_waiting(
    server: EmbeddedServer, channel: grpc.Channel, held: Any, request_of: Make
) -> None:
    model = held(server)
    first = start(channel, request_of())
    model.wait_for(began=1)
    for request, code in (
        (request_of(name="nosuch"), grpc.StatusCode.NOT_FOUND),
        (request_of(signature="nosuch"), grpc.StatusCode.FAILED_PRECONDITION),
    ):
        assert start(channel, request).exception().code() == code
    model.let_go()
    assert first.result().outputs


def test_a_short_call_passes_long_ones(stand_in_base: Path, held: Any, request_of: Make, until: Make) -> None:
    settings = ServerSettings(port=0, max_calls=2, max_waiting=5, grace_s=0.0)
    with (
        EmbeddedServer(stand_in_base, settings=settings) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        model = held(server)
        long = [start(channel, request_of(steps=LONG))]
        model.wait_for(began=1)
        long += [start(channel, request_of(steps=LONG)) for _ in range(4)]
        until(lambda: server._queue.waiting == 4)
        short = start(channel, request_of(steps=1))
        model.wait_for(began=2)
        assert server._queue.waiting == 4
        for call in (*long, short):
            call.cancel()


def test_requests_on_slow_lines_keep_nothing_from_being_answered(server: EmbeddedServer) -> None:
    """As many as Predict has threads, and more: each has sent its header, and not its request."""
    ended = threading.Event()

    def nothing_yet() -> Iterator[bytes]:
        ended.wait()
        yield from ()

    slow = 1 + 1 + REFUSAL_THREADS + 20
    channels = [grpc.insecure_channel(server.address) for _ in range(4)]
    calls: list[Any] = [
        channels[number % 4].stream_unary(PREDICT).future(nothing_yet(), timeout=120.0) for number in range(slow)
    ]
    try:
        with grpc.insecure_channel(server.address) as channel:
            for _ in range(5):
                assert all_else_is_answered(channel)
        assert not any(call.done() for call in calls)
    finally:
        ended.set()
        for call in calls:
            call.cancel()
        for channel in channels:
            channel.close()


def test_a_request_that_does_not_come_ends_its_call() -> None:
    def predict(_request: bytes, _context: grpc.ServicerContext) -> bytes:
        return b"answered"

    listener = Listener("127.0.0.1", max_calls=1, max_request_bytes=1000, receive_timeout_s=0.2)
    service, _, method = PREDICT[1:].rpartition("/")
    handlers = {method: grpc.unary_unary_rpc_method_handler(predict)}
    listener.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = listener.start(0)
    done = threading.Event()

    def nothing_yet() -> Iterator[bytes]:
        done.wait()
        yield from ()

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        slow: list[Any] = [channel.stream_unary(PREDICT).future(nothing_yet(), timeout=120.0) for _ in range(20)]
        assert {call.exception().code() for call in slow} == {grpc.StatusCode.CANCELLED}
        assert channel.unary_unary(PREDICT)(b"", timeout=60.0) == b"answered"
        nothing: Any = channel.stream_unary(PREDICT).future(iter(()), timeout=60.0)
        assert nothing.exception().code() == grpc.StatusCode.UNIMPLEMENTED
    done.set()
    listener.stop()


def test_watchers_that_never_say_what_they_watch(server: EmbeddedServer) -> None:
    done = threading.Event()

    def nothing_yet() -> Iterator[bytes]:
        done.wait()
        yield from ()

    with grpc.insecure_channel(server.address) as slow, grpc.insecure_channel(server.address) as channel:
        watching: list[Any] = [slow.stream_stream("/grpc.health.v1.Health/Watch")(nothing_yet()) for _ in range(40)]
        assert all_else_is_answered(channel)
        done.set()
        for call in watching:
            call.cancel()


def test_configurations_that_load_slowly_keep_nothing_from_being_answered(
    server: EmbeddedServer, channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, loading = threading.Event(), threading.Semaphore(0)

    def reload(_configs: Any) -> None:
        loading.release()
        assert loaded.wait(120.0)

    monkeypatch.setattr(server._manager, "reload", reload)
    request = model_management_pb2.ReloadConfigRequest()
    request.config.model_config_list.SetInParent()
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    calls = [stub.HandleReloadConfigRequest.future(request, timeout=120.0) for _ in range(MAX_RELOADS)]
    assert all(loading.acquire(timeout=60.0) for _ in calls)
    refused = [stub.HandleReloadConfigRequest.future(request, timeout=120.0).exception() for _ in range(20)]
    assert {each.code() for each in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert all_else_is_answered(channel)
    loaded.set()
    assert [call.exception() for call in calls] == [None] * MAX_RELOADS


def test_bounds_as_they_come() -> None:
    cores = os.cpu_count() or 1
    settings = ServerSettings()
    assert settings.running_limit >= 2
    assert long_limit(settings.running_limit) + long_limit(settings.waiting_limit) == 4 * cores
    assert ServerSettings(max_calls=10 * cores).waiting_limit == 0
    assert ServerSettings(max_waiting=7).waiting_limit == 7
    with pytest.raises(ValueError, match="max_waiting is -1"):
        ServerSettings(max_waiting=-1)
