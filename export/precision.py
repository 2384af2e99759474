"""Which precision the convolutions are fastest in, on this machine, without a visible difference in the picture."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final, Literal, NamedTuple

import tensorflow as tf

from styleserve.model import Precision
from styleserve.processor import BFLOAT16_FLAGS, cpu_flags

# Compute capability of the first NVIDIA generation with bfloat16 tensor cores (Ampere).
_BFLOAT16_CAPABILITY: Final = (8, 0)
_NVIDIA: Final = Path("/dev/nvidiactl")
# Below this, the loss of precision buys nothing worth having.
_WORTHWHILE_SPEEDUP: Final = 1.2


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
    no_gpu = "no GPU"
    if _NVIDIA.exists():
        no_gpu = (
            "TensorFlow sees no GPU, though a driver is there: pip install 'tensorflow[and-cuda]' brings what it needs"
        )
    flags = [flag for flag in BFLOAT16_FLAGS if flag in cpu_flags()]
    if not flags:
        return PrecisionChoice("float32", f"{no_gpu}, and the CPU has none of {', '.join(BFLOAT16_FLAGS)}")
    # The matrix unit (AMX) is about four times as fast as float32, while avx512_bf16 alone was seen to be slower than
    # float32. So it is tried out.
    speedup = _bfloat16_speedup()
    reason = (
        f"{no_gpu}; the CPU has {' and '.join(flags)}, and a bfloat16 convolution ran {speedup:.1f}x as fast as float32"
    )
    return PrecisionChoice("bfloat16" if speedup >= _WORTHWHILE_SPEEDUP else "float32", reason)


def _bfloat16_speedup(repeats: int = 5) -> float:
    """Time of a typical convolution of VGG-19 in float32, divided by its time in bfloat16, here and now."""

    def seconds(dtype: tf.DType) -> float:
        image = tf.ones([1, 96, 96, 128], dtype)
        kernel = tf.ones([3, 3, 128, 128], dtype)
        times: list[float] = []
        for _ in range(repeats + 1):
            start = time.perf_counter()
            tf.nn.conv2d(image, kernel, strides=1, padding="SAME").numpy()
            times.append(time.perf_counter() - start)
        return min(times[1:])  # the first also prepares the kernel

    return seconds(tf.float32) / seconds(tf.bfloat16)
