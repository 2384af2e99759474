"""Memory that this process may use: that of the machine, or less by a limit of its cgroup or of `ulimit -v`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None


def memory_limit(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes that this process may use; None where the system does not say.

    Args:
        proc: Mount point of procfs.
        cgroups: Mount point of the cgroups, of version 2 or 1.
    """
    limits = [*_cgroup_limits(proc, cgroups), *_machine_limits()]
    return min(limits, default=None)


def _machine_limits() -> Iterator[int]:
    if hasattr(os, "sysconf"):
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if resource is not None:
        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        if soft != resource.RLIM_INFINITY:
            yield soft


def _cgroup_limits(proc: Path, cgroups: Path) -> Iterator[int]:
    """Limits of the cgroup of this process and of those above it (cgroups(7))."""
    try:
        lines = (proc / "self/cgroup").read_text().splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, name = cgroups, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = cgroups / "memory", "memory.limit_in_bytes"
        else:
            continue
        folder = root / path.lstrip("/")
        for each in (folder, *folder.parents):
            text = _text(each / name)
            if text.isdecimal():  # "max" is no limit
                yield int(text)
            if each == root:
                break


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # a container sees the part of the tree that is its own
        return ""
