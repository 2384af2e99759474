"""Memory of processes, from Linux' /proc, and its growth over many requests."""

from __future__ import annotations

import re
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Final

from .results import Value
from .timing import seconds

_ROWS: Final = 10


def resident_mb(pid: int) -> float | None:
    """Resident memory of a process, in MB; None without /proc."""
    return _field(Path(f"/proc/{pid}/status"), "VmRSS")


def memory_rows(pid: int, requests: Callable[[int], object], total: int) -> list[dict[str, Value]]:
    """Rows of a table with the memory of a server after each tenth of its requests.

    Args:
        pid: Process of the server.
        requests: Function that sends a number of requests and returns after the last reply.
        total: Number of requests in all.
    """
    rows: list[dict[str, Value]] = []
    done = 0
    for part in range(1, _ROWS + 1):
        upto = total * part // _ROWS
        if upto == done:
            continue
        count = upto - done
        took_s = seconds(lambda count=count: requests(count))
        rows.append({"requests": upto, "ms a request": 1000 * took_s / count, "server MB": resident_mb(pid)})
        done = upto
    return rows


def own_peak_mb() -> float:
    """Peak resident memory of this process, in MB."""
    # `ru_maxrss` is the fallback, because Linux keeps it at exec: a child starts with the peak of its parent.
    peak = _field(Path("/proc/self/status"), "VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6 if peak is None else peak


def _field(path: Path, name: str) -> float | None:
    try:
        found = re.search(rf"^{name}:\s*(\d+) kB", path.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 / 1e6 if found else None
