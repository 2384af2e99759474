"""Time budget for retrying while no server accepts work."""

from __future__ import annotations

import math
from typing import Final

_CONNECTING_S: Final = 10.0
"""Longest call that no server accepted, as `channel` stops connecting after 5 s."""


class RetryWindow:
    """Time that is left for retries. It passes while calls are rejected and no server works.

    There is no clock inside: every event comes with its time, in seconds of a monotonic clock.

    >>> window = RetryWindow(300.0)
    >>> window.rejected(started_s=0.0, now_s=1.0)
    >>> window.left_s(now_s=101.0)
    200.0

    A server worked on a call that was rejected late:

    >>> window.rejected(started_s=101.0, now_s=901.0)
    >>> window.left_s(now_s=901.0)
    200.0

    Args:
        budget_s: Length of the window, in seconds.
    """

    def __init__(self, budget_s: float) -> None:
        self._budget_s: Final = budget_s
        self._opened_s: float | None = None  # later by the time that servers worked; None without rejections
        self._worked_until_s = 0.0

    def rejected(self, started_s: float, now_s: float) -> None:
        """Records a call that a server rejected: it is busy, absent, or shutting down.

        Args:
            started_s: Time when the call was sent.
            now_s: Time when it returned.
        """
        if self._opened_s is None:
            self._opened_s = self._worked_until_s = now_s
        elif now_s - started_s > _CONNECTING_S:
            # Time of several calls at once counts once.
            self._opened_s += now_s - max(started_s, self._worked_until_s)
            self._worked_until_s = now_s

    def reset(self) -> None:
        """Closes the window, as a server answered or a job ended."""
        self._opened_s = None

    def left_s(self, now_s: float) -> float:
        """Time that is left, in seconds; infinite without rejections."""
        return math.inf if self._opened_s is None else self._opened_s + self._budget_s - now_s
