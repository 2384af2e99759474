"""Events for open pages: the latest event of each subject, with a number that grows.

An event holds all of its subject, so a page that was away needs the latest one alone. Memory is bound by the number of
subjects, not by pages or events.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True)
class Event:
    """An event.

    Attributes:
        number: Its number; later events have larger ones, also after a restart.
        kind: Kind of its subject: "run", "server" or "history".
        data: Facts about the subject, for JSON.
    """

    number: int
    kind: str
    data: Mapping[str, Any]


class EventHub:
    """Events of a studio, published and followed in one event loop."""

    def __init__(self) -> None:
        self._number = time.time_ns() // 1_000_000
        self._latest: Final[dict[str, Event]] = {}
        self._changed = asyncio.Event()
        self._closed = False

    @property
    def number(self) -> int:
        """Number of the latest event."""
        return self._number

    def publish(self, kind: str, subject: str, data: Mapping[str, Any]) -> None:
        """Replaces the latest event of a subject."""
        self._number += 1
        self._latest[f"{kind} {subject}"] = Event(self._number, kind, data)
        self._changed.set()
        self._changed = asyncio.Event()

    def forget(self, kind: str, subject: str) -> None:
        """Drops the event of a subject that is gone."""
        self._latest.pop(f"{kind} {subject}", None)

    async def follow(self, after: int) -> AsyncIterator[Event]:
        """Latest events after a number, then each new one; a slow reader skips to the latest of each subject."""
        while not self._closed:
            changed = self._changed
            newer = sorted((event for event in self._latest.values() if event.number > after), key=_number)
            for event in newer:
                after = event.number
                yield event
            if not newer:
                await changed.wait()

    def close(self) -> None:
        """Ends all followers."""
        self._closed = True
        self._changed.set()


def _number(event: Event) -> int:
    return event.number
