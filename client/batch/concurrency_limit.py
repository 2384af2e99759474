"""Limit of calls at once to a server: additive increase, multiplicative decrease.

This is TCP's congestion control (Chiu and Jain 1989, "Analysis of the Increase and Decrease Algorithms for Congestion
Avoidance") with one addition. TCP grows until packets are lost; a full server loses no call, it only answers later.
So one more call stays only if it increases the throughput.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

MOST_CALLS: Final = 32
"""Most calls at once to one server; TensorFlow Serving takes four for each core."""

_WORTHWHILE: Final = 0.1
"""Share of the ideal gain in throughput, 1 / (n - 1) for the n-th call, that one more call needs to stay."""
_LONGEST_HOLD_ROUNDS: Final = 16
_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 10.0
_RANDOM: Final = random.SystemRandom()


class ConcurrencyLimit:
    """Number of calls at once to one server, and time of the next one.

    There is no clock inside: every event comes with its time, in seconds of a monotonic clock.

    >>> limit = ConcurrencyLimit()
    >>> limit.started(now_s=0.0)
    >>> limit.succeeded(now_s=1.0)
    >>> limit.limit
    2
    >>> limit.refused(started_s=1.0, now_s=2.0)
    >>> limit.limit
    1

    Args:
        fixed: Fixed number of calls at once; None adapts it.
        most: Most calls at once, if adapted.
        jitter: Random number in [0, 1), so that clients that were refused together do not return together.
    """

    def __init__(
        self,
        *,
        fixed: int | None = None,
        most: int = MOST_CALLS,
        jitter: Callable[[], float] = _RANDOM.random,
    ) -> None:
        self._adapts: Final = fixed is None
        self._most: Final = most
        self._jitter: Final = jitter
        self._limit = 1 if fixed is None else fixed
        self._resume_s = float("-inf")
        self._refused_s = float("-inf")
        self._refusals = 0
        self._round_start_s: float | None = None
        self._round_calls = 0
        self._round_work = 0.0
        self._rate_before = 0.0  # work per second with one call fewer; 0 if unknown
        self._hold = 0  # rounds until one more call is tried
        self._next_hold = 1

    @property
    def limit(self) -> int:
        """Calls at once, at least 1."""
        return self._limit

    @property
    def resume_s(self) -> float:
        """Time from which the next call may start."""
        return self._resume_s

    def started(self, now_s: float) -> None:
        """Records that a call was sent."""
        if self._round_start_s is None:
            self._round_start_s = now_s

    def succeeded(self, now_s: float, work: float = 1.0) -> None:
        """Records a call that succeeded.

        Args:
            now_s: Time of its reply.
            work: Work of the call, in any unit, as calls differ in size.
        """
        self._refusals = 0
        self._round_calls += 1
        self._round_work += work
        if self._adapts and self._round_calls >= self._limit and self._round_start_s is not None:
            elapsed_s = now_s - self._round_start_s
            if elapsed_s > 0:
                self._end_round(self._round_work / elapsed_s)
                self._new_round(now_s)

    def refused(self, started_s: float, now_s: float) -> None:
        """Records a call that a busy or absent server refused.

        Args:
            started_s: Time when the call was sent. Refusals of calls that ran together count once.
            now_s: Time of the refusal.
        """
        if started_s < self._refused_s:
            return
        self._refused_s = now_s
        self._refusals += 1
        # Full jitter: the whole range is drawn from, not only its upper end.
        ceiling_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(self._refusals, 30))
        self._resume_s = now_s + self._jitter() * ceiling_s
        if self._adapts:
            self._limit = max(1, self._limit // 2)
            self._rate_before = 0.0
            self._hold = 0
        self._new_round(None)

    def _end_round(self, rate: float) -> None:
        if self._rate_before and rate < self._rate_before * (1 + _WORTHWHILE / (self._limit - 1)):
            self._limit -= 1
            self._rate_before = 0.0
            self._hold = self._next_hold
            self._next_hold = min(2 * self._next_hold, _LONGEST_HOLD_ROUNDS)
        elif self._hold:
            self._hold -= 1
        elif self._limit < self._most:
            self._next_hold = 1 if self._rate_before else self._next_hold
            self._rate_before = rate
            self._limit += 1

    def _new_round(self, start_s: float | None) -> None:
        self._round_start_s = start_s
        self._round_calls = 0
        self._round_work = 0.0
