"""Seconds a step and peak memory by size of the image and of the batch, each in a process of its own."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence

from styleserve.model import Precision

from .bench import Bench
from .machine import ROOT
from .results import Row, Table
from .settings import ScaleSettings
from .worker import Found, Job

REFERENCE_SIDE = 512


def measure(settings: ScaleSettings, bench: Bench) -> list[Table]:
    """Two tables: by side of the image, and by size of the batch."""
    precision = bench.precision_for(settings.precision).precision
    kept = "given back" if settings.give_back else "kept"
    note = f"{settings.signature}, {precision}; peak of a process of its own; freed memory is {kept}"
    sides = [_job(settings, precision, side=side, batch=1) for side in settings.sides]
    batches = [_job(settings, precision, side=settings.batch_side, batch=batch) for batch in settings.batches]
    return [
        Table(
            "Seconds a step and memory, by side",
            _by_side(sides, bench),
            [note, "baseline: 512 px, else the first; wanted: 0.85 to 1.15, and 2048 px in under 12 GiB"],
        ),
        Table("Seconds a step and memory, by batch", _by_batch(batches, bench), [note, "baseline: the first row"]),
    ]


def _job(settings: ScaleSettings, precision: Precision, *, side: int, batch: int) -> Job:
    return Job(side, batch, settings.steps, settings.rounds, settings.signature, precision, settings.give_back)


def _by_side(jobs: Sequence[Job], bench: Bench) -> list[Row]:
    found = [measured(job, bench, f"scale: {job.batch} x {job.side} px") for job in jobs]
    costs = [_pixel_us(job, own) for job, own in zip(jobs, found, strict=True)]
    reference = next((cost for job, cost in zip(jobs, costs, strict=True) if job.side == REFERENCE_SIDE and cost), None)
    reference = reference or next((cost for cost in costs if cost), None)
    return [
        {
            "side px": job.side,
            **columns(own),
            "us a pixel and step": cost,
            "ratio to the baseline": cost / reference if cost and reference else None,
        }
        for job, own, cost in zip(jobs, found, costs, strict=True)
    ]


def _by_batch(jobs: Sequence[Job], bench: Bench) -> list[Row]:
    found = [measured(job, bench, f"scale: {job.batch} x {job.side} px") for job in jobs]
    costs = [_pixel_us(job, own) for job, own in zip(jobs, found, strict=True)]
    return [
        {
            "side px": job.side,
            "batch": job.batch,
            **columns(own),
            "s a step and image": own.step_s / job.batch if own else None,
            "ratio to the baseline": cost / costs[0] if cost and costs[0] else None,
        }
        for job, own, cost in zip(jobs, found, costs, strict=True)
    ]


def columns(found: Found | None) -> Row:
    """Columns of a measurement, by name; without figures if it failed."""
    if found is None:
        return dict.fromkeys(("s a step", "peak MB", "of it TensorFlow alone MB", "GPU peak MB"))
    return {
        "s a step": found.step_s,
        "peak MB": round(found.peak_mb),
        "of it TensorFlow alone MB": round(found.base_mb),
        "GPU peak MB": None if found.gpu_peak_mb is None else round(found.gpu_peak_mb),
    }


def _pixel_us(job: Job, found: Found | None) -> float | None:
    return 1e6 * found.step_s / (job.batch * job.side**2) if found else None


def measured(job: Job, bench: Bench, name: str) -> Found | None:
    """Figures of a job, measured in a process of its own; None if it failed, for example without enough memory.

    Args:
        job: Job to measure.
        bench: State of the run.
        name: Name of the measurement, for progress lines.
    """
    bench.say(name)
    command = [sys.executable, "-m", "benchmarks.worker", json.dumps(dataclasses.asdict(job))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        bench.say(f"{name}: exit code {done.returncode}: {last}")
        return None
    return Found(**json.loads(done.stdout))
