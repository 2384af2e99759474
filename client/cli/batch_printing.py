"""What the `batch` command shows: one bar on a terminal, a line a job elsewhere, and the failures at the end."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import typer

from ..errors import JobsFailed
from .printing import print_json, print_message

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from ..batch.runner import BatchProgress, JobResult

_SPEED_WINDOW_S = 3600.0
"""What the time left is estimated from; rich's half a minute is shorter than many a job."""


@dataclass
class Tally:
    """How many jobs came to which end."""

    total: int
    painted: int = 0
    were_there: int = 0
    failures: list[JobResult] = field(default_factory=list["JobResult"])

    @property
    def ended(self) -> int:
        """Jobs that there is a result for."""
        return self.painted + self.were_there + len(self.failures)

    def count(self, result: JobResult) -> None:
        """Takes a result in."""
        if result.error is not None:
            self.failures.append(result)
        elif result.was_there:
            self.were_there += 1
        else:
            self.painted += 1

    def summary(self, folder: Path, seconds: float) -> dict[str, Any]:
        """All of it as an object, at the end."""
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
    """What is told of a batch while it runs."""

    tally: Tally

    def result(self, result: JobResult) -> None:
        """A job came to an end."""
        ...

    def progress(self, progress: BatchProgress) -> None:
        """Calls were started or came back."""
        ...


@contextmanager
def shown(total: int) -> Generator[Display]:
    """A display for a batch of so many jobs, on stderr.

    What is said when Ctrl-C stops it tells that nothing is lost.
    """
    tally = Tally(total)
    try:
        if sys.stderr.isatty():
            with _bar() as bar:
                yield _Bar(tally, bar)
        else:
            yield _Lines(tally)
    except KeyboardInterrupt:
        print_message(
            f"{tally.painted + tally.were_there} of {total} pictures are there; the same command does the rest."
        )
        raise


def finish(summary: dict[str, Any], *, as_json: bool) -> None:
    """Says how a batch ended; where jobs failed, which and why, and leaves with the exit code for that."""
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
        hint="The same command tries these again, and nothing else.",
    )
    print_message(f"Error: {error}")
    if as_json:
        parts = {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
        print_json({**summary, "error": {**parts, "exit_code": error.exit_code}})
    raise typer.Exit(error.exit_code)


class _Lines:
    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self._waiting = False

    def result(self, result: JobResult) -> None:
        self.tally.count(result)
        print_message(f"[{self.tally.ended}/{self.tally.total}] {result.job.output}: {_outcome(result)}")

    def progress(self, progress: BatchProgress) -> None:
        if progress.stuck is not None and not self._waiting:
            print_message(f"Waiting: {progress.stuck.message}")
        self._waiting = progress.trouble is not None and (progress.stuck is not None or self._waiting)


class _Bar:
    def __init__(self, tally: Tally, bar: RichProgress) -> None:
        self.tally = tally
        self._bar = bar
        self._task = bar.add_task("", total=None, counts="")
        self._limit = 0

    def result(self, result: JobResult) -> None:
        self.tally.count(result)
        self._show()

    def progress(self, progress: BatchProgress) -> None:
        self._limit = progress.limit
        doing = "Painting" if progress.stuck is None else f"Waiting: {progress.stuck.message}"
        # Evaluations, which move before the first picture is done. Pictures that were there before are not in them.
        self._bar.update(
            self._task,
            description=doing,
            completed=progress.evaluations,
            total=progress.evaluations_total,
        )
        self._show()

    def _show(self) -> None:
        tally = self.tally
        done, failed = tally.painted + tally.were_there, len(tally.failures)
        left = tally.total - tally.ended
        self._bar.update(self._task, counts=f"{done} done, {failed} failed, {left} left, {self._limit} at once")


def _bar() -> RichProgress:
    # Imported here, because they would make every --help slower.
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
