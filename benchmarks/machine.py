"""Facts about the machine on which the figures depend."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any, Final

from styleserve.processor import cpu_flags

ROOT: Final = Path(__file__).resolve().parents[1]

_CPU_FLAGS: Final = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")
_PACKAGES: Final = ("styleserve", "tensorflow", "keras", "numpy", "grpcio", "torch")


def machine_facts() -> dict[str, Any]:
    """Processor, memory, GPUs, versions and commit, as JSON values."""
    flags = cpu_flags()
    return {
        "cpu": _cpu_name(),
        "cpu_flags": {flag: flag in flags for flag in _CPU_FLAGS},
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        # Load of other processes before the measurement; well above 0, it disturbs the figures.
        "load_average_1_min": round(os.getloadavg()[0], 2),
        "gpus": _gpus(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {package: version for package in _PACKAGES if (version := _version(package))},
        "git_commit": _git_commit(),
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _gpus() -> list[str]:
    import tensorflow as tf  # noqa: PLC0415 - takes seconds, which --help does not need

    devices = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in devices]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The measured commit, with a plus if files differ from it; None outside a checkout."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
