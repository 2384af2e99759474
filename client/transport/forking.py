"""Values that belong to one process: locks, channels, random generators. A forked child makes its own."""

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
    """A value that is made anew at its first use in a forked child; safe to use from several threads.

    A lock that another thread holds during the fork stays locked in the child; threads and connections are gone there.
    The inherited value is kept, but never used: for a gRPC channel even closing it would need its lost threads.

    Args:
        make: returns a new value. Several threads that come at once may call it more than once; one value is used.
    """

    def __init__(self, make: Callable[[], _T]) -> None:
        self._make: Final = make
        self._values: Final[dict[int, _T]] = {_generation: make()}

    def get(self) -> _T:
        """The value of this process."""
        generation = _generation
        if generation not in self._values:
            self._values.setdefault(generation, self._make())  # atomic, as a lock could be one that stays locked
        return self._values[generation]
