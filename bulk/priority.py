"""Priority: on one machine, Ray's processes give way to the servers.

Each of its dozen processes wakes a hundred times a second, and whenever one interrupts a thread of a server, the other
threads wait for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_LOWER: Final = 19
_PROC: Final = Path("/proc")


def lower_this_thread() -> None:
    """Lowers the priority of the calling thread, and of those that it will start. Linux only."""
    if _PROC.is_dir():
        os.setpriority(os.PRIO_PROCESS, 0, _LOWER)  # of a thread, on Linux


def lower_ray() -> None:
    """Lowers the priority of Ray's processes that this process has started. Linux only.

    They are its children, and theirs; servers, which workers have started by now, are below these.
    """
    for child in _children(os.getpid()):
        for process in (child, *_children(child)):
            with suppress(OSError):  # it has ended
                if b"ray" in (_PROC / str(process) / "cmdline").read_bytes():
                    for thread in (_PROC / str(process) / "task").iterdir():
                        os.setpriority(os.PRIO_PROCESS, int(thread.name), _LOWER)


def _children(process: int) -> Iterator[int]:
    for thread in (_PROC / str(process) / "task").glob("*/children"):
        with suppress(OSError):
            yield from map(int, thread.read_text().split())
