"""A client's call as the work behind it sees it: how long it may take, and whether the client has given up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from .errors import CancelledError, DeadlineError

_NO_END_S = 10 * 365 * 24 * 3600.0
"""gRPC tells a call without a deadline as one of 290 billion years, which no other clock can count."""


class Call:
    """Time left, and a way for gRPC's thread to stop the work.

    Args:
        timeout_s: seconds that the work may take; None, or ten years and more, has no end.
    """

    def __init__(self, timeout_s: float | None = None) -> None:
        self._ends_at = None if timeout_s is None or timeout_s > _NO_END_S else time.monotonic() + timeout_s
        self._lock = threading.Lock()
        self._given_up = False
        self._stop: Callable[[], None] | None = None

    def remaining_ms(self) -> int:
        """Milliseconds left, at least 1; 0 has no end, as in RunOptions.

        Raises:
            DeadlineError: no time is left.
        """
        if self._ends_at is None:
            return 0
        remaining_s = self._ends_at - time.monotonic()
        if remaining_s <= 0:
            raise DeadlineError("Deadline Exceeded")
        return max(1, int(remaining_s * 1000))

    @property
    def given_up(self) -> bool:
        """Whether the client stopped waiting."""
        return self._given_up

    def give_up(self) -> None:
        """Stops the work. Called from any thread, any number of times, also after the end."""
        with self._lock:
            self._given_up = True
            if self._stop is not None:
                stop, self._stop = self._stop, None
                stop()

    @contextmanager
    def stoppable(self, stop: Callable[[], None]) -> Generator[None]:
        """While inside, giving up calls `stop`, once; after it, `stop` is neither running nor called again.

        Raises:
            CancelledError: the client had given up before.
        """
        with self._lock:
            if self._given_up:
                raise CancelledError("Cancelled")
            self._stop = stop
        try:
            yield
        finally:
            with self._lock:
                self._stop = None
