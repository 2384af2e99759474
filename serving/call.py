"""Calls of clients as the work behind them sees them: time left and cancellation."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from .errors import CancelledError, DeadlineError, ServingError

_NO_DEADLINE_S = 10 * 365 * 24 * 3600.0
"""gRPC gives a call without a deadline 290 billion years, more than other clocks can count."""

_CLOCK_TOLERANCE_S = 0.1
"""gRPC has a clock of its own, and may report a passed deadline a little before ours."""


class Call:
    """A call with its deadline, which any thread can cancel.

    Args:
        timeout_s: Seconds until the deadline; None, or ten years and more, for no deadline.
    """

    def __init__(self, timeout_s: float | None = None) -> None:
        self._deadline = None if timeout_s is None or timeout_s > _NO_DEADLINE_S else time.monotonic() + timeout_s
        self._lock = threading.Lock()
        self._cancelled = False
        self._reason: ServingError | None = None
        self._on_cancel: Callable[[], None] | None = None

    def remaining_s(self) -> float | None:
        """Seconds left, never below 0; None without a deadline."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def remaining_ms(self) -> int:
        """Milliseconds left, at least 1; 0 without a deadline, as in RunOptions.

        Raises:
            DeadlineError: No time is left.
        """
        remaining_s = self.remaining_s()
        if remaining_s is None:
            return 0
        if remaining_s <= 0:
            raise DeadlineError("Deadline Exceeded")
        return max(1, int(remaining_s * 1000))

    @property
    def cancelled(self) -> bool:
        """Whether the call was cancelled."""
        return self._cancelled

    def cancel(self, reason: ServingError | None = None) -> None:
        """Cancels the call and its running work. Thread-safe; later calls, and calls after the end, change nothing.

        Args:
            reason: Error for the client; None where the client itself cancelled, or its deadline passed.
        """
        with self._lock:
            if not self._cancelled:
                self._cancelled, self._reason = True, reason
            if self._on_cancel is not None:
                on_cancel, self._on_cancel = self._on_cancel, None
                on_cancel()

    def error(self) -> ServingError:
        """Error of a cancelled call: the reason given, else that the deadline passed or the client cancelled."""
        if self._reason is not None:
            return self._reason.copy()  # many calls may share it
        remaining_s = self.remaining_s()
        late = remaining_s is not None and remaining_s < _CLOCK_TOLERANCE_S
        return DeadlineError("Deadline Exceeded") if late else CancelledError("Cancelled")

    @contextmanager
    def on_cancel(self, callback: Callable[[], None]) -> Generator[None]:
        """Context in which a cancellation runs `callback`, once. On exit the callback has ended, or never runs.

        Raises:
            CancelledError: The call was cancelled before.
        """
        with self._lock:
            if self._cancelled:
                raise CancelledError("Cancelled")
            self._on_cancel = callback
        try:
            yield
        finally:
            with self._lock:
                self._on_cancel = None


class ActiveCalls:
    """Set of calls without a response yet. A server waits for them to end, and cancels the rest. Thread-safe.

    A call leaves the set when its response is sent or its client is gone, also while its work still runs.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls: set[Call] = set()
        self._reason: ServingError | None = None

    def add(self, call: Call) -> None:
        """Adds a call, and cancels it if `cancel_all` was called before."""
        with self._changed:
            self._calls.add(call)
            reason = self._reason
        if reason is not None:
            call.cancel(reason)

    def remove(self, call: Call) -> None:
        """Removes a call."""
        with self._changed:
            self._calls.discard(call)
            self._changed.notify_all()

    def __len__(self) -> int:
        """Number of calls."""
        with self._changed:
            return len(self._calls)

    def wait_until_empty(self, timeout_s: float) -> bool:
        """Whether the set is empty, at the latest after the timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._calls, timeout_s)

    def cancel_all(self, reason: ServingError) -> None:
        """Cancels all calls, and those added later."""
        with self._changed:
            self._reason = reason
            calls = list(self._calls)
        for call in calls:
            call.cancel(reason)
