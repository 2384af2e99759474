"""The limit of calls at once, with simulated servers."""

from __future__ import annotations

import pytest

from styleserve.client.batch.concurrency_limit import MOST_CALLS, ConcurrencyLimit


def after_rounds(limit: ConcurrencyLimit, rounds: int, parallel: float, start_s: float = 0.0) -> float:
    """Lets a server answer that does so many calls in the time of one; returns the time."""
    now_s = start_s
    for _ in range(rounds):
        calls = limit.limit
        limit.started(now_s)
        now_s += max(1.0, calls / parallel)
        for _ in range(calls):
            limit.succeeded(now_s)
    return now_s


def test_it_starts_with_one_call_and_adds_one_a_round() -> None:
    limit = ConcurrencyLimit()
    assert limit.limit == 1
    now_s = 0.0
    for expected in range(2, 8):
        now_s = after_rounds(limit, 1, parallel=100, start_s=now_s)
        assert limit.limit == expected


@pytest.mark.parametrize("parallel", [1, 2, 5])
def test_it_settles_where_the_server_is_full(parallel: int) -> None:
    """More calls would only wait longer there: never more than one too many, and that seldom."""
    limit, now_s, seen = ConcurrencyLimit(), 0.0, list[int]()
    for _ in range(200):
        now_s = after_rounds(limit, 1, parallel, start_s=now_s)
        seen.append(limit.limit)
    assert max(seen) == parallel + 1
    assert seen[50:].count(parallel) > 0.9 * len(seen[50:])


def test_it_finds_room_that_comes_later() -> None:
    limit = ConcurrencyLimit()
    now_s = after_rounds(limit, 100, parallel=2)
    after_rounds(limit, 60, parallel=9, start_s=now_s)
    assert limit.limit in (9, 10)


def test_it_is_bounded() -> None:
    limit = ConcurrencyLimit()
    after_rounds(limit, 3 * MOST_CALLS, parallel=1000)
    assert limit.limit == MOST_CALLS


def test_throughput_is_of_work_and_not_of_calls() -> None:
    """A hundred times the work in ten times the time is no slower server."""
    limit = ConcurrencyLimit()
    limit.started(0.0)
    limit.succeeded(1.0, work=1)
    for _ in range(2):
        limit.succeeded(11.0, work=50)
    assert limit.limit == 3


def test_a_refusal_halves() -> None:
    limit = ConcurrencyLimit(jitter=lambda: 0.0)
    now_s = after_rounds(limit, 8, parallel=100)
    assert limit.limit == 9
    for expected in (4, 2, 1, 1):
        now_s += 1
        limit.refused(now_s - 0.5, now_s)
        assert limit.limit == expected
    after_rounds(limit, 1, parallel=100, start_s=now_s)
    assert limit.limit == 2


def test_calls_refused_together_are_one_refusal() -> None:
    limit = ConcurrencyLimit(jitter=lambda: 0.5)
    now_s = after_rounds(limit, 7, parallel=100)
    limit.refused(now_s, now_s + 1)
    resume_s = limit.resume_s
    for late in range(2, 9):
        limit.refused(now_s, now_s + late)
    assert (limit.limit, limit.resume_s) == (4, resume_s)


def test_pauses_grow_to_a_bound_and_end_with_a_success() -> None:
    limit, now_s, pauses = ConcurrencyLimit(jitter=lambda: 1.0), 0.0, list[float]()
    for _ in range(40):
        limit.refused(now_s, now_s)
        pauses.append(limit.resume_s - now_s)
        now_s = limit.resume_s
    assert pauses[:3] == [0.5, 1.0, 2.0]
    assert pauses == sorted(pauses)
    assert set(pauses[10:]) == {10.0}
    limit.started(now_s)
    limit.succeeded(now_s + 1)
    limit.refused(now_s + 2, now_s + 2)
    assert limit.resume_s == now_s + 2.5


def test_pauses_are_drawn_by_chance() -> None:
    pauses = set[float]()
    for _ in range(20):
        limit = ConcurrencyLimit()
        limit.refused(0.0, 0.0)
        assert 0 <= limit.resume_s < 0.5
        pauses.add(limit.resume_s)
    assert len(pauses) > 10


def test_a_fixed_limit_stays_and_still_pauses() -> None:
    limit = ConcurrencyLimit(fixed=5, jitter=lambda: 1.0)
    after_rounds(limit, 20, parallel=100)
    limit.refused(100.0, 100.0)
    assert limit.limit == 5
    assert limit.resume_s == 100.5
