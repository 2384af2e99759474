"""The health service, and what strangers may do with it: they need no token for it."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from styleserve.serving import EmbeddedServer, ServerSettings
from styleserve.serving.rpc import interceptor as gate
from styleserve.serving.rpc.health import HealthService
from styleserve.serving.rpc.interceptor import MAX_HEALTH_BYTES
from styleserve.serving.rpc.listener import WATCH_THREADS, Listener

Make = Callable[..., Any]
SOON_S = 60.0
WATCH = "/grpc.health.v1.Health/Watch"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


@contextmanager
def listening(health: HealthService) -> Generator[str]:
    """The address of a server that has nothing but health."""
    listener = Listener("127.0.0.1", max_calls=1, max_request_bytes=2**20)
    health_pb2_grpc.add_HealthServicer_to_server(health, listener.server)
    try:
        yield f"127.0.0.1:{listener.start(0)}"
    finally:
        listener.stop()
        health.close()


def check(channel: grpc.Channel, service: str = "") -> Any:
    request = health_pb2.HealthCheckRequest(service=service)
    return health_pb2_grpc.HealthStub(channel).Check(request, timeout=SOON_S)


def watch(channel: grpc.Channel, service: str = "") -> Any:
    request = health_pb2.HealthCheckRequest(service=service)
    return health_pb2_grpc.HealthStub(channel).Watch(request, timeout=2 * SOON_S)


def test_each_change_reaches_each_watcher() -> None:
    health = HealthService(["", "a"])
    with listening(health) as address, grpc.insecure_channel(address) as channel:
        watching = [watch(channel, service) for service in ("", "a", "a")]
        for serving, status in ((False, NOT_SERVING), (True, SERVING), (True, None), (False, NOT_SERVING)):
            health.report(serving=serving)
            if status is not None:
                assert [next(each).status for each in watching] == [status] * 3
                assert check(channel, "a").status == status


def test_who_is_gone_is_forgotten(until: Make) -> None:
    health = HealthService([""])
    with listening(health) as address, grpc.insecure_channel(address) as channel:
        watching = [watch(channel) for _ in range(20)]
        for each in watching[::2]:
            assert next(each).status == NOT_SERVING
        for each in watching:  # half of them perhaps before they have begun
            each.cancel()
        until(lambda: not health._watchers)
        assert check(channel).status == NOT_SERVING


def test_of_a_service_that_is_not_there_nothing_is_kept() -> None:
    health = HealthService([""])
    with listening(health) as address, grpc.insecure_channel(address) as channel:
        watching = [watch(channel, f"nosuch-{number}") for number in range(20)]
        assert [next(each).status for each in watching] == [UNKNOWN] * 20
        assert not health._watchers
        assert check(channel).status == NOT_SERVING
        assert not any(each.done() for each in watching)  # the protocol wants them open


@pytest.mark.parametrize("ask", [check, lambda *asked: next(watch(*asked))], ids=["Check", "Watch"])
def test_a_name_as_long_as_a_message_is_refused(ask: Make) -> None:
    with listening(HealthService([""])) as address, grpc.insecure_channel(address) as channel:
        with pytest.raises(grpc.RpcError, match=f"which may have {MAX_HEALTH_BYTES}") as caught:
            ask(channel, "x" * MAX_HEALTH_BYTES)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_watchers_that_never_say_what_they_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are more than the threads, and yet the next watcher is answered: their time for saying so ends."""
    monkeypatch.setattr(gate, "SMALL_REQUEST_TIMEOUT_S", 0.2)
    done = threading.Event()

    def nothing_yet() -> Iterator[bytes]:
        done.wait()
        yield from ()

    with (
        listening(HealthService([""])) as address,
        grpc.insecure_channel(address) as slow,
        grpc.insecure_channel(address) as channel,
    ):
        silent: list[Any] = [slow.stream_stream(WATCH)(nothing_yet()) for _ in range(3 * WATCH_THREADS)]
        assert {each.code() for each in silent} == {grpc.StatusCode.CANCELLED}
        monkeypatch.undo()
        assert next(watch(channel)).status == NOT_SERVING
        done.set()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack("!I", len(payload))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload


def _field(name: bytes, value: str) -> bytes:
    return name + bytes([len(value)]) + value.encode()


@contextmanager
def stalled_watcher(address: str) -> Generator[socket.socket]:
    """Watches by hand, with a window of nothing: the server may not send it a single byte of a message."""
    data, headers, settings, end_stream, end_headers, ack = 0, 1, 4, 1, 4, 1
    message = health_pb2.HealthCheckRequest().SerializeToString()
    # HPACK: POST and http by their numbers in its table, then fields that are not indexed, three names by their number.
    fields = b"\x83\x86" + _field(b"\x04", WATCH) + _field(b"\x01", "x") + _field(b"\x0f\x10", "application/grpc")
    fields += _field(_field(b"\x00", "te"), "trailers")
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), SOON_S) as line:
        line.sendall(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + _frame(settings, 0, 0, struct.pack("!HI", 4, 0))  # INITIAL_WINDOW_SIZE is 0
            + _frame(settings, ack, 0, b"")
            + _frame(headers, end_headers, 1, fields)
            + _frame(data, end_stream, 1, struct.pack("!?I", False, len(message)) + message)
        )
        yield line


def _read_until(line: socket.socket, wanted: set[int]) -> int:
    """Reads frames until one of these kinds comes on stream 1."""
    with line.makefile("rb") as frames:
        while True:
            head = frames.read(9)
            assert len(head) == 9, "the connection was closed"
            frames.read(int.from_bytes(head[:3], "big"))
            if head[3] in wanted and int.from_bytes(head[5:], "big") == 1:
                return head[3]


def test_watchers_that_read_nothing_block_no_other_call() -> None:
    """Neither those who ask, nor other watchers, nor who reports."""
    health = HealthService([""], timeout_s=2 * SOON_S)
    with listening(health) as address, grpc.insecure_channel(address) as channel:
        watching = watch(channel)
        assert next(watching).status == NOT_SERVING
        with stalled_watcher(address) as stalled:
            assert _read_until(stalled, {1}) == 1  # the header: what is next is the message that it does not take
            assert check(channel).status == NOT_SERVING
            notified = health.report(serving=True)
            assert len(notified) == 2
            assert next(watching).status == SERVING
            assert check(channel).status == SERVING
            assert not all(each.done() for each in notified)


def test_a_watcher_that_takes_nothing_is_let_go(until: Make) -> None:
    reset = 3
    health = HealthService([""], timeout_s=0.2)
    with listening(health) as address, stalled_watcher(address) as stalled:
        assert _read_until(stalled, {reset}) == reset
        until(lambda: not health._watchers)


def test_a_server_stops_under_watchers_that_take_nothing(stand_in_base: Path) -> None:
    server = EmbeddedServer(stand_in_base, settings=ServerSettings(port=0))
    server.start()
    with stalled_watcher(server.address) as stalled:
        assert _read_until(stalled, {1}) == 1
        stopping = threading.Thread(target=server.stop, daemon=True)
        stopping.start()
        stopping.join(SOON_S)
        assert not stopping.is_alive()
