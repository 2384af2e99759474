"""Progress of a run on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from .printing import print_message

if TYPE_CHECKING:
    from ..api.checkpoint import SavedRun

PANEL: Final = "Progress"
LINE_INTERVAL_S: Final = 10.0
"""Time between two lines where stderr is not a terminal."""

ShowProgress: TypeAlias = Callable[[float, Sequence[str]], None]
"""Shows the share of the work that is done, and facts beside it."""

Progress = Annotated[
    bool,
    typer.Option("--progress/--no-progress", help="Paint in chunks, show progress.", rich_help_panel=PANEL),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Same as --no-progress.")]


@contextmanager
def progress_display(text: str, *, shown: bool) -> Generator[ShowProgress]:
    """Yields the function that shows progress.

    Args:
        text: Description of the work.
        shown: Whether to show anything.
    """
    if not shown:
        yield lambda _fraction, _facts: None
    elif sys.stderr.isatty():
        with _bar(text) as show:
            yield show
    else:
        yield lines_of_progress(text)


def lines_of_progress(text: str, clock: Callable[[], float] = time.monotonic) -> ShowProgress:
    """Function that prints a line, at most one in each `LINE_INTERVAL_S`."""
    printed_s = clock()

    def show(fraction: float, facts: Sequence[str]) -> None:
        nonlocal printed_s
        if clock() - printed_s >= LINE_INTERVAL_S:
            printed_s = clock()
            print_message(f"{text}: {', '.join([f'{fraction:.0%}', *facts])}")

    return show


@contextmanager
def _bar(text: str) -> Generator[ShowProgress]:
    # Imported here, because they make every --help slower.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=16),  # leaves room for the rest in 80 columns
        TextColumn("{task.fields[facts]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(text, total=None, facts="")
        yield lambda fraction, facts: bar.update(task, completed=fraction, total=1.0, facts=", ".join(facts))


def progress_facts(saved: SavedRun, seconds_left: float | None) -> list[str]:
    """Facts to show beside the progress of a run."""
    facts = [f"{saved.steps_done}/{saved.steps_total} steps"]
    facts += [f"{saved.octaves[saved.octave].max_side} px"] if len(saved.octaves) > 1 else []
    facts += [f"loss {saved.losses[-1, 0]:.4g}"] if len(saved.losses) else []
    return [*facts, *([] if seconds_left is None else [f"{seconds_left:.0f} s left"])]


@contextmanager
def spinner(text: str, *, shown: bool = True) -> Generator[None]:
    """Shows on a terminal that a call is under way, and for how long."""
    from rich.console import Console  # noqa: PLC0415 - as above
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    hidden = not (shown and sys.stderr.isatty())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=hidden) as progress:
        progress.add_task(text, total=None)
        yield
