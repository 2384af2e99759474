"""Output of the command `batch`: a bar on a terminal, a line for each job elsewhere, and the failures at the end."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import typer

from ..errors import JobsFailed
from .printing import exit_after_failed_jobs, print_json, print_message

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from ..batch.results import BatchProgress, JobResult

_SPEED_WINDOW_S = 3600.0
"""Time over which speed is measured for the time left; rich's half a minute is shorter than many jobs."""


@dataclass
class JobCounts:
    """Numbers of jobs by their end."""

    total: int
    painted: int = 0
    were_there: int = 0
    failures: list[JobResult] = field(default_factory=list["JobResult"])

    @property
    def ended(self) -> int:
        """Number of jobs with a result."""
        return self.painted + self.were_there + len(self.failures)

    def add(self, result: JobResult) -> None:
        """Counts a result."""
        if result.error is not None:
            self.failures.append(result)
        elif result.was_there:
            self.were_there += 1
        else:
            self.painted += 1

    def summary(self, folder: Path, seconds: float) -> dict[str, Any]:
        """Summary of the batch as a JSON object."""
        return {
            "output": str(folder),
            "jobs": self.total,
            "painted": self.painted,
            "were_there": self.were_there,
            "failed": len(self.failures),
            "seconds": round(seconds, 3),
            "failures": [
                {"output": result.job.output, "where": result.job.where, **(result.record.error or {})}
                for result in self.failures
            ],
        }


class Display(Protocol):
    """Display of a batch while it runs."""

    counts: JobCounts

    def result(self, result: JobResult) -> None:
        """Shows the end of a job."""
        ...

    def progress(self, progress: BatchProgress) -> None:
        """Shows the progress of the calls."""
        ...


@contextmanager
def batch_display(total: int) -> Generator[Display]:
    """Yields a display on stderr for a batch of so many jobs."""
    counts = JobCounts(total)
    try:
        if sys.stderr.isatty():
            with _bar() as bar:
                yield _BarDisplay(counts, bar)
        else:
            yield _LineDisplay(counts)
    except KeyboardInterrupt:
        done = counts.painted + counts.were_there
        print_message(f"{done} of {total} pictures are done; run the same command again for the rest.")
        raise


def print_summary(summary: dict[str, Any], *, as_json: bool) -> None:
    """Prints the summary of a batch; exits with the code of `JobsFailed` if jobs failed."""
    if not as_json:
        typer.echo(
            f"{summary['output']}: {summary['painted']} painted, {summary['were_there']} already there, "
            f"{summary['failed']} failed, {summary['seconds']:.1f} s"
        )
    if not summary["failures"]:
        if as_json:
            print_json(summary)
        return
    lines = [f"  {each['output']}: {each['kind']}: {each['message']}" for each in summary["failures"]]
    error = JobsFailed(
        "\n".join([f"{summary['failed']} of {summary['jobs']} jobs failed:", *lines]),
        hint="Run the same command again to repeat these jobs alone.",
    )
    exit_after_failed_jobs(error, summary, as_json=as_json)


class _LineDisplay:
    def __init__(self, counts: JobCounts) -> None:
        self.counts = counts
        self._waiting = False

    def result(self, result: JobResult) -> None:
        self.counts.add(result)
        print_message(f"[{self.counts.ended}/{self.counts.total}] {result.job.output}: {_outcome(result)}")

    def progress(self, progress: BatchProgress) -> None:
        if progress.stuck is not None and not self._waiting:
            print_message(f"Waiting: {progress.stuck.message}")
        self._waiting = progress.trouble is not None and (progress.stuck is not None or self._waiting)


class _BarDisplay:
    def __init__(self, counts: JobCounts, bar: RichProgress) -> None:
        self.counts = counts
        self._bar = bar
        self._task = bar.add_task("", total=None, counts="")
        self._limit = 0

    def result(self, result: JobResult) -> None:
        self.counts.add(result)
        self._show()

    def progress(self, progress: BatchProgress) -> None:
        self._limit = progress.limit
        activity = "Painting" if progress.stuck is None else f"Waiting: {progress.stuck.message}"
        # Evaluations, which progress before the first picture is done.
        self._bar.update(
            self._task,
            description=activity,
            completed=progress.evaluations,
            total=progress.evaluations_total,
        )
        self._show()

    def _show(self) -> None:
        counts = self.counts
        done, failed = counts.painted + counts.were_there, len(counts.failures)
        left = counts.total - counts.ended
        self._bar.update(self._task, counts=f"{done} done, {failed} failed, {left} left, {self._limit} at once")


def _bar() -> RichProgress:
    # Imported here, because they make every --help slower.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn  # noqa: PLC0415

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[counts]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        speed_estimate_period=_SPEED_WINDOW_S,
    )


def _outcome(result: JobResult) -> str:
    record = result.record
    if result.error is not None:
        return f"failed: {type(result.error).__name__}: {result.error.message}"
    if result.was_there:
        return "already there"
    loss = "" if record.loss_first is None else f"loss {record.loss_first:.4g} -> {record.loss_last:.4g}, "
    tries = f", {record.tries} tries" if record.tries > 1 else ""
    return f"{loss}{record.seconds:.1f} s, {record.model} version {record.model_version}{tries}"
