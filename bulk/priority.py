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
"""Lowest priority there is."""
_PROC: Final = Path("/proc")


def lower_ray() -> None:
    """Lowers the priority of Ray's processes that this process has started. Linux only.

    They are its children, and theirs; servers, which workers have started by now, are below these.
    """
    import ray  # noqa: PLC0415 - its environment is set before its first import

    names = (b"ray::", os.fsencode(Path(ray.__file__).parent))
    for child in _children(os.getpid()):
        for process in (child, *_children(child)):
            for thread in _threads(process, names):
                with suppress(OSError):  # it has ended
                    os.setpriority(os.PRIO_PROCESS, thread, _LOWER)


def _threads(process: int, names: tuple[bytes, ...]) -> list[int]:
    """Threads of a process whose command has one of the names."""
    folder = _PROC / str(process)
    try:
        command = (folder / "cmdline").read_bytes()
        return [int(thread.name) for thread in (folder / "task").iterdir() if any(name in command for name in names)]
    except OSError:
        return []


def _children(process: int) -> Iterator[int]:
    for thread in (_PROC / str(process) / "task").glob("*/children"):
        with suppress(OSError):
            yield from map(int, thread.read_text().split())
