"""How a process of ours keeps its memory: what glibc's `malloc` is told. With another C library nothing happens."""

from __future__ import annotations

import ctypes
import gc
from typing import Any, Final

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_MAX: Final = -4
_M_ARENA_MAX: Final = -8
_NEVER: Final = -1  # of the trim threshold; the largest int would trim what is free beyond 2 GiB
_PAD: Final = 2**26


def keep_freed_memory() -> None:
    """Lets the process keep the large blocks that it frees, for the next ones; it stays as large as it once had to be.

    As it comes, glibc gives each back to the system and takes the next one from it, page by page: 600,000 pages for a
    step of 512 x 512 pixels in float32. On a virtual machine, where pages are dear, they were three tenths of its time.

    And all threads share one heap. As it comes, each new thread has one of its own; every version of a model has
    threads of its own, so with each swap more of what is free lies in heaps that nobody uses: a server grew by 6 MB a
    swap of a small model.

    For processes that are ours alone: not for a library.
    """
    mallopt = _from_glibc("mallopt")
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _NEVER)
        mallopt(_M_TOP_PAD, _PAD)
        mallopt(_M_ARENA_MAX, 1)


def give_back_freed_memory() -> None:
    """Frees what only a cycle keeps, and hands what is free to the system: once, when something large is gone for good.

    What a version of a model took to load, about 180 MB of a small one, is kept for the next one otherwise.
    """
    gc.collect()
    malloc_trim = _from_glibc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def _from_glibc(name: str) -> Any | None:  # noqa: ANN401 - a foreign function
    try:
        return getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):  # another C library, or Windows
        return None
