"""Display of a run on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

from styleserve.client.cli.printing import print_message

from .ledger import Status
from .runner import BulkProgress

_LINE_S: Final = 10.0
"""Time between two lines where stderr is no terminal."""
_MOST_FAILURES: Final = 20
"""Failures that are printed one by one; all of them are in the ledger."""


@contextmanager
def bulk_display() -> Generator[Callable[[BulkProgress], None]]:
    """Yields a function that shows progress."""
    failures = _Failures()
    if not sys.stderr.isatty():
        lines = _Lines(failures)
        yield lines.show
        return
    from rich.console import Console  # noqa: PLC0415 - slow, and --help needs none
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415 - likewise

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting workers", total=None)
        shown = False

        def show(progress: BulkProgress) -> None:
            nonlocal shown
            if progress.dashboard and not shown:
                bar.console.print(f"Dashboard: {progress.dashboard}", markup=False, highlight=False)
                shown = True
            for line in failures.lines(progress):
                bar.console.print(line, markup=False, highlight=False)
            done = progress.done + progress.failed
            bar.update(task, total=progress.total, completed=done, description=_rest(progress))

        yield show


class _Failures:
    """Lines about failed jobs, up to a number."""

    def __init__(self) -> None:
        self._count = 0

    def lines(self, progress: BulkProgress) -> list[str]:
        found: list[str] = []
        for row in progress.rows:
            if row.status == Status.FAILED:
                self._count += 1
                if self._count <= _MOST_FAILURES:
                    found.append(f"{row.where}: {row.error}: {row.message}")
                elif self._count == _MOST_FAILURES + 1:
                    found.append("Further failures are in the ledger alone.")
        return found


class _Lines:
    def __init__(self, failures: _Failures) -> None:
        self._failures = failures
        self._next_s = 0.0
        self._dashboard = False

    def show(self, progress: BulkProgress) -> None:
        if progress.dashboard and not self._dashboard:
            print_message(f"Dashboard: {progress.dashboard}")
            self._dashboard = True
        for line in self._failures.lines(progress):
            print_message(line)
        if time.monotonic() >= self._next_s or not progress.left:
            self._next_s = time.monotonic() + _LINE_S
            print_message(f"[{progress.done + progress.failed}/{progress.total}] {_rest(progress)}")


def _rest(progress: BulkProgress) -> str:
    """Text after the counts.

    >>> _rest(BulkProgress(total=100, done=40, failed=1, painted=40, per_minute=30.0, left_s=118.0))
    '1 failed, 30.0 a minute, 1:58 left'
    """
    failed = f"{progress.failed} failed"
    if progress.left_s is None:
        return f"{failed}, starting workers" if progress.left else failed
    minutes, seconds = divmod(round(progress.left_s), 60)
    hours, minutes = divmod(minutes, 60)
    left = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
    return f"{failed}, {progress.per_minute:.1f} a minute, {left} left"
