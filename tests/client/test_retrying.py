"""When a call is made again, driven by hand: no server, no clock."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import grpc
import pytest

from styleserve.client import (
    ConnectionSettings,
    DeadlineExceeded,
    Overloaded,
    RetryPolicy,
    ServerUnavailable,
    ServiceError,
    SettingsError,
    StyleClient,
)
from styleserve.client.transport.actions import Blocking, Call, Operation, Sleep
from styleserve.client.transport.call import GET_MODEL_STATUS, RpcClient
from styleserve.client.transport.retry import RetryBudget
from styleserve.client.wire import messages

STATUS = grpc.StatusCode


def seeded(seed: int) -> Random:
    return Random(seed)  # noqa: S311 - no secret


@pytest.mark.parametrize("tries", [1, 2, 3, 50])
def test_full_jitter_draws_anything_up_to_the_longest_pause(tries: int) -> None:
    policy = RetryPolicy()
    longest = policy.longest_pause_after(tries)
    random = seeded(1)
    pauses = [policy.pause_s(tries, random) for _ in range(2000)]
    assert 0 <= min(pauses) < 0.01 * longest
    assert 0.99 * longest < max(pauses) <= longest
    # The mean of a uniform draw lies within five of its own deviations, longest / sqrt(12 * 2000), of the half.
    assert abs(sum(pauses) / len(pauses) - longest / 2) < 5 * longest / (12 * 2000) ** 0.5
    assert pauses[0] == policy.pause_s(tries, seeded(1))


def test_pauses_grow_to_a_limit() -> None:
    longest = [RetryPolicy(longest_pause_s=1.0).longest_pause_after(tries) for tries in range(1, 101)]
    assert longest == sorted(longest)
    assert longest[0] == 0.2
    assert longest[-1] == 1.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tries", 0),
        ("tries", 101),
        ("first_pause_s", -1),
        ("first_pause_s", float("nan")),
        ("factor", 0.5),
        ("longest_pause_s", float("inf")),
        ("budget", 0),
        ("refill", -0.1),
    ],
)
def test_policies_that_make_no_sense(name: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=f"^{name} of the retries is .*; it must be from"):
        RetryPolicy(**{name: value})


def test_the_budget_is_that_of_grpc() -> None:
    """Half of it may be used up; a success puts a part back, never more than there was."""
    budget = RetryBudget(RetryPolicy(budget=10, refill=0.5))
    for _ in range(20):
        budget.succeeded()
    allowed = 0
    while budget.allows_retry:
        budget.failed()
        allowed += 1
    assert allowed == 5
    budget.succeeded()
    assert budget.allows_retry
    for _ in range(100):
        budget.failed()
    for _ in range(10):
        budget.succeeded()
    assert not budget.allows_retry
    budget.succeeded()
    assert budget.allows_retry


class Failure(grpc.RpcError):
    def __init__(self, code: grpc.StatusCode, text: str = "") -> None:
        self._code, self._text = code, text

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._text


class Clock:
    """A clock that stands still, except for pauses and answers of the test."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def drive(
    operation: Operation[Any], answers: Callable[[Call], Exception | bytes], clock: Clock
) -> tuple[Any, list[Call]]:
    """A driver that waits for nothing: the result of the operation, or the error, and its calls."""
    calls: list[Call] = []
    try:
        action = next(operation)
        while True:
            outcome: Any = None
            if isinstance(action, Sleep):
                clock.now += action.seconds
            elif isinstance(action, Blocking):
                outcome = action.function()
            else:
                calls.append(action)
                outcome = answers(action)
            action = operation.throw(outcome) if isinstance(outcome, Exception) else operation.send(outcome)
    except StopIteration as end:
        return end.value, calls
    except ServiceError as error:
        return error, calls


def request(rpc: RpcClient, timeout_s: float = 60.0) -> Operation[int]:
    return rpc.call(GET_MODEL_STATUS, messages.GetModelStatusRequest(), lambda _: 7, timeout_s)


def test_what_fails_twice_is_tried_three_times() -> None:
    clock = Clock()
    failures = [Failure(STATUS.UNAVAILABLE, "gone"), Failure(STATUS.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")]
    rpc = RpcClient(ConnectionSettings(), random=seeded(2), clock=clock)
    found, calls = drive(request(rpc), lambda _: failures.pop(0) if failures else b"", clock)
    assert found == 7
    assert len(calls) == 3
    assert len({call.metadata for call in calls}) == 1  # one request id
    assert [call.timeout_s for call in calls] == sorted((call.timeout_s for call in calls), reverse=True)
    assert calls[-1].timeout_s == 1060.0 - clock.now  # what is left of the one deadline


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (STATUS.DEADLINE_EXCEEDED, "Deadline Exceeded"),
        (STATUS.INVALID_ARGUMENT, "Expects arg[0] to be float"),
        (STATUS.NOT_FOUND, "Servable not found for request: Latest(nomodel)"),
        (STATUS.FAILED_PRECONDITION, 'Serving signature key "nosuch" not found.'),
        (STATUS.RESOURCE_EXHAUSTED, "OOM when allocating tensor"),
        (STATUS.RESOURCE_EXHAUSTED, "Received message larger than max"),
        (STATUS.INTERNAL, "XLA compilation disabled"),
        (STATUS.UNIMPLEMENTED, "Method not found!"),
        (STATUS.CANCELLED, "gone"),
        (STATUS.UNKNOWN, "?"),
    ],
)
def test_what_fails_again_is_tried_once(code: grpc.StatusCode, text: str) -> None:
    clock = Clock()
    found, calls = drive(request(RpcClient(ConnectionSettings(), clock=clock)), lambda _: Failure(code, text), clock)
    assert len(calls) == 1
    assert (found.status, found.tries, found.request_id) == (code.name, 1, dict(calls[0].metadata)["x-request-id"])


def test_tries_end() -> None:
    clock = Clock()
    rpc = RpcClient(ConnectionSettings(retry=RetryPolicy(tries=3)), clock=clock)
    found, calls = drive(request(rpc), lambda _: Failure(STATUS.UNAVAILABLE, "gone"), clock)
    assert isinstance(found, ServerUnavailable)
    assert isinstance(found.__cause__, Failure)
    assert found.tries == len(calls) == 3
    assert str(found).endswith(f"Request {found.request_id}, after 3 tries.")


def test_a_dead_server_is_reported_soon() -> None:
    clock = Clock()
    drive(request(RpcClient(ConnectionSettings(), clock=clock)), lambda _: Failure(STATUS.UNAVAILABLE), clock)
    assert clock.now <= 1000.0 + 2.0


def test_nothing_is_tried_past_the_deadline() -> None:
    clock = Clock()

    def slow(_: Call) -> Exception:
        clock.now += 4.0
        return Failure(STATUS.UNAVAILABLE, "gone")

    policy = RetryPolicy(tries=100, budget=1000)
    found, calls = drive(request(RpcClient(ConnectionSettings(retry=policy), clock=clock), timeout_s=10.0), slow, clock)
    assert isinstance(found, ServerUnavailable)  # which tells more than that time is up
    assert len(calls) < 4
    assert all(call.timeout_s > 0 for call in calls)


def test_the_deadline_in_an_error_is_the_one_that_was_asked_for() -> None:
    clock = Clock()
    failures = [Failure(STATUS.UNAVAILABLE), Failure(STATUS.DEADLINE_EXCEEDED)]
    rpc = RpcClient(ConnectionSettings(), clock=clock)
    found, _ = drive(request(rpc, timeout_s=10.0), lambda _: failures.pop(0), clock)
    assert isinstance(found, DeadlineExceeded)
    assert "within 10 s" in found.message
    assert found.tries == 2


def test_an_outage_is_not_made_worse() -> None:
    """All calls of a client share a budget; where it is used up, each is made once."""
    clock = Clock()
    rpc = RpcClient(ConnectionSettings(retry=RetryPolicy(budget=8)), clock=clock)
    tries = [drive(request(rpc), lambda _: Failure(STATUS.UNAVAILABLE, "queue full"), clock)[0].tries for _ in range(4)]
    assert tries == [4, 1, 1, 1]
    drive(request(rpc), lambda _: b"", clock)  # a success does not suffice after so many failures
    assert drive(request(rpc), lambda _: Failure(STATUS.UNAVAILABLE), clock)[0].tries == 1


def test_a_server_that_fails_twice_and_then_answers(stub: Any, refusal: Any) -> None:
    good, failures = stub.status, [refusal(STATUS.UNAVAILABLE, "gone"), refusal(STATUS.UNAVAILABLE, "queue is full")]
    stub.status = lambda message: failures.pop(0) if failures else good(message)  # pyright: ignore
    with StyleClient(stub.address) as client:
        assert client.status(request_id="mine-1")[0].available
        assert [headers["x-request-id"] for headers in stub.headers] == ["mine-1"] * 3
        with pytest.raises(SettingsError, match="visible ASCII"):
            client.status(request_id="no\nline breaks")
        stub.status = refusal(STATUS.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
        with pytest.raises(Overloaded, match=r"Request mine-2, after 4 tries\."):
            client.status(request_id="mine-2")
