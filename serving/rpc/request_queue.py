"""Whose turn it is: so many calls run, so many wait, and the next one is refused.

A running call cannot be paused, so what can be fair is the order in which calls begin, and what they leave free:

- Of two slots or more, a quarter (at least one) is never given to a long call, and neither is that of the places where
  calls wait. So a short call waits for short calls alone, and is refused for them alone, however many long ones there
  are.
- Where both wait for the same slot, short and long ones take turns, each kind in the order in which it came. So neither
  keeps the other out, and where there is a single slot a short call has at most one long one before it.

Calls that run at the same time share the processors; that is left to TensorFlow's threads.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..call import Call
from ..errors import CancelledError, OverloadedError, ServingError

FULL = "Server Threadpool Exhausted"
"""TensorFlow Serving's own text, by which clients know that a later try may succeed."""


@dataclass(eq=False)
class _Ticket:
    """A call that wants a slot. `called` is set when it has one, and when it will get none."""

    short: bool
    slot: int | None = None
    refusal: ServingError | None = None
    called: threading.Event = field(default_factory=threading.Event)


class Turns:
    """Gives slots to calls. All methods may be called from any thread.

    Args:
        slots: calls that run at a time.
        places: calls that wait at a time; with 0 nothing waits.
    """

    def __init__(self, slots: int, places: int) -> None:
        self._lock = threading.Lock()
        self._free = list(reversed(range(slots)))
        self._places = places
        self._most_long = most_long(slots)
        self._most_long_waiting = most_long(places)
        self._slots = slots
        self._running_long = 0
        self._waiting: dict[bool, deque[_Ticket]] = {True: deque(), False: deque()}
        self._longs_turn = False
        self._closed: ServingError | None = None

    @property
    def running(self) -> int:
        """Calls that have a slot."""
        return self._slots - len(self._free)

    @property
    def waiting(self) -> int:
        """Calls that wait for one."""
        return sum(len(lane) for lane in self._waiting.values())

    def close(self, refusal: ServingError) -> None:
        """Gives no more slots: calls that wait, and those that come, are refused; those that run go on."""
        with self._lock:
            self._closed = refusal
            for lane in self._waiting.values():
                for ticket in lane:
                    ticket.refusal = refusal
                    ticket.called.set()
                lane.clear()

    @contextmanager
    def slot(self, call: Call, *, short: bool) -> Generator[int]:
        """A slot, below `slots` and nobody else's, when it is the call's turn.

        Args:
            call: leaves at once, and never runs, if it is given up or its time is up before.
            short: whether the call is a short one.

        Raises:
            OverloadedError: all slots and places are taken, or all that long calls may have.
            ServingError: as `close` said, or because the call was given up.
        """
        ticket = self._enter(short)
        try:
            slot = _wait(ticket, call)
            yield slot
        finally:
            self._leave(ticket)

    def _enter(self, short: bool) -> _Ticket:
        ticket = _Ticket(short)
        with self._lock:
            if self._closed is not None:
                raise self._closed.again()
            self._waiting[short].append(ticket)
            self._give()
            if ticket.slot is None and not self._has_room(short):
                self._waiting[short].pop()
                raise OverloadedError(FULL)
        return ticket

    def _has_room(self, short: bool) -> bool:
        """Whether there is a place for the last one that came."""
        return self.waiting <= self._places and (short or len(self._waiting[False]) <= self._most_long_waiting)

    def _leave(self, ticket: _Ticket) -> None:
        with self._lock:
            if ticket.slot is not None:
                self._free.append(ticket.slot)
                self._running_long -= not ticket.short
            elif ticket in self._waiting[ticket.short]:
                self._waiting[ticket.short].remove(ticket)
            self._give()

    def _give(self) -> None:
        while self._free and (ticket := self._next()):
            ticket.slot = self._free.pop()
            self._running_long += not ticket.short
            ticket.called.set()

    def _next(self) -> _Ticket | None:
        short = bool(self._waiting[True])
        long = bool(self._waiting[False]) and self._running_long < self._most_long
        if short and not (long and self._longs_turn):
            self._longs_turn = long
            return self._waiting[True].popleft()
        if long:
            self._longs_turn = False
            return self._waiting[False].popleft()
        return None


def most_long(slots: int) -> int:
    """How many of these slots, or places, long calls may hold at a time.

    >>> [most_long(slots) for slots in (0, 1, 2, 4, 8, 16)]
    [0, 1, 1, 3, 6, 12]
    """
    return slots if slots <= 1 else slots - max(1, slots // 4)


def _wait(ticket: _Ticket, call: Call) -> int:
    try:
        with call.stoppable(ticket.called.set):
            ticket.called.wait(call.remaining_s())
    except CancelledError:
        raise call.why() from None
    if ticket.refusal is not None:
        raise ticket.refusal.again()
    # A call that was given up at the moment of its turn does not begin, either.
    if ticket.slot is None or call.given_up:
        raise call.why()
    return ticket.slot
