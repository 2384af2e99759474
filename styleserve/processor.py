"""Flags of this machine's processor."""

from __future__ import annotations

from pathlib import Path
from typing import Final

BFLOAT16_FLAGS: Final = ("amx_bf16", "avx512_bf16")
"""Flags of x86 processors that multiply in bfloat16. Without them, bfloat16 convolutions are emulated."""

_CPUINFO: Final = Path("/proc/cpuinfo")


def cpu_flags() -> frozenset[str]:
    """Flags of the first processor; empty without Linux' /proc, or on another architecture than x86."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return frozenset()
    flags = next((line.partition(":")[2] for line in lines if line.startswith("flags")), "")
    return frozenset(flags.split())
