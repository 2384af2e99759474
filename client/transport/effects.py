"""What the client does, apart from how it waits: a flow yields actions, and a driver performs them.

Each operation is written once, as a generator without input or output of its own. It yields an `Action`, and is sent
what came of it, or has what went wrong thrown into it. `connection` has two drivers: one blocks, the other awaits. A
test may be a third.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True)
class Call:
    """Call a method of the server; what comes of it is the reply, as bytes.

    Attributes:
        method: path of the method.
        request: a serialised message.
        timeout_s: deadline of this one call.
        metadata: keys and values that go with it.
    """

    method: str
    request: bytes
    timeout_s: float
    metadata: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Sleep:
    """Let so many seconds pass."""

    seconds: float


@dataclass(frozen=True)
class Work:
    """Call a function that takes a while; what comes of it is what it returns."""

    function: Callable[[], object]


Action: TypeAlias = Call | Sleep | Work
Flow: TypeAlias = Generator[Action, Any, _T]
"""Returns a `_T` in the end."""


def work(function: Callable[[], _T]) -> Flow[_T]:
    """What the function returns, which takes a while: an event loop must not wait for it."""
    result: _T = yield Work(function)
    return result
