"""Measurement of time. Contestants run in turn, so that other load on the machine affects all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one call, which must wait for its result, because a GPU runs asynchronously."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def in_turn(contestants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Results of each contestant, by name; each is called once a round."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            times[name].append(contestant())
    return times


def median_in_turn(contestants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Median result of each contestant, by name; each is called once a round."""
    return {name: statistics.median(own) for name, own in in_turn(contestants, rounds).items()}


def median_ratio(times: Sequence[float], baseline: Sequence[float]) -> float:
    """Median over rounds of one contestant's time divided by another's time in the same round."""
    return statistics.median(own / other for own, other in zip(times, baseline, strict=True))


def seconds_a_step(call: Callable[[int], object], steps: int) -> float:
    """Seconds a step of a call with a number of steps, without its other costs, such as the targets."""
    return (seconds(lambda: call(steps)) - seconds(lambda: call(0))) / steps
