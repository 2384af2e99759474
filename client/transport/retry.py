"""Retries: number of tries, pauses, and a budget that ends them during an outage.

A pause is drawn with full jitter (Brooker, "Exponential Backoff And Jitter", 2015), so that clients which failed
together do not retry together. The budget is gRPC's retry throttling (proposal A6): retries do not add load to a server
that fails most calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Final

from ..errors import Overloaded, ServerUnavailable, ServiceError, SettingsError
from .forking import PerProcess

if TYPE_CHECKING:
    from random import Random


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Retries of a client. With the defaults, a server that refuses connections is reported in under two seconds.

    Attributes:
        tries: Most calls for one request, including the first; 1 means no retries.
        first_pause_s: Longest pause after the first failure, in seconds.
        factor: Growth of the longest pause with each failure.
        longest_pause_s: Limit of that growth, in seconds.
        budget: Failures that empty the budget, which all calls of a client share; at half of it retries end.
        refill: Amount that a success adds to the budget.

    Raises:
        SettingsError: A value is out of its range.
    """

    tries: int = 4
    first_pause_s: float = 0.2
    factor: float = 2.0
    longest_pause_s: float = 5.0
    budget: float = 20.0
    refill: float = 0.5

    def __post_init__(self) -> None:
        for name, (lowest, highest) in _RANGES.items():
            value = getattr(self, name)
            if not lowest <= value <= highest:  # NaN is in no range
                raise SettingsError(f"{name} of the retries is {value}; it must be from {lowest:g} to {highest:g}")

    def longest_pause_after(self, tries: int) -> float:
        """Longest pause after so many failed tries, in seconds.

        >>> [RetryPolicy().longest_pause_after(tries) for tries in (1, 2, 3, 100)]
        [0.2, 0.4, 0.8, 5.0]
        """
        return min(self.longest_pause_s, self.first_pause_s * self.factor ** (tries - 1))

    def pause_s(self, tries: int, random: Random) -> float:
        """Random pause after so many failed tries, in seconds, up to the longest."""
        return random.uniform(0.0, self.longest_pause_after(tries))


_RANGES: Final = {
    "tries": (1, 100),
    "first_pause_s": (0.0, 3600.0),
    "factor": (1.0, 10.0),
    "longest_pause_s": (0.0, 3600.0),
    "budget": (1.0, 1e6),
    "refill": (0.0, 1e6),
}


class RetryBudget:
    """Tokens that failures take and successes return; safe to use from several threads.

    Args:
        policy: Policy with `budget`, the tokens at the start, and `refill`.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._most = policy.budget
        self._refill = policy.refill
        self._tokens = self._most
        self._lock = PerProcess(Lock)

    def succeeded(self) -> None:
        """Counts a call that was answered."""
        with self._lock.get():
            self._tokens = min(self._most, self._tokens + self._refill)

    def failed(self) -> None:
        """Counts a failure that may be retried."""
        with self._lock.get():
            self._tokens = max(0.0, self._tokens - 1.0)

    @property
    def allows_retry(self) -> bool:
        """Whether more than half of the tokens are left."""
        return self._tokens > self._most / 2


def may_be_retried(failure: ServiceError) -> bool:
    """Whether the same request may succeed a moment later.

    That holds for gRPC's UNAVAILABLE, and for RESOURCE_EXHAUSTED of a full pool or queue, not of memory. A deadline is
    the limit of the caller; other failures would repeat, also those of servers that do not speak gRPC.
    """
    return isinstance(failure, ServerUnavailable | Overloaded)
