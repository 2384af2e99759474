"""Cost of styles and regions: seconds a step, seconds until the first step, and memory, compared with one style."""

from __future__ import annotations

import statistics
from functools import partial
from typing import Final, NamedTuple

from styleserve import contract
from styleserve.contract import Limits
from styleserve.model import ModelSettings, Precision, StyleTransfer, random_weights

from .bench import Bench
from .results import Row, Table
from .scale import measured
from .settings import StylesSettings
from .timing import in_turn, median_ratio, seconds
from .worker import Job, loop

ONE_STYLE: Final = "paint, 1 style"
TUTORIAL: Final = "stylize_lbfgs, the tutorial's loss"


class _Times(NamedTuple):
    """Seconds of each round."""

    step: list[float]
    beginning: list[float]


def measure(settings: StylesSettings, bench: Bench) -> list[Table]:
    """One table, a row for each number of styles and of regions."""
    precision = bench.precision_for(settings.precision).precision
    jobs = _jobs(settings, precision)
    times = _times(settings, precision, jobs, bench)
    peaks = {name: measured(job, bench, f"styles: memory of {name}") for name, job in jobs.items()}
    alone = peaks[ONE_STYLE]
    rows: list[Row] = []
    for name, own in times.items():
        peak = peaks[name]
        rows.append(
            {
                "run": name,
                "s a step": statistics.median(own.step),
                "ratio to one style": median_ratio(own.step, times[ONE_STYLE].step),
                "s before the first step": statistics.median(own.beginning),
                "peak MB": None if peak is None else round(peak.peak_mb),
                "MB more than one style": None
                if peak is None or alone is None
                else round(peak.peak_mb - alone.peak_mb),
            }
        )
    notes = [
        f"{settings.side} px, {precision}, L-BFGS; styles as large as the content; regions: a stripe for each style",
        "seconds: in turn in one process, medians of the rounds; memory: each in a process of its own",
    ]
    return [Table("Styles and regions", rows, notes)]


def _jobs(settings: StylesSettings, precision: Precision) -> dict[str, Job]:
    job = partial(Job, settings.side, 1, settings.steps, settings.rounds, precision=precision, give_back=False)
    jobs = {TUTORIAL: job(signature=contract.STYLIZE_LBFGS)}
    for styles in (1, *(count for count in settings.styles if count > 1)):
        name = ONE_STYLE if styles == 1 else f"paint, {styles} styles"
        jobs[name] = job(signature=contract.PAINT, styles=styles)
    name = f"paint, {settings.regions} styles in {settings.regions} regions"
    jobs[name] = job(signature=contract.PAINT, styles=settings.regions, regions=True)
    return jobs


def _times(settings: StylesSettings, precision: Precision, jobs: dict[str, Job], bench: Bench) -> dict[str, _Times]:
    bench.say(f"styles: {settings.side} px")
    model = StyleTransfer(random_weights(0), ModelSettings(precision=precision, limits=Limits(max_side=settings.side)))
    calls = {name: loop(model, job) for name, job in jobs.items()}
    for call in calls.values():
        call(settings.steps)  # traces, and prepares kernels
    contestants = {
        (name, steps): partial(seconds, partial(call, steps))
        for name, call in calls.items()
        for steps in (0, settings.steps)
    }
    found = in_turn({f"{name} {steps}": run for (name, steps), run in contestants.items()}, settings.rounds)
    times: dict[str, _Times] = {}
    for name in jobs:
        beginning, whole = found[f"{name} 0"], found[f"{name} {settings.steps}"]
        step = [(long - short) / settings.steps for long, short in zip(whole, beginning, strict=True)]
        times[name] = _Times(step, beginning)
    return times
