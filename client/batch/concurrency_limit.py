"""How many calls a server is given at once, from how it answers: additive increase, multiplicative decrease.

The rule by which TCP finds the bandwidth of a path nobody told it (Chiu and Jain 1989, "Analysis of the Increase and
Decrease Algorithms for Congestion Avoidance"), with one thing added: TCP grows until something is lost, and a server
that is merely full loses nothing. It only answers each call later, until deadlines pass. So one more call has to pay.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

MOST_CALLS: Final = 32
"""At once, to one server: well over what TensorFlow Serving takes on most machines (four calls a core)."""

_WORTHWHILE: Final = 0.1
"""The part of a perfect gain (with the n-th call, 1 / (n - 1)) that one more call must bring to stay."""
_LONGEST_HOLD_ROUNDS: Final = 16
_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 10.0
_RANDOM: Final = random.SystemRandom()


class ConcurrencyLimit:
    """The number of calls at once to one server, and when the next one may start.

    It has no clock: every event is told with its time, in seconds of any clock that does not go backwards.

    >>> limit = ConcurrencyLimit()
    >>> limit.started(now_s=0.0)
    >>> limit.succeeded(now_s=1.0)
    >>> limit.limit
    2
    >>> limit.refused(started_s=1.0, now_s=2.0)
    >>> limit.limit
    1

    Args:
        fixed: calls at once, whatever the server answers; None to find out.
        most: calls at once, where they are found out.
        jitter: a number in [0, 1), by chance: many clients that were refused together must not come back together.
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
        self._rate_before = 0.0  # work per second with one call fewer; 0 where it is not known
        self._hold = 0  # rounds until one more is tried
        self._next_hold = 1

    @property
    def limit(self) -> int:
        """Calls at once, at least 1."""
        return self._limit

    @property
    def resume_s(self) -> float:
        """When the next call may start."""
        return self._resume_s

    def started(self, now_s: float) -> None:
        """A call was sent."""
        if self._round_start_s is None:
            self._round_start_s = now_s

    def succeeded(self, now_s: float, work: float = 1.0) -> None:
        """A call came back with a result.

        Args:
            now_s: when.
            work: how much it was, in any unit; calls of different size make throughput in calls meaningless.
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
        """The server had too much to do, or was not there.

        Args:
            started_s: when the call was sent. Calls that were under way together are refused together: that is one
                refusal, not as many as there were calls.
            now_s: when.
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
