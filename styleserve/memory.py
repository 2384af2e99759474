"""Settings of glibc's `malloc` for a server's process; no effect with another C library.

Not for use in a library: the settings change the whole process. tests/test_memory.py fails once glibc needs none.
"""

from __future__ import annotations

import ctypes
import gc
from typing import Any, Final

# Constants of glibc's malloc.h.
_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_MAX: Final = -4
_M_ARENA_MAX: Final = -8
_NEVER: Final = -1  # as trim threshold; the largest int would trim free memory beyond 2 GiB
_PAD: Final = 2**26


def keep_freed_memory() -> None:
    """Keeps freed blocks in the process for reuse, in one heap for all threads; the process stays at its peak size.

    By default, glibc returns each large block to the system and takes the next one page by page: 600,000 pages for a
    step of 512 x 512 pixels in float32, three tenths of its time on a virtual machine.

    By default, each new thread has a heap. Every version of a model has new threads, so free memory stays in heaps
    without threads: a server grew by 6 MB with each new version of a small model.
    """
    mallopt = _from_glibc("mallopt")
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _NEVER)
        mallopt(_M_TOP_PAD, _PAD)
        mallopt(_M_ARENA_MAX, 1)


def give_back_freed_memory() -> None:
    """Collects reference cycles and returns free memory to the system; for use after a large object is gone.

    Otherwise the memory that loaded a version of a model, about 180 MB for a small one, stays in the process.
    """
    gc.collect()
    malloc_trim = _from_glibc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def _from_glibc(name: str) -> Any | None:  # noqa: ANN401 - a foreign function
    """Function of glibc by name; None with another C library."""
    try:
        return getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):  # another C library, or Windows
        return None
