"""Pillow's warnings, kept from whoever embeds the client while a picture is read, and nobody else's.

`warnings.catch_warnings` is not for this: it swaps the filters of the whole process, and two threads in it at once may
leave behind what one of them had swapped in. So one filter is added, and stays, that ignores what a thread warns of
while it is in `silenced`, and nothing else.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Final, cast

_adding: Final = threading.Lock()


class _Here(threading.local):
    depth = 0


_here: Final = _Here()


class _SilencedThread:
    """Stands in a filter where a pattern for the text would: matches any text, in a thread that is silenced."""

    def match(self, _text: str, /) -> bool:
        return _here.depth > 0


_FILTER: Final = ("ignore", _SilencedThread(), Warning, None, 0)


@contextmanager
def silenced() -> Generator[None]:
    """Ignores the warnings of this thread, whatever the filters of the process say of them."""
    filters = cast("list[object]", warnings.filters)
    with _adding:
        if not filters or filters[0] is not _FILTER:  # others put theirs in front, or took all away
            filters.insert(0, _FILTER)
            with suppress(ValueError):
                del filters[filters.index(_FILTER, 1)]
    _here.depth += 1
    try:
        yield
    finally:
        _here.depth -= 1
