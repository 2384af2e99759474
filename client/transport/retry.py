"""When a call is made again: how often, after which pause, and when so much fails that nothing is.

A pause is drawn with full jitter (Brooker, "Exponential Backoff And Jitter", 2015), so that clients which failed
together do not come back together. The budget is gRPC's retry throttling (proposal A6): an outage is not made worse by
everybody's second tries.
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
    """How the client tries again. The defaults tell of a server that refuses connections in under two seconds.

    Attributes:
        tries: most calls for one request, the first included; 1 is no retries.
        first_pause_s: longest pause after the first failure, in seconds.
        factor: by which the longest pause grows with each failure.
        longest_pause_s: over which it does not grow, in seconds.
        budget: failures that empty the budget, shared by all calls of a client; at half of it nothing is tried again.
        refill: what a success puts back.

    Raises:
        SettingsError: a value is out of its range.
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
        """The pause after so many failed tries, in seconds: anything up to the longest."""
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
    """Tokens that failures take and successes give back; safe to use from several threads.

    Args:
        policy: with `budget`, the tokens at the start, and `refill`.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._most = policy.budget
        self._refill = policy.refill
        self._tokens = self._most
        self._lock = PerProcess(Lock)

    def succeeded(self) -> None:
        """Notes a call that was answered."""
        with self._lock.get():
            self._tokens = min(self._most, self._tokens + self._refill)

    def failed(self) -> None:
        """Notes a call that failed in a way that might be tried again."""
        with self._lock.get():
            self._tokens = max(0.0, self._tokens - 1.0)

    @property
    def allows_retry(self) -> bool:
        """Whether more than half of the tokens are left."""
        return self._tokens > self._most / 2


def may_be_retried(failure: ServiceError) -> bool:
    """Whether the same request may succeed a moment later.

    That is gRPC's UNAVAILABLE, and RESOURCE_EXHAUSTED where a pool or a queue is full and not a memory. A deadline is
    what the caller can wait for, and all else fails again. So does what does not speak gRPC at all.
    """
    return isinstance(failure, ServerUnavailable | Overloaded)
