"""Filter for Pillow's warnings about damaged metadata, in the threads that read a picture and only there.

`warnings.catch_warnings` swaps the filters of the whole process: two threads that overlap in it may leave those of one
behind. Here, one filter is added and stays. It ignores warnings only in a thread that is inside `ignore_warnings`.
`test_pictures_read_at_once_leave_the_warnings_of_the_process_alone` fails if `warnings` changes how it uses filters.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Final, cast

_lock: Final = threading.Lock()


class _ThreadState(threading.local):
    depth = 0


_state: Final = _ThreadState()


class _InIgnoringThread:
    """Pattern for the text of a warning that matches any text, in a thread that ignores warnings."""

    def match(self, _text: str, /) -> bool:
        return _state.depth > 0


_FILTER: Final = ("ignore", _InIgnoringThread(), Warning, None, 0)


@contextmanager
def ignore_warnings() -> Generator[None]:
    """Ignores the warnings of this thread, under any filters of the process."""
    filters = cast("list[object]", warnings.filters)
    with _lock:
        if not filters or filters[0] is not _FILTER:  # another filter was put in front, or all were removed
            filters.insert(0, _FILTER)
            with suppress(ValueError):
                del filters[filters.index(_FILTER, 1)]
    _state.depth += 1
    try:
        yield
    finally:
        _state.depth -= 1
