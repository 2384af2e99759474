"""Size of the next chunk of a run, from what earlier calls to the same server cost.

A chunk costs time for its bytes (the state is sent and returned) and time for its work. Both rates are fitted
separately: over a slow link most of a short chunk is transfer, and only longer chunks reduce its share.
docs/long-runs.md describes the strategy; `python -m benchmarks link` measures it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from ..transport.settings import SECONDS_PER_PIXEL_AND_STEP

TRANSFER_SHARE: Final = 0.06
"""Transfer of a chunk, as a share of its work. With the error of the fit, a run stays below 10 %."""

TARGETS_WORK: Final = 0.7
"""Work of a run's first call beside its evaluations, in evaluations: one pass of content and style through the network,
without a gradient."""

FAST_ROUND_TRIP_S: Final = 0.01
"""Round trip of a link that is taken for a local network until its throughput is measured."""

# Seconds per byte before anything is measured: 100 MB/s in a local network, 20 Mbit/s elsewhere.
_FAST_BYTE_S: Final = 1e-8
_SLOW_BYTE_S: Final = 4e-7
_FACTORS: Final = np.geomspace(1e-3, 1e3, 121)
# Relative error of a measurement. The speed of a machine drifts, and a call without steps is mostly other work.
_NOISE: Final = 0.25
_NOISE_WITHOUT_STEPS: Final = 0.5
_KEPT: Final = 8


@dataclass(frozen=True)
class CallCost:
    """Cost of one call.

    Attributes:
        moved_bytes: Size of request and reply together.
        work: Pixels times evaluations.
        seconds: From the call to its reply.
        has_steps: Whether the work is more than that of the targets.
    """

    moved_bytes: int
    work: float
    seconds: float
    has_steps: bool = True


class ChunkSizer:
    """Sizes of chunks, from the measured rates of one server; the runs of a client share it, also in several threads.

    >>> sizer = ChunkSizer()
    >>> sizer.round_trip_s = 0.05
    >>> sizer.next_steps(40, pixels=256 * 256, state_bytes=8_000_000, chunk_s=2.0)
    40

    After measurements the chunks are as short as `chunk_s`, or as long as their transfer demands:

    >>> for megabytes, seconds in ((1, 1.15), (10, 2.06)):
    ...     sizer.add(CallCost(megabytes * 1_000_000, work=1e6, seconds=seconds))
    >>> sizer.next_steps(1000, pixels=100_000, state_bytes=1_000_000, chunk_s=2.0)
    39
    >>> sizer.next_steps(1000, pixels=100_000, state_bytes=1_000, chunk_s=2.0)
    21
    """

    def __init__(self) -> None:
        self._costs: Final[deque[CallCost]] = deque(maxlen=_KEPT)
        self.round_trip_s: float | None = None

    @property
    def measured(self) -> bool:
        """Whether a call was measured."""
        return bool(self._costs)

    @property
    def fast_link(self) -> bool:
        """Whether the round trip is that of a local network."""
        return self.round_trip_s is not None and self.round_trip_s < FAST_ROUND_TRIP_S

    def add(self, cost: CallCost) -> None:
        """Adds a measurement; the oldest of many is dropped. The round trip is no part of the rates."""
        if cost.seconds <= 0:
            return
        round_trip_s = self.round_trip_s if self.round_trip_s is not None and self.round_trip_s < cost.seconds else 0.0
        self._costs.append(replace(cost, seconds=max(cost.seconds - round_trip_s, cost.seconds / 4)))

    def seconds(self, steps: int, pixels: int) -> float:
        """Seconds that so many evaluations take, without transfer."""
        return self._rates()[1] * steps * pixels

    def next_steps(
        self, remaining: int, *, pixels: int, state_bytes: int, chunk_s: float, timeout_s: float | None = None
    ) -> int:
        """Evaluations of the next chunk.

        Args:
            remaining: Evaluations that are left of the run, at least 1.
            pixels: Pixels of the picture.
            state_bytes: Size of the state, which the chunk returns and the next one sends.
            chunk_s: Shortest time between two chunks, in seconds.
            timeout_s: Deadline of the chunk, of which its work takes at most half.
        """
        byte_s, work_s = self._rates()
        shortest_s = max(chunk_s, 2 * state_bytes * byte_s / TRANSFER_SHARE)
        chunks = max(1, round(remaining * pixels * work_s / shortest_s))
        steps = math.ceil(remaining / chunks)
        # Calls shorter than a chunk determine the rates badly, so none of their time is taken for transfer. Over a slow
        # link, a call without steps does not count: the state, which others move, is most of their cost.
        worked = [cost for cost in self._costs if cost.work > 0]
        counted = [cost for cost in worked if cost.has_steps or self.fast_link]
        if counted and max(cost.seconds for cost in self._costs) < chunk_s:
            steps = min(steps, _steps_within(chunk_s, counted, pixels))
        elif worked and not counted:
            # After a look alone the whole of it may be taken for transfer, and the whole run for one chunk.
            expected_s = max(chunk_s, 2 * state_bytes * self._guess() / TRANSFER_SHARE)
            steps = min(steps, _steps_within(expected_s, worked, pixels))
        if timeout_s is None:
            return steps
        return max(1, min(steps, int(timeout_s / 2 / max(work_s * pixels, 1e-9))))

    def _rates(self) -> tuple[float, float]:
        """Seconds per byte and seconds per pixel and evaluation."""
        costs, guess = tuple(self._costs), self._guess()
        return _fit(costs, guess) if costs else (guess, SECONDS_PER_PIXEL_AND_STEP)

    def _guess(self) -> float:
        """Seconds per byte, before anything is measured."""
        return _FAST_BYTE_S if self.fast_link else _SLOW_BYTE_S


def _steps_within(seconds: float, costs: Iterable[CallCost], pixels: int) -> int:
    """Evaluations, at least 1, that take no longer even if no time of these calls was transfer."""
    slowest_s = min(cost.seconds / cost.work for cost in costs)
    return max(1, int(seconds / (slowest_s * pixels)))


def _fit(costs: Sequence[CallCost], guess: float) -> tuple[float, float]:
    """Most likely seconds per byte and seconds of work, neither negative.

    A prior keeps the first rate within a power of ten of the guess unless the measurements outweigh it. A short chunk
    over a slow link, half of it transfer, determines the rate; a long chunk, mostly work, hardly changes it.
    """
    seconds = np.array([cost.seconds for cost in costs])
    weight = 1 / np.array([_NOISE if cost.has_steps else _NOISE_WITHOUT_STEPS for cost in costs])
    moved = np.array([cost.moved_bytes for cost in costs]) / seconds
    work = np.array([cost.work for cost in costs]) / seconds
    explained = np.outer(guess * _FACTORS, moved)  # share of each measurement that is transfer, [factors, costs]
    work_s = np.maximum(((1 - explained) * weight**2) @ work / max((work * weight) @ (work * weight), 1e-300), 0.0)
    errors = (1 - explained - np.outer(work_s, work)) * weight
    best = np.argmin((errors**2).sum(axis=1) + np.log10(_FACTORS) ** 2)
    return float(guess * _FACTORS[best]), float(work_s[best])
