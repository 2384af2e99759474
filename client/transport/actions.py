"""Actions of the client, apart from the way it waits for them.

Each operation is written once, as a generator that does no input or output itself. It yields an `Action`, and receives
its result, or its exception. `drivers` has a blocking driver and one for event loops; tests have others.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True)
class Call:
    """One call of a method of the server; its result is the reply, as bytes.

    Attributes:
        method: Path of the method.
        request: Serialised message.
        timeout_s: Deadline of the call.
        metadata: Keys and values to send with it.
    """

    method: str
    request: bytes
    timeout_s: float
    metadata: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Sleep:
    """A pause, in seconds."""

    seconds: float


@dataclass(frozen=True)
class Blocking:
    """A call of a function that takes long; its result is what the function returns."""

    function: Callable[[], object]


Action: TypeAlias = Call | Sleep | Blocking
Operation: TypeAlias = Generator[Action, Any, _T]
"""Generator of actions that returns a `_T`."""


def run_blocking(function: Callable[[], _T]) -> Operation[_T]:
    """Result of a function that takes long; an event loop runs it in a thread."""
    result: _T = yield Blocking(function)
    return result
