"""Queue of Predict calls: admission up to a limit, then waiting, then refusal.

A running call cannot be paused, so fairness is a matter of admission:

- A quarter of the running limit, and at least one of two, is reserved for short calls, and so is a quarter of the
  waiting limit. Long calls alone never make a short call wait, or be refused.
- Short and long calls that wait for the same place are admitted alternately, each kind in order of arrival.
- A call waits until its memory is free, and the calls behind it wait with it. One that needs more memory than there is
  is refused.

Running calls share the processors by TensorFlow's threads.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..call import Call
from ..errors import CancelledError, MemoryLimitError, OverloadedError, ServingError

FULL = "Server Threadpool Exhausted"
"""TensorFlow Serving's text, by which clients recognise that a retry may succeed."""


@dataclass(eq=False)
class _Entry:
    """A call in the queue. `decided` is set when it is admitted or refused."""

    short: bool
    memory: int
    admitted: bool = False
    refusal: ServingError | None = None
    decided: threading.Event = field(default_factory=threading.Event)


class RequestQueue:
    """Queue that admits calls up to a limit. Thread-safe.

    Args:
        running_limit: Most calls that run at a time.
        waiting_limit: Most calls that wait at a time; with 0 no call waits.
        memory: Memory of the calls that run, in bytes; a single call may take all of it.
    """

    def __init__(self, running_limit: int, waiting_limit: int, memory: float = math.inf) -> None:
        self._lock = threading.Lock()
        self._running_limit = running_limit
        self._waiting_limit = waiting_limit
        self._memory_limit = memory
        self._memory = 0
        self._running = {True: 0, False: 0}  # by whether they are short
        self._waiting: dict[bool, deque[_Entry]] = {True: deque(), False: deque()}
        self._long_is_next = False
        self._closed: ServingError | None = None

    @property
    def running(self) -> int:
        """Number of calls that run."""
        return sum(self._running.values())

    @property
    def waiting(self) -> int:
        """Number of calls that wait."""
        return sum(len(entries) for entries in self._waiting.values())

    def close(self, refusal: ServingError) -> None:
        """Refuses the calls that wait and all later ones; running calls continue."""
        with self._lock:
            self._closed = refusal
            for entries in self._waiting.values():
                for entry in entries:
                    entry.refusal = refusal
                    entry.decided.set()
                entries.clear()

    @contextmanager
    def admit(self, call: Call, *, short: bool, memory: int = 0) -> Generator[None]:
        """Context of a running call; waits for admission on entry.

        Args:
            call: Call that leaves the queue at once if it is cancelled or its deadline passes.
            short: Whether the call is a short one.
            memory: Memory of the call, in bytes.

        Raises:
            MemoryLimitError: The call needs more memory than all calls may take.
            OverloadedError: The limits for calls of this kind are reached.
            ServingError: The queue was closed, or the call was cancelled.
        """
        entry = self._enter(short, memory)
        try:
            _wait(entry, call)
            yield
        finally:
            self._leave(entry)

    def _enter(self, short: bool, memory: int) -> _Entry:
        if memory > self._memory_limit:
            needed, allowed = (f"{size / 2**30:.3g} GiB" for size in (memory, self._memory_limit))
            raise MemoryLimitError(
                f"The call may need {needed} of memory; this server has {allowed} for its calls. A model that is "
                "exported with less --memory paints large pictures in tiles."
            )
        entry = _Entry(short, memory)
        with self._lock:
            if self._closed is not None:
                raise self._closed.copy()
            self._waiting[short].append(entry)
            self._admit_next()
            if not entry.admitted and self._is_over_limit(short):
                self._waiting[short].pop()
                raise OverloadedError(FULL)
        return entry

    def _is_over_limit(self, short: bool) -> bool:
        """Whether the last call that came is one too many."""
        too_many_long = not short and len(self._waiting[False]) > long_limit(self._waiting_limit)
        return too_many_long or self.waiting > self._waiting_limit

    def _leave(self, entry: _Entry) -> None:
        with self._lock:
            if entry.admitted:
                self._running[entry.short] -= 1
                self._memory -= entry.memory
            elif entry in self._waiting[entry.short]:
                self._waiting[entry.short].remove(entry)
            self._admit_next()

    def _admit_next(self) -> None:
        while self.running < self._running_limit and (short := self._next_kind()) is not None:
            entry = self._waiting[short][0]
            if self._memory + entry.memory > self._memory_limit:
                return
            self._waiting[short].popleft()
            self._long_is_next = short and self._may_run_long
            self._memory += entry.memory
            self._running[short] += 1
            entry.admitted = True
            entry.decided.set()

    def _next_kind(self) -> bool | None:
        """Whether the call that is admitted next is a short one; None if no call waits that may run."""
        if self._waiting[True] and not (self._may_run_long and self._long_is_next):
            return True
        return False if self._may_run_long else None

    @property
    def _may_run_long(self) -> bool:
        return bool(self._waiting[False]) and self._running[False] < long_limit(self._running_limit)


def long_limit(limit: int) -> int:
    """Most long calls under a limit for all calls; the rest is reserved for short calls.

    >>> [long_limit(limit) for limit in (0, 1, 2, 4, 8, 16)]
    [0, 1, 1, 3, 6, 12]
    """
    return limit if limit <= 1 else limit - max(1, limit // 4)


def _wait(entry: _Entry, call: Call) -> None:
    try:
        with call.on_cancel(entry.decided.set):
            entry.decided.wait(call.remaining_s())
    except CancelledError:
        raise call.error() from None
    if entry.refusal is not None:
        raise entry.refusal.copy()
    if not entry.admitted or call.cancelled:  # or both at the same moment
        raise call.error()
