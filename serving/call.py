"""A client's call as the work behind it sees it: how long it may take, and whether somebody wants it to end before."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from .errors import CancelledError, DeadlineError, ServingError

_NO_END_S = 10 * 365 * 24 * 3600.0
"""gRPC tells a call without a deadline as one of 290 billion years, which no other clock can count."""

_SAME_MOMENT_S = 0.1
"""gRPC and we count a deadline on two clocks, and its word that the time is up may come a little before ours."""


class Call:
    """Time left, and a way for another thread to stop the work.

    Args:
        timeout_s: seconds that the work may take; None, or ten years and more, has no end.
    """

    def __init__(self, timeout_s: float | None = None) -> None:
        self._ends_at = None if timeout_s is None or timeout_s > _NO_END_S else time.monotonic() + timeout_s
        self._lock = threading.Lock()
        self._given_up = False
        self._why: ServingError | None = None
        self._stop: Callable[[], None] | None = None

    def remaining_s(self) -> float | None:
        """Seconds left, never below 0; None has no end."""
        return None if self._ends_at is None else max(0.0, self._ends_at - time.monotonic())

    def remaining_ms(self) -> int:
        """Milliseconds left, at least 1; 0 has no end, as in RunOptions.

        Raises:
            DeadlineError: no time is left.
        """
        remaining_s = self.remaining_s()
        if remaining_s is None:
            return 0
        if remaining_s <= 0:
            raise DeadlineError("Deadline Exceeded")
        return max(1, int(remaining_s * 1000))

    @property
    def given_up(self) -> bool:
        """Whether nobody waits for the result any more."""
        return self._given_up

    def give_up(self, why: ServingError | None = None) -> None:
        """Stops the work. Called from any thread, any number of times, also after the end.

        Args:
            why: what the client is told, if the first to give up says it; None where the client gave up itself.
        """
        with self._lock:
            if not self._given_up:
                self._given_up, self._why = True, why
            if self._stop is not None:
                stop, self._stop = self._stop, None
                stop()

    def why(self) -> ServingError:
        """Why the work was stopped: what was said, or that the deadline passed, or that the client cancelled."""
        remaining_s = self.remaining_s()
        if self._why is not None:
            return self._why.again()  # it may be that of many calls
        late = remaining_s is not None and remaining_s < _SAME_MOMENT_S
        return DeadlineError("Deadline Exceeded") if late else CancelledError("Cancelled")

    @contextmanager
    def stoppable(self, stop: Callable[[], None]) -> Generator[None]:
        """While inside, giving up calls `stop`, once; after it, `stop` is neither running nor called again.

        Raises:
            CancelledError: nobody waited for the result any more before it began.
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


class OpenCalls:
    """The calls that are not over yet: so that a server that stops can wait for them, and then end them.

    A call is over when its answer is on its way or its client is gone, not when the work behind it has ended.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls: set[Call] = set()
        self._why: ServingError | None = None

    def opened(self, call: Call) -> None:
        """Notes that a call came; one that comes after the others were given up is so, too."""
        with self._changed:
            self._calls.add(call)
            why = self._why
        if why is not None:
            call.give_up(why)

    def closed(self, call: Call) -> None:
        """Notes that a call is over."""
        with self._changed:
            self._calls.discard(call)
            self._changed.notify_all()

    def __len__(self) -> int:
        """How many there are."""
        with self._changed:
            return len(self._calls)

    def wait_until_none(self, timeout_s: float) -> bool:
        """Whether there are none any more, at the latest after so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._calls, timeout_s)

    def give_up(self, why: ServingError) -> None:
        """Stops the work of them all, and of those that still come."""
        with self._changed:
            self._why = why
            calls = list(self._calls)
        for call in calls:
            call.give_up(why)
