"""Runs: their requests and progress in the database, their files in a folder each."""

from __future__ import annotations

import json
import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any, Final

from styleserve.client import Controls
from styleserve.client.inputs.controls import controls_of

from .database import Database
from .pictures import folder_bytes


class State(str, Enum):
    """State of a run."""

    QUEUED = "queued"
    RUNNING = "running"
    STOPPED = "stopped"
    DONE = "done"
    FAILED = "failed"

    @property
    def active(self) -> bool:
        """Whether the run waits or runs."""
        return self in (State.QUEUED, State.RUNNING)


@dataclass(frozen=True)
class RunRequest:
    """Inputs of a run.

    Attributes:
        content: SHA-256 of the picture to paint.
        styles: SHA-256 of each style picture.
        regions: SHA-256 of the mask of each style, None for everywhere; empty for no masks.
        preset: Name of the preset; empty for none.
        values: Controls over those of the preset, by name.
    """

    content: str
    styles: tuple[str, ...]
    regions: tuple[str | None, ...] = ()
    preset: str = ""
    values: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def pictures(self) -> Iterator[str]:
        """SHA-256 of every picture of the run."""
        yield self.content
        yield from self.styles
        yield from (region for region in self.regions if region is not None)


@dataclass(frozen=True)
class Run:
    """A run: its request, and its progress.

    Attributes:
        id: Name of the run in addresses, and of its folder.
        created: Time of its request, in seconds since 1970.
        state: State.
        request: Inputs.
        controls: Controls that the client was given, by name.
        sheet: Id of the contact sheet that the run is of; empty for none.
        label: Label on that sheet.
        steps_done: Evaluations so far.
        steps_total: Evaluations of all octaves; 0 until they are planned.
        octave: Number of the octave of the last chunk; 0 before it.
        octaves: Number of octaves.
        side: Longest side of the picture so far, in pixels.
        fraction: Share of the work that is done.
        seconds: Time of the run so far, over all its parts.
        seconds_left: Estimate of the rest; None before the first chunk.
        arrived: Time at which the latest chunk came, in seconds since 1970.
        picture: Number of pictures so far; 0 for none. It is part of their addresses.
        width: Width of the picture so far.
        height: Height of the picture so far.
        model: Name and version of the model.
        notes: Notes of the client.
        message: Error of a run that failed.
        hint: Next step to take.
    """

    id: str
    created: float
    state: State
    request: RunRequest
    controls: Mapping[str, Any]
    sheet: str = ""
    label: str = ""
    steps_done: int = 0
    steps_total: int = 0
    octave: int = 0
    octaves: int = 0
    side: int = 0
    fraction: float = 0.0
    seconds: float = 0.0
    seconds_left: float | None = None
    arrived: float = 0.0
    picture: int = 0
    width: int = 0
    height: int = 0
    model: str = ""
    notes: tuple[str, ...] = ()
    message: str = ""
    hint: str = ""

    @property
    def client_controls(self) -> Controls:
        """Controls of the run."""
        return controls_of(self.controls)

    @classmethod
    def from_json(cls, text: str) -> Run:
        """Run of its JSON in the database."""
        values = json.loads(text)
        request = values["request"]
        for name in ("styles", "regions"):
            request[name] = tuple(request[name])
        values |= {
            "state": State(values["state"]),
            "request": RunRequest(**request),
            "notes": tuple(values["notes"]),
            "controls": {name: _value(value) for name, value in values["controls"].items()},
        }
        return cls(**values)

    def to_json(self) -> str:
        """JSON for the database."""
        return json.dumps(asdict(self))


def _value(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


@dataclass(frozen=True)
class RunFiles:
    """Files of a run."""

    folder: Path

    @property
    def preview(self) -> Path:
        """JPEG of the picture so far."""
        return self.folder / "preview.jpg"

    @property
    def thumbnail(self) -> Path:
        """Small JPEG of the picture so far."""
        return self.folder / "thumbnail.jpg"

    @property
    def state(self) -> Path:
        """Saved run of the client, from which the run resumes."""
        return self.folder / "state.run"

    @property
    def png(self) -> Path:
        """Result."""
        return self.folder / "result.png"

    @property
    def tiff(self) -> Path:
        """Result as TIFF, once it was asked for."""
        return self.folder / "result.tiff"

    @property
    def facts(self) -> Path:
        """Facts about the result, JSON."""
        return self.folder / "facts.json"

    @property
    def losses(self) -> Path:
        """Losses, JSON."""
        return self.folder / "losses.json"


class RunStore:
    """Runs of a studio."""

    def __init__(self, database: Database) -> None:
        self._database: Final = database
        self.folder: Final = database.folder / "runs"
        self.folder.mkdir(exist_ok=True)
        known = {run.id for run in self.all()}
        for folder in self.folder.iterdir():  # left by a studio that was killed while it removed a run
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)

    def files(self, run_id: str) -> RunFiles:
        """Files of a run."""
        return RunFiles(self.folder / run_id)

    def add(self, request: RunRequest, controls: Controls, *, sheet: str = "", label: str = "") -> Run:
        """A new run, which waits."""
        run = Run(
            id=secrets.token_hex(6),
            created=time.time(),
            state=State.QUEUED,
            request=request,
            controls=controls.given(),
            sheet=sheet,
            label=label,
        )
        (self.folder / run.id).mkdir()
        self._database.rows(
            "INSERT INTO runs (id, state, sheet, data) VALUES (?, ?, ?, ?)", run.id, run.state, sheet, run.to_json()
        )
        return run

    def update(self, run: Run, **changes: Any) -> Run:  # noqa: ANN401 - fields of Run, which refuses others
        """The run with changed fields."""
        run = replace(run, **changes)
        self._database.rows("UPDATE runs SET state = ?, data = ? WHERE id = ?", run.state, run.to_json(), run.id)
        return run

    def get(self, run_id: str) -> Run | None:
        """Run of an id; None where there is none."""
        return _first(self._database.rows("SELECT data FROM runs WHERE id = ?", run_id))

    def next_queued(self) -> Run | None:
        """Oldest run that waits."""
        statement = "SELECT data FROM runs WHERE state = 'queued' ORDER BY sheet != '', number LIMIT 1"
        return _first(self._database.rows(statement))

    def running(self) -> Run | None:
        """Run that runs."""
        return _first(self._database.rows("SELECT data FROM runs WHERE state = 'running' LIMIT 1"))

    def waiting(self) -> list[str]:
        """Ids of the runs that wait, in their order."""
        statement = "SELECT id FROM runs WHERE state = 'queued' ORDER BY sheet != '', number"
        return [row[0] for row in self._database.rows(statement)]

    def of_sheet(self, sheet: str) -> list[Run]:
        """Runs of a contact sheet, in its order."""
        return _runs(self._database.rows("SELECT data FROM runs WHERE sheet = ? ORDER BY number", sheet))

    def all(self) -> list[Run]:
        """All runs, newest first."""
        return _runs(self._database.rows("SELECT data FROM runs ORDER BY number DESC"))

    def remove(self, run: Run) -> None:
        """Removes a run and its files."""
        self._database.rows("DELETE FROM runs WHERE id = ?", run.id)
        shutil.rmtree(self.folder / run.id, ignore_errors=True)

    def requeue_interrupted(self) -> None:
        """Runs that an end of the studio interrupted wait again; they resume from their saved state."""
        for run in self.all():
            if run.state is State.RUNNING:
                self.update(run, state=State.QUEUED)

    def trim(self, most: int, most_bytes: int) -> int:
        """Removes the oldest runs that have ended, beyond a number and a size; returns the number removed.

        Beyond the size, saved states are removed first, with which stopped runs would resume.
        """
        runs = self.all()
        ended = [run for run in reversed(runs) if not run.state.active]
        left, left_bytes, removed = len(runs), folder_bytes(self.folder), 0
        for run in ended:
            state = self.files(run.id).state
            if left_bytes > most_bytes and state.is_file():
                left_bytes -= state.stat().st_size
                state.unlink()
        for run in ended:
            if left <= most and left_bytes <= most_bytes:
                break
            left_bytes -= folder_bytes(self.folder / run.id)
            self.remove(run)
            left, removed = left - 1, removed + 1
        return removed


def _runs(rows: list[sqlite3.Row]) -> list[Run]:
    return [Run.from_json(row[0]) for row in rows]


def _first(rows: list[sqlite3.Row]) -> Run | None:
    return next(iter(_runs(rows)), None)
