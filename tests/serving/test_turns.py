"""Queue of requests: calls that run, wait and are refused, by events and never by the clock."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import Future

import numpy as np
import pytest

from styleserve.serving.call import ActiveCalls, Call
from styleserve.serving.errors import (
    CancelledError,
    DeadlineError,
    GraphError,
    MemoryLimitError,
    OverloadedError,
    ServingError,
    UnavailableError,
)
from styleserve.serving.rpc.request_queue import FULL, RequestQueue, long_limit

SOON_S = 30.0
"""How long a test waits for what has to come; nothing waits so long for what must not."""


class Runner:
    """A call in a thread of its own, which runs until `end`."""

    def __init__(
        self,
        queue: RequestQueue,
        order: list[str],
        name: str,
        *,
        short: bool,
        call: Call | None = None,
        memory: int = 0,
    ) -> None:
        self.name = name
        self.call = call or Call()
        self.began = threading.Event()
        self._end = threading.Event()
        self.result: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(queue, order, short, memory), daemon=True)
        self._thread.start()

    def _run(self, queue: RequestQueue, order: list[str], short: bool, memory: int) -> None:
        try:
            with queue.admit(self.call, short=short, memory=memory):
                order.append(self.name)
                self.began.set()
                assert self._end.wait(SOON_S)
            self.result.set_result(None)
        except BaseException as error:
            self.result.set_exception(error)

    def end(self) -> None:
        self._end.set()
        self.result.result(SOON_S)

    def failure(self) -> BaseException | None:
        return self.result.exception(SOON_S)


class Stage:
    """A queue, and the calls that it admitted, in order."""

    def __init__(self, running_limit: int, waiting_limit: int, *, memory: float = math.inf) -> None:
        self.queue = RequestQueue(running_limit, waiting_limit, memory=memory)
        self.order: list[str] = []

    def running(self, name: str, *, short: bool, memory: int = 0) -> Runner:
        runner = Runner(self.queue, self.order, name, short=short, memory=memory)
        assert runner.began.wait(SOON_S)
        return runner

    def waiting(self, name: str, *, short: bool, call: Call | None = None, memory: int = 0) -> Runner:
        before = self.queue.waiting
        runner = Runner(self.queue, self.order, name, short=short, call=call, memory=memory)
        until(lambda: self.queue.waiting == before + 1)
        return runner


def until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(int(SOON_S / 0.005)):
        if condition():
            return
        pause.wait(0.005)
    raise AssertionError("it did not come")


def test_over_slots_and_places_a_call_is_refused_with_the_text_of_tensorflow_serving() -> None:
    stage = Stage(1, 1)
    first = stage.running("first", short=False)
    second = stage.waiting("second", short=False)
    with pytest.raises(OverloadedError, match=FULL), stage.queue.admit(Call(), short=True):
        raise AssertionError("it ran")
    first.end()
    second.end()
    assert stage.order == ["first", "second"]
    with stage.queue.admit(Call(), short=False):
        assert stage.queue.running == 1
    assert (stage.queue.running, stage.queue.waiting) == (0, 0)


def test_a_short_call_runs_at_once_however_many_long_ones_do_and_wait() -> None:
    stage = Stage(4, 10)
    long = [stage.running(f"long {number}", short=False) for number in range(3)]
    waiting = [stage.waiting(f"waits {number}", short=False) for number in range(8)]
    for number in range(5):  # one after the other
        stage.running(f"short {number}", short=True).end()
    assert stage.queue.running == 3
    assert stage.queue.waiting == 8
    for runner in (*long, *waiting):
        runner.end()


def test_a_short_call_finds_a_place_however_many_long_ones_wait() -> None:
    stage = Stage(4, 8)
    runners = [stage.running(f"long {number}", short=False) for number in range(3)]
    runners += [stage.waiting(f"long {number}", short=False) for number in range(3, 9)]
    with pytest.raises(OverloadedError, match=FULL), stage.queue.admit(Call(), short=False):
        raise AssertionError("it ran")
    runners.append(stage.running("short 0", short=True))
    runners += [stage.waiting(f"short {number}", short=True) for number in (1, 2)]
    with pytest.raises(OverloadedError, match=FULL), stage.queue.admit(Call(), short=True):
        raise AssertionError("it ran")
    assert stage.queue.waiting == 8
    for runner in runners[-3:]:
        runner.end()
    # A long call gets none of the places that are free now.
    with pytest.raises(OverloadedError, match=FULL), stage.queue.admit(Call(), short=False):
        raise AssertionError("it ran")
    for runner in runners[:-3]:
        runner.end()


def test_short_calls_wait_for_short_calls_alone() -> None:
    stage = Stage(2, 4)
    long = stage.running("long", short=False)
    short = [stage.running("short 0", short=True)]
    short += [stage.waiting(f"short {number}", short=True) for number in range(1, 4)]
    for runner in short:
        runner.end()
    assert not long.result.done()
    long.end()


def test_where_both_wait_for_one_slot_they_take_queue() -> None:
    stage = Stage(1, 8)
    runners = [stage.running("first", short=True)]
    runners += [stage.waiting(f"long {number}", short=False) for number in range(3)]
    runners += [stage.waiting(f"short {number}", short=True) for number in range(3)]
    by_name = {runner.name: runner for runner in runners}
    for position in range(7):
        until(lambda position=position: len(stage.order) > position)
        by_name[stage.order[position]].end()
    assert stage.order == ["first", "short 0", "long 0", "short 1", "long 1", "short 2", "long 2"]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 16])
def test_long_calls_alone_leave_a_quarter(limit: int) -> None:
    stage = Stage(limit, limit)
    running = [stage.running(str(number), short=False) for number in range(long_limit(limit))]
    waiting = [stage.waiting(f"waits {number}", short=False) for number in range(long_limit(limit))]
    assert stage.queue.running == (limit if limit == 1 else limit - max(1, limit // 4))
    for runner in (*running, *waiting):
        runner.end()


def test_a_waiting_call_that_is_cancelled_leaves_at_once_and_never_runs() -> None:
    stage = Stage(1, 3)
    first = stage.running("first", short=False)
    cancelled = stage.waiting("cancelled", short=False)
    behind = stage.waiting("behind", short=False)
    cancelled.call.cancel()
    assert isinstance(cancelled.failure(), CancelledError)
    assert not first.result.done()
    assert stage.queue.waiting == 1
    first.end()
    behind.end()
    assert stage.order == ["first", "behind"]


def test_a_waiting_call_whose_time_is_up_leaves_and_never_runs() -> None:
    stage = Stage(1, 1)
    first = stage.running("first", short=False)
    late = Runner(stage.queue, stage.order, "late", short=False, call=Call(0.05))
    assert isinstance(late.failure(), DeadlineError)
    assert not first.result.done()
    assert stage.queue.waiting == 0
    first.end()
    assert stage.order == ["first"]


def test_a_call_that_was_cancelled_before_it_came_never_runs() -> None:
    stage = Stage(1, 1)
    call = Call()
    call.cancel()
    with pytest.raises(CancelledError), stage.queue.admit(call, short=False):
        raise AssertionError("it ran")
    assert (stage.queue.running, stage.queue.waiting) == (0, 0)
    stage.running("next", short=False).end()


def test_cancelling_at_any_moment_loses_no_place() -> None:
    """Also at the moment of admission."""
    stage = Stage(2, 4)
    random = np.random.default_rng(0)
    for turn in range(100):
        runners = [Runner(stage.queue, stage.order, f"{turn}", short=bool(n % 2)) for n in range(5)]
        for number in random.permutation(5):
            runners[number].call.cancel()
            runners[number]._end.set()
        for runner in runners:
            assert runner.failure() is None or isinstance(runner.failure(), CancelledError)
        assert (stage.queue.running, stage.queue.waiting) == (0, 0)


def test_closing_refuses_who_waits_and_who_comes_and_lets_run_who_runs() -> None:
    stage = Stage(1, 2)
    first = stage.running("first", short=False)
    waiting = stage.waiting("waiting", short=False)
    stage.queue.close(UnavailableError("closing"))
    assert isinstance(waiting.failure(), UnavailableError)
    with pytest.raises(UnavailableError, match="closing"), stage.queue.admit(Call(), short=True):
        raise AssertionError("it ran")
    assert not first.result.done()
    first.end()


def test_each_call_is_refused_with_an_error_of_its_own() -> None:
    """One that is raised keeps the frames of all that it came through, and the requests in them."""
    stage = Stage(1, 2)
    first = stage.running("first", short=False)
    waiting = [stage.waiting(f"waits {number}", short=short) for number, short in enumerate((False, True))]
    refusal = UnavailableError("closing")
    stage.queue.close(refusal)
    errors = [runner.failure() for runner in waiting]
    for _ in range(2):
        with pytest.raises(UnavailableError, match="closing") as caught, stage.queue.admit(Call(), short=True):
            raise AssertionError("it ran")
        errors.append(caught.value)
    calls = [Call(), Call()]
    for call in calls:
        call.cancel(refusal)
        with pytest.raises(UnavailableError, match="closing") as caught:
            raise call.error()
        errors.append(caught.value)
    assert len({id(error) for error in errors}) == 6
    assert refusal.__traceback__ is None
    first.end()


def test_the_same_error_again() -> None:
    error = GraphError(8, "{{node f}} OOM")
    again = error.copy()
    assert again is not error
    assert (type(again), again.code, again.message) == (GraphError, error.code, error.message)


def test_the_first_to_cancel_gives_the_reason() -> None:
    call = Call()
    call.cancel(UnavailableError("the server stops"))
    call.cancel()
    assert isinstance(call.error(), UnavailableError)
    assert isinstance(Call(0.0).error(), DeadlineError)
    call = Call(1000.0)
    call.cancel()
    assert isinstance(call.error(), CancelledError)


def test_active_calls() -> None:
    calls, call = ActiveCalls(), Call()
    calls.add(call)
    assert not calls.wait_until_empty(0.0)
    calls.cancel_all(ServingError("enough"))
    assert call.cancelled
    late = Call()
    calls.add(late)
    assert str(late.error()) == "enough"
    calls.remove(late)
    threading.Timer(0.05, calls.remove, [call]).start()
    assert calls.wait_until_empty(SOON_S)
    assert len(calls) == 0


def test_calls_wait_for_memory_in_order() -> None:
    stage = Stage(8, 8, memory=100)
    first = stage.running("first", short=False, memory=60)
    second = stage.running("second", short=False, memory=40)
    third = stage.waiting("third", short=False, memory=80)
    fourth = stage.waiting("fourth", short=False, memory=30)
    second.end()  # 40 are free: enough for the fourth, which does not pass the third
    assert (stage.queue.running, stage.queue.waiting) == (1, 2)
    first.end()
    assert third.began.wait(SOON_S)
    assert (stage.queue.running, stage.queue.waiting) == (1, 1)
    third.end()
    fourth.end()
    assert stage.order == ["first", "second", "third", "fourth"]
    with stage.queue.admit(Call(), short=False, memory=100):
        assert stage.queue.running == 1


def test_a_call_that_needs_more_memory_than_there_is_is_refused() -> None:
    queue = RequestQueue(2, 2, memory=2**30)
    wanted = "may need 1.5 GiB of memory; this server has 1 GiB for its calls"
    with pytest.raises(MemoryLimitError, match=wanted), queue.admit(Call(), short=True, memory=3 * 2**29):
        raise AssertionError("it ran")
    assert (queue.running, queue.waiting) == (0, 0)
