"""The fastest precision of the convolutions on this machine; the pictures show no difference."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final, Literal, NamedTuple

import tensorflow as tf

from styleserve.model import Precision
from styleserve.processor import BFLOAT16_FLAGS, cpu_flags

_BFLOAT16_CAPABILITY: Final = (8, 0)
"""Compute capability of Ampere, the first NVIDIA generation with bfloat16 tensor cores."""

_NVIDIA: Final = Path("/dev/nvidiactl")

_MIN_SPEEDUP: Final = 1.2
"""Smallest speedup that is worth the loss of precision."""


class PrecisionChoice(NamedTuple):
    """A precision and the reason for it.

    Attributes:
        precision: Precision of the convolutions.
        reason: Text for the exporter's output.
    """

    precision: Precision
    reason: str


def choose_precision(asked: Literal["auto", "float32", "bfloat16"]) -> PrecisionChoice:
    """The precision of the argument or, for "auto", the fastest one on the GPU or else the CPU of this machine."""
    if asked != "auto":
        return PrecisionChoice(asked, "as asked for")
    for gpu in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(gpu)
        name = details.get("device_name", "GPU")
        if details.get("compute_capability", (0, 0)) >= _BFLOAT16_CAPABILITY:
            return PrecisionChoice("bfloat16", f"{name} has bfloat16 units")
        return PrecisionChoice("float32", f"{name} has no bfloat16 units")
    no_gpu = "no GPU"
    if _NVIDIA.exists():
        no_gpu = (
            "TensorFlow finds no GPU, but an NVIDIA driver is installed: pip install 'tensorflow[and-cuda]' adds the "
            "libraries that it needs"
        )
    flags = [flag for flag in BFLOAT16_FLAGS if flag in cpu_flags()]
    if not flags:
        return PrecisionChoice("float32", f"{no_gpu}, and the CPU has none of {', '.join(BFLOAT16_FLAGS)}")
    # Measured, because AMX is about four times as fast as float32, and avx512_bf16 alone may be slower than float32.
    speedup = _bfloat16_speedup()
    reason = (
        f"{no_gpu}; the CPU has {' and '.join(flags)}, and a bfloat16 convolution ran {speedup:.1f}x as fast as float32"
    )
    return PrecisionChoice("bfloat16" if speedup >= _MIN_SPEEDUP else "float32", reason)


def _bfloat16_speedup(repeats: int = 5) -> float:
    """Time of a typical convolution of VGG-19 in float32 divided by its time in bfloat16, measured now."""

    def seconds(dtype: tf.DType) -> float:
        image = tf.ones([1, 96, 96, 128], dtype)
        kernel = tf.ones([3, 3, 128, 128], dtype)
        times: list[float] = []
        for _ in range(repeats + 1):
            start = time.perf_counter()
            tf.nn.conv2d(image, kernel, strides=1, padding="SAME").numpy()
            times.append(time.perf_counter() - start)
        return min(times[1:])  # the first call also prepares the kernel

    return seconds(tf.float32) / seconds(tf.bfloat16)
