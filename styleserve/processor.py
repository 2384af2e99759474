"""What the processor of this machine computes in."""

from __future__ import annotations

from pathlib import Path
from typing import Final

BFLOAT16_FLAGS: Final = ("amx_bf16", "avx512_bf16")
"""Of x86 processors that multiply in bfloat16. Without either, each convolution is converted and done in software."""

_CPUINFO: Final = Path("/proc/cpuinfo")


def cpu_flags() -> frozenset[str]:
    """Flags of the first processor; empty where Linux' /proc is not there, or speaks of another architecture."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return frozenset()
    flags = next((line.partition(":")[2] for line in lines if line.startswith("flags")), "")
    return frozenset(flags.split())
