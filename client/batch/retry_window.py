"""How long a batch bears servers that turn its calls away."""

from __future__ import annotations

from typing import Final

_FINDING_NOBODY_S: Final = 10.0
"""A call that nobody takes comes back sooner, as `channel` gives up connecting after 5 s."""


class Patience:
    """It is used up while there is trouble and no server is at work.

    It has no clock: every event is told with its time, in seconds of any clock that does not go backwards.

    >>> patience = Patience(300.0)
    >>> patience.turned_away(started_s=0.0, now_s=1.0)
    >>> patience.left_s(now_s=101.0)
    200.0

    A call that a server had for a long time, before it went away, was worked on:

    >>> patience.turned_away(started_s=101.0, now_s=901.0)
    >>> patience.left_s(now_s=901.0)
    200.0

    Args:
        seconds: that it lasts.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds: Final = seconds
        self._used_since_s: float | None = None  # moved on by the time that servers worked; None without trouble
        self._worked_until_s = 0.0

    def turned_away(self, started_s: float, now_s: float) -> None:
        """A server did not do a job, because it is busy, absent, or going.

        Args:
            started_s: when the call was sent.
            now_s: when it came back.
        """
        if self._used_since_s is None:
            self._used_since_s = self._worked_until_s = now_s
        elif now_s - started_s > _FINDING_NOBODY_S:
            # Time that several worked at once counts once.
            self._used_since_s += now_s - max(started_s, self._worked_until_s)
            self._worked_until_s = now_s

    def renew(self) -> None:
        """A server answered, well or not, or a job came to an end: the trouble is over."""
        self._used_since_s = None

    def left_s(self, now_s: float) -> float:
        """How long it still lasts; without trouble, for ever."""
        return float("inf") if self._used_since_s is None else self._used_since_s + self._seconds - now_s
