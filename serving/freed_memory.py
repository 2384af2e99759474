"""Gives memory that was freed back to the system.

The C library keeps what a version took to load, for the next one: about 180 MB of a small model. And since each session
has threads of its own, and each thread a heap, the next one often takes it elsewhere.
"""

from __future__ import annotations

import ctypes
import gc


def give_back() -> None:
    """Frees what only a cycle keeps, and hands back what is free: the latter with glibc alone."""
    gc.collect()
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library, or another system
        return
    trim(0)
