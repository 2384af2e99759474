"""Signals that stop a command: SIGINT (Ctrl-C), SIGTERM and SIGHUP, handled alike."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

WAKE_S: Final = 1.0
"""Longest sleep of the main thread, in seconds: Python may miss a signal that arrives just before it sleeps, until it
wakes."""

_HANDLED: Final = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # Windows has no SIGHUP


class Stopped(KeyboardInterrupt):
    """A command was stopped by a signal.

    Attributes:
        number: Number of the signal.
    """

    def __init__(self, text: str, number: int) -> None:
        super().__init__(text, number)
        self.number: Final = number

    def __str__(self) -> str:
        return str(self.args[0])


def signal_number(error: KeyboardInterrupt) -> int:
    """Number of the signal that caused the exception."""
    return error.number if isinstance(error, Stopped) else signal.SIGINT


def stop_reason(error: KeyboardInterrupt) -> str:
    """The signal in words.

    >>> stop_reason(KeyboardInterrupt()), stop_reason(Stopped("", signal.SIGTERM))
    ('stopped with Ctrl-C', 'stopped by SIGTERM')
    """
    number = signal_number(error)
    return "stopped with Ctrl-C" if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}"


@contextmanager
def stoppable() -> Generator[None]:
    """Raises `Stopped` in the main thread when one of the signals arrives, unless the program handles it already."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {}
    for number in _HANDLED:
        if signal.getsignal(number) == signal.SIG_DFL:
            before[number] = signal.signal(number, _raise)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise(number: int, _frame: FrameType | None) -> None:
    raise Stopped("", number)
