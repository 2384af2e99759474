"""Which precision the convolutions are fastest in, on this machine, without a visible difference in the picture."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, NamedTuple

import tensorflow as tf

from styleserve.model import Precision

# Compute capability of the first NVIDIA generation with bfloat16 tensor cores (Ampere).
_BFLOAT16_CAPABILITY: Final = (8, 0)
# oneDNN has bfloat16 convolutions for these; without them it converts to float32 and back, which is slower.
_BFLOAT16_CPU_FLAGS: Final = ("amx_bf16", "avx512_bf16")


class PrecisionChoice(NamedTuple):
    """A precision and why it was chosen."""

    precision: Precision
    reason: str


def choose_precision(asked: Literal["auto", "float32", "bfloat16"]) -> PrecisionChoice:
    """The precision asked for, or, for "auto", the one that suits the GPU or else the CPU of this machine."""
    if asked != "auto":
        return PrecisionChoice(asked, "as asked for")
    for gpu in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(gpu)
        name = details.get("device_name", "GPU")
        if details.get("compute_capability", (0, 0)) >= _BFLOAT16_CAPABILITY:
            return PrecisionChoice("bfloat16", f"{name} has bfloat16 units")
        return PrecisionChoice("float32", f"{name} has no bfloat16 units")
    for flag in _BFLOAT16_CPU_FLAGS:
        if flag in _cpu_flags():
            return PrecisionChoice("bfloat16", f"no GPU; the CPU has {flag}")
    return PrecisionChoice("float32", f"no GPU, and the CPU has none of {', '.join(_BFLOAT16_CPU_FLAGS)}")


def _cpu_flags() -> frozenset[str]:
    """Flags of the first processor; empty where Linux' /proc is not there."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    flags = next((line.partition(":")[2] for line in lines if line.startswith("flags")), "")
    return frozenset(flags.split())
