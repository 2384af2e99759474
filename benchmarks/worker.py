"""One size of `scale`, in a process of its own: `python -m benchmarks.worker '{"side": 64, ...}'` prints JSON."""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from styleserve import contract
from styleserve.contract import Limits
from styleserve.memory import keep_freed_memory
from styleserve.model import ModelSettings, Precision, StyleTransfer, random_weights

from .memory import own_peak_mb
from .timing import median_in_turn, seconds_a_step


@dataclass(frozen=True)
class Job:
    """What to measure: a batch of square images, `side` in pixels."""

    side: int
    batch: int
    steps: int
    rounds: int
    signature: str
    precision: Precision
    give_back: bool


@dataclass(frozen=True)
class Found:
    """What was found: peaks in MB, before the model was built and at the end; of the first GPU, where there is one."""

    step_s: float
    base_mb: float
    peak_mb: float
    gpu_peak_mb: float | None


def work(job: Job) -> Found:
    """Measures here."""
    base_mb = own_peak_mb()
    settings = ModelSettings(
        precision=job.precision, limits=Limits(max_side=max(job.side, 16), max_batch=max(job.batch, 1))
    )
    function = StyleTransfer(random_weights(0), settings).functions[job.signature]
    shape = [job.batch, job.side, job.side, 3]
    content, style = (tf.random.stateless_uniform(shape, seed=[0, seed]) for seed in (1, 2))

    def call(steps: int) -> None:
        function(content, style, steps=[steps])[contract.STYLIZED_IMAGE.name].numpy()

    call(job.steps)  # traces, and prepares what is prepared once
    found = median_in_turn({"step": lambda: seconds_a_step(call, job.steps)}, job.rounds)
    return Found(found["step"], base_mb, own_peak_mb(), _gpu_peak_mb())


def _gpu_peak_mb() -> float | None:
    if not tf.config.list_physical_devices("GPU"):
        return None
    return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1e6


if __name__ == "__main__":
    given: dict[str, Any] = json.loads(sys.argv[1])
    job = Job(**given)
    if not job.give_back:
        keep_freed_memory()
    print(json.dumps(dataclasses.asdict(work(job))))
