"""How a process of ours keeps its memory."""

from __future__ import annotations

import ctypes
from typing import Final

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_THRESHOLD: Final = -3
_LARGEST: Final = 2**30
_PAD: Final = 2**26


def keep_freed_memory() -> None:
    """Lets the process keep the large blocks that it frees, for the next ones; it stays as large as it once had to be.

    As it comes, glibc gives each back to the system and takes the next one from it, page by page. The state of a run at
    512 x 512 pixels is 27 MB, copied several times on its way: on a virtual machine, where pages are dear, carrying it
    took three times as long. Without glibc nothing happens. For processes that are ours alone: not for a library.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or Windows
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGEST)
    mallopt(_M_TRIM_THRESHOLD, _LARGEST)
    mallopt(_M_TOP_PAD, _PAD)
