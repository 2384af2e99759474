"""How much memory processes hold, from Linux' /proc."""

from __future__ import annotations

import re
import resource
from pathlib import Path


def resident_mb(pid: int) -> float | None:
    """What a process holds now, in MB; None where there is no /proc."""
    return _field(Path(f"/proc/{pid}/status"), "VmRSS")


def own_peak_mb() -> float:
    """The most that this process has held, in MB."""
    # Not `ru_maxrss` where it can be helped: Linux hands it on at exec, so that a child starts with its parent's.
    peak = _field(Path("/proc/self/status"), "VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6 if peak is None else peak


def _field(path: Path, name: str) -> float | None:
    try:
        found = re.search(rf"^{name}:\s*(\d+) kB", path.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 / 1e6 if found else None
