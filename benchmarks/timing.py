"""Taking time: contestants in turn, so that what disturbs the machine disturbs all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one call. The call itself waits for its result: a GPU works on after a call returns."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def in_turn(contestants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each contestant returns, by its name; each is called once a round."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            times[name].append(contestant())
    return times


def median_in_turn(contestants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The median of what each contestant returns, by its name; each is called once a round."""
    return {name: statistics.median(own) for name, own in in_turn(contestants, rounds).items()}


def median_ratio(times: Sequence[float], baseline: Sequence[float]) -> float:
    """The median over rounds of one contestant's time by another's: of moments that lie close together."""
    return statistics.median(own / other for own, other in zip(times, baseline, strict=True))


def seconds_a_step(call: Callable[[int], object], steps: int) -> float:
    """Seconds a step of a call of so many steps, without what the call costs beside them: its targets."""
    return (seconds(lambda: call(steps)) - seconds(lambda: call(0))) / steps
