"""Values of one process, such as locks, channels and random generators: a forked child makes its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, Generic, TypeVar

_T = TypeVar("_T")

_generation = 0


def _forked() -> None:
    global _generation  # noqa: PLW0603 - the fork itself is global to the process
    _generation += 1


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_forked)


def is_forked() -> bool:
    """Whether this process was forked after this module was imported."""
    return _generation > 0


class PerProcess(Generic[_T]):
    """A value that a forked child makes again at first use; safe to use from several threads.

    In the child, a lock that another thread held during the fork stays locked, and threads and connections are gone.
    The inherited value is kept but not used: closing a gRPC channel needs its threads.

    Args:
        make: Returns a new value. Several threads may call it at once; one of the values is used.
    """

    def __init__(self, make: Callable[[], _T]) -> None:
        self._make: Final = make
        self._values: Final[dict[int, _T]] = {_generation: make()}

    def get(self) -> _T:
        """The value of this process."""
        generation = _generation
        if generation not in self._values:
            self._values.setdefault(generation, self._make())  # atomic: a lock could stay locked
        return self._values[generation]
