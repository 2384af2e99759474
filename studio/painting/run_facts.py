"""Facts about a run, for events and pages."""

from __future__ import annotations

from typing import Any

from ..store import Run, RunStore, State


def run_facts(run: Run, runs: RunStore) -> dict[str, Any]:
    """Facts about a run that change, for JSON."""
    waiting = runs.waiting() if run.state is State.QUEUED else []
    return {
        "id": run.id,
        "state": run.state.value,
        "sheet": run.sheet,
        "fraction": round(run.fraction, 4),
        "text": progress_text(run, waiting.index(run.id) + 1 if run.id in waiting else 0),
        "picture": run.picture,
        "width": run.width,
        "height": run.height,
        "arrived": run.arrived,
    }


def progress_text(run: Run, place: int = 0) -> str:
    """Progress of a run in words.

    >>> progress_text(Run("a", 0, State.RUNNING, None, {}, steps_done=5, steps_total=20, octave=2, octaves=3, side=256,
    ...     fraction=0.25, seconds_left=70.2))
    '25 %, size 2 of 3 (256 px), step 5 of 20, 1 min 10 s left'

    Args:
        run: The run.
        place: Its place in the queue, from 1; 0 for none.
    """
    if run.state is State.QUEUED:
        return "Next in the queue" if place <= 1 else f"Number {place} in the queue"
    if not run.steps_total:
        return "Preparing" if run.state is State.RUNNING else ""
    sizes = f", size {run.octave} of {run.octaves} ({run.side} px)" if run.octaves > 1 else f", {run.side} px"
    text = f"{run.fraction:.0%}".replace("%", " %") + f"{sizes}, step {run.steps_done} of {run.steps_total}"
    if run.state is State.RUNNING and run.seconds_left is not None:
        return f"{text}, {duration_text(run.seconds_left)} left"
    return text


def duration_text(seconds: float) -> str:
    """Duration in words.

    >>> [duration_text(seconds) for seconds in (0.4, 59.6, 125, 3725)]
    ['1 s', '1 min', '2 min 5 s', '1 h 2 min']
    """
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    large, small, names = (
        (whole // 60, whole % 60, ("min", "s"))
        if whole < 3600
        else (
            whole // 3600,
            whole % 3600 // 60,
            ("h", "min"),
        )
    )
    return f"{large} {names[0]}" + (f" {small} {names[1]}" if small else "")
