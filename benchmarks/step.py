"""Seconds a step: our loop beside the tutorial's train step, in turn, in one run.

python -m benchmarks.step [--sides 256,512] [--steps 5] [--rounds 3]
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from benchmarks.tutorial import Tutorial
from styleserve import contract
from styleserve.model import ModelSettings, Precision, StyleTransfer, random_weights


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", default="256,512", help="sides of the square images, in pixels")
    parser.add_argument("--steps", type=int, default=5, help="steps of a round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; the median is printed")
    arguments = parser.parse_args()
    print(
        f"TensorFlow {tf.__version__}, {os.cpu_count()} processors, GPUs: {len(tf.config.list_physical_devices('GPU'))}"
    )
    print(
        f"{'side':>6} {'tutorial s/step':>16} {'float32 s/step':>15} {'ratio':>6} {'bfloat16 s/step':>16} {'ratio':>6}"
    )
    for side in map(int, arguments.sides.split(",")):
        tutorial, float32, bfloat16 = measure(side, arguments.steps, arguments.rounds)
        print(
            f"{side:>6} {tutorial:>16.3f} {float32:>15.3f} {tutorial / float32:>6.2f} "
            f"{bfloat16:>16.3f} {tutorial / bfloat16:>6.2f}"
        )


def measure(side: int, steps: int, rounds: int) -> tuple[float, float, float]:
    """Median seconds a step of the tutorial, of our loop in float32 and of our loop in bfloat16."""
    weights = random_weights(0)
    content, style = (tf.random.stateless_uniform([1, side, side, 3], seed=[0, seed]) for seed in (1, 2))
    tutorial = Tutorial(
        weights, content, style, style_layers=contract.STYLE_LAYERS, content_layer=contract.CONTENT_LAYER
    )

    def tutorial_steps(count: int) -> None:
        for _ in range(count):
            tutorial.train_step()

    def our_steps(precision: Precision) -> Callable[[int], object]:
        function = StyleTransfer(weights, ModelSettings(precision=precision)).functions[contract.SERVING_DEFAULT]
        return lambda count: function(content, style, steps=[count])

    def seconds(run: Callable[[int], object], count: int) -> float:
        start = time.perf_counter()
        run(count)
        return time.perf_counter() - start

    contestants = (tutorial_steps, our_steps("float32"), our_steps("bfloat16"))
    times: list[list[float]] = [[] for _ in contestants]
    for run in contestants:
        run(1)  # traces
    for _ in range(rounds):
        for run, own in zip(contestants, times, strict=True):
            # One step is taken off, and with it what a call costs beside its steps: the targets.
            own.append((seconds(run, steps + 1) - seconds(run, 1)) / steps)
    tutorial_s, float32_s, bfloat16_s = map(statistics.median, times)
    return tutorial_s, float32_s, bfloat16_s


if __name__ == "__main__":
    main()
