"""Pages: the studio with its form, its stage and its history; and the parts of it that scripts load again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ..form import fields, preset_cards, preset_values
from ..form.fields import sizes
from ..form.presets import DEFAULT_PRESET
from ..store import Run, RunRequest, State, StoredPicture
from .context import Studio, studio_of
from .links import link_of, request_of
from .runs import run_of
from .templates import render

router = APIRouter()

_HISTORY: Final = 60
"""Most entries of the history on a page."""
_NOTHING: Final = RunRequest("", ())


@dataclass(frozen=True)
class HistoryEntry:
    """A run, or a contact sheet, in the history.

    Attributes:
        run: The run; of a sheet, its newest one with a picture.
        url: Address of its page.
        is_sheet: Whether it is a sheet.
        active: Whether it waits or runs.
    """

    run: Run
    url: str
    is_sheet: bool
    active: bool


@router.get("/")
async def home(request: Request) -> Response:
    """The run that runs, else the newest; with parameters, the form filled with them."""
    studio = studio_of(request)
    if request.query_params:
        return _page(request, request_of(request.query_params))
    runs = studio.runs.all()
    shown = studio.runs.running() or next(iter(runs), None)
    if shown is None:
        return _page(request, _NOTHING)
    return _sheet_page(request, shown.sheet) if shown.sheet else _page(request, shown.request, run=shown)


@router.get("/new")
async def new(request: Request) -> Response:
    """An empty form."""
    return _page(request, _NOTHING)


@router.get("/runs/{run_id}")
async def run_page(request: Request, run_id: str) -> Response:
    """A run, with its settings in the form."""
    run = run_of(request, run_id)
    return _page(request, run.request, run=run)


@router.get("/sheets/{sheet}")
async def sheet_page(request: Request, sheet: str) -> Response:
    """A contact sheet."""
    return _sheet_page(request, sheet)


@router.get("/runs/{run_id}/stage")
async def run_stage(request: Request, run_id: str) -> Response:
    """The stage of a run."""
    return render(request, "_run.html", _run_values(studio_of(request), run_of(request, run_id)))


@router.get("/sheets/{sheet}/stage")
async def sheet_stage(request: Request, sheet: str) -> Response:
    """The stage of a contact sheet."""
    values = {"event": studio_of(request).hub.number, "sheet": _sheet(request, sheet), "sheet_id": sheet}
    return render(request, "_sheet.html", values)


@router.get("/history")
async def history(request: Request) -> Response:
    """The history."""
    return render(
        request, "_history.html", {"history": _history(studio_of(request)), "settings": studio_of(request).settings}
    )


def _sheet(request: Request, sheet: str) -> list[Run]:
    found = studio_of(request).runs.of_sheet(sheet)
    if not found:
        raise HTTPException(404, "There is no such contact sheet; it may have been removed.")
    return found


def _sheet_page(request: Request, sheet: str) -> Response:
    found = _sheet(request, sheet)
    first = found[0].request
    shared = {
        name: value
        for name, value in first.values.items()
        if all(run.request.values.get(name) == value for run in found)
    }
    form = RunRequest(first.content, first.styles, first.regions, DEFAULT_PRESET, shared)
    return _page(request, form, sheet=found)


def _page(request: Request, form: RunRequest, *, run: Run | None = None, sheet: Sequence[Run] = ()) -> Response:
    studio = studio_of(request)
    styles = [
        (picture, form.regions[index] if index < len(form.regions) else None)
        for index, sha256 in enumerate(form.styles)
        if (picture := studio.pictures.get(sha256)) is not None
    ]
    missing = len(form.styles) - len(styles)
    content = studio.pictures.get(form.content) if form.content else None
    all_fields = fields(studio.limits)
    values: dict[str, Any] = {
        "content": content,
        "styles": styles,
        "missing": missing + (bool(form.content) and content is None),
        "form": form,
        "preset": form.preset or DEFAULT_PRESET,
        "presets": [(card, preset_values(card.name)) for card in preset_cards()],
        "style_fields": [field for field in all_fields if field.place == "style"],
        "style_values": {field.name: _several(form.values.get(field.name, "")) for field in all_fields},
        "advanced": [field for field in all_fields if field.place == "advanced"],
        "size": next(field for field in all_fields if field.place == "main"),
        "sizes": sizes(studio.limits),
        "most_styles": int((studio.limits or {}).get("max_styles", 8)),
        "settings": studio.settings,
        "server": studio.backend.status,
        "where": studio.backend.where,
        "history": _history(studio),
        "sheet": list(sheet),
        "sheet_id": sheet[0].sheet if sheet else "",
        "event": studio.hub.number,
    }
    return render(request, "studio.html", {**values, **(_run_values(studio, run) if run else {"run": None})})


def _several(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


def _run_values(studio: Studio, run: Run) -> dict[str, Any]:
    number = studio.hub.number
    files = studio.runs.files(run.id)
    waiting = studio.runs.waiting()
    return {
        "event": number,
        "run": run,
        "before": studio.pictures.get(run.request.content),
        "run_styles": [_style(studio, sha256) for sha256 in run.request.styles],
        "place": waiting.index(run.id) + 1 if run.id in waiting else 0,
        "has_result": files.png.is_file() and not run.state.active,
        "can_resume": run.state in (State.STOPPED, State.FAILED),
        "again": link_of(run.request),
        "own": _own_values(run),
    }


def _style(studio: Studio, sha256: str) -> StoredPicture:
    return studio.pictures.get(sha256) or StoredPicture(sha256, "a removed picture", 0, 0)


def _own_values(run: Run) -> list[tuple[str, str]]:
    """Labels and values of the controls of a run that its form or preset set."""
    labels = {field.name: field.label for field in fields()}
    own = {**preset_values(run.request.preset), **run.request.values}
    return [(labels.get(name, name), _text(run.controls.get(name, value))) for name, value in own.items()]


def _text(value: object) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(map(_text, cast("Sequence[object]", value)))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _history(studio: Studio) -> list[HistoryEntry]:
    entries: dict[str, HistoryEntry] = {}
    for run in studio.runs.all():
        key = run.sheet or run.id
        if key not in entries:
            url = f"/sheets/{run.sheet}" if run.sheet else f"/runs/{run.id}"
            entries[key] = HistoryEntry(run, url, bool(run.sheet), run.state.active)
        elif (run.picture and not entries[key].run.picture) or run.state.active:
            shown = run if run.picture and not entries[key].run.picture else entries[key].run
            entries[key] = HistoryEntry(shown, entries[key].url, True, entries[key].active or run.state.active)
    return list(entries.values())[:_HISTORY]
