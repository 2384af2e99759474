"""Addresses of runs: new ones, stop, resume, removal, and their files."""

from __future__ import annotations

import asyncio
import math
import secrets
from typing import Final

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from styleserve import contract
from styleserve.client import Controls, PictureSet, StyleServeError, Unset
from styleserve.client.inputs.controls import refuse_foreign_controls

from ..form import FieldError, controls_from, sheet_cards
from ..painting import recipe_text, tiff_file
from ..settings import SHEET_SIDE_PX, SHEET_STEPS
from ..store import Run, RunRequest
from .bodies import json_object, text_values, texts
from .context import Studio, studio_of
from .files import file_response
from .loss_chart import loss_chart

router = APIRouter()

_JPEG: Final = "image/jpeg"
_CACHE: Final = "private, no-cache"
"""The address of a preview has the number of the picture, so that a page keeps what it has."""


@router.post("/runs")
async def paint(request: Request) -> Response:
    """Puts a run into the queue."""
    studio = studio_of(request)
    asked = await _asked(studio, request)
    _check_queue(studio, 1)
    controls = controls_from(asked.preset, asked.values)
    _check_size(studio, controls)
    try:
        refuse_foreign_controls(controls)
        PictureSet(content=asked.content, styles=asked.styles, content_regions=asked.regions).check(controls)
    except StyleServeError as error:
        raise FieldError("", error.message, error.hint) from error
    run = studio.runs.add(asked, controls)
    studio.painter.wake()
    return JSONResponse({"id": run.id, "url": f"/runs/{run.id}"}, 201)


@router.post("/sheets")
async def paint_sheet(request: Request) -> Response:
    """Puts the runs of a contact sheet into the queue."""
    studio = studio_of(request)
    asked = await _asked(studio, request)
    cards = sheet_cards(
        asked.values, side=SHEET_SIDE_PX, steps=SHEET_STEPS, most=(studio.limits or {}).get("max_side", math.inf)
    )
    _check_queue(studio, len(cards))
    sheet = secrets.token_hex(6)
    for card in cards:
        request_of_card = RunRequest(asked.content, asked.styles, asked.regions, card.preset, card.values)
        studio.runs.add(request_of_card, card.controls, sheet=sheet, label=card.label)
    studio.painter.wake()
    return JSONResponse({"id": sheet, "url": f"/sheets/{sheet}"}, 201)


@router.post("/sheets/{sheet}/stop")
async def stop_sheet(request: Request, sheet: str) -> Response:
    """Stops all runs of a contact sheet."""
    studio = studio_of(request)
    for run in reversed(studio.runs.of_sheet(sheet)):
        studio.painter.stop(run)
    return Response(status_code=204)


@router.delete("/sheets/{sheet}")
async def remove_sheet(request: Request, sheet: str) -> Response:
    """Removes the runs of a contact sheet, once all have ended."""
    studio = studio_of(request)
    found = studio.runs.of_sheet(sheet)
    if any(run.state.active for run in found):
        raise FieldError("", "the contact sheet has not ended", "Stop it first.")
    for run in found:
        studio.runs.remove(run)
        studio.hub.forget("run", run.id)
    return Response(status_code=204)


@router.post("/runs/{run_id}/stop")
async def stop(request: Request, run_id: str) -> Response:
    """Stops a run; it keeps its picture."""
    studio_of(request).painter.stop(run_of(request, run_id))
    return Response(status_code=204)


@router.post("/runs/{run_id}/resume")
async def resume(request: Request, run_id: str) -> Response:
    """Puts a stopped or failed run into the queue again."""
    studio_of(request).painter.resume(run_of(request, run_id))
    return Response(status_code=204)


@router.delete("/runs/{run_id}")
async def remove(request: Request, run_id: str) -> Response:
    """Removes a run that has ended, with its files."""
    studio, run = studio_of(request), run_of(request, run_id)
    if run.state.active:
        raise FieldError("", "the run has not ended", "Stop it first.")
    studio.runs.remove(run)
    studio.hub.forget("run", run.id)
    return Response(status_code=204)


@router.get("/runs/{run_id}/preview.jpg")
async def preview(request: Request, run_id: str) -> Response:
    """Picture so far."""
    return file_response(studio_of(request).runs.files(run_of(request, run_id).id).preview, _JPEG, cache=_CACHE)


@router.get("/runs/{run_id}/thumbnail.jpg")
async def thumbnail(request: Request, run_id: str) -> Response:
    """Picture so far, small."""
    return file_response(studio_of(request).runs.files(run_of(request, run_id).id).thumbnail, _JPEG, cache=_CACHE)


@router.get("/runs/{run_id}/result.png")
async def png(request: Request, run_id: str) -> Response:
    """Result as the client saves it."""
    run = run_of(request, run_id)
    path = studio_of(request).runs.files(run.id).png
    return file_response(path, "image/png", cache=_CACHE, download=_download(request, run, "png"))


@router.get("/runs/{run_id}/result.tiff")
async def tiff(request: Request, run_id: str) -> Response:
    """Result as TIFF."""
    run = run_of(request, run_id)
    try:
        path = await asyncio.to_thread(tiff_file, studio_of(request).runs.files(run.id))
    except FileNotFoundError as error:
        raise HTTPException(404) from error
    return file_response(path, "image/tiff", cache=_CACHE, download=_download(request, run, "tiff"))


@router.get("/runs/{run_id}/recipe.json")
async def recipe(request: Request, run_id: str) -> Response:
    """Recipe of the result."""
    run = run_of(request, run_id)
    try:
        text = recipe_text(studio_of(request).runs.files(run.id))
    except FileNotFoundError as error:
        raise HTTPException(404) from error
    name = f'attachment; filename="styleserve-{run.id}.json"'
    return Response(text, media_type="application/json", headers={"content-disposition": name})


@router.get("/runs/{run_id}/losses")
async def losses(request: Request, run_id: str) -> Response:
    """Curves of the losses so far, as SVG for the page."""
    run = run_of(request, run_id)
    return Response(loss_chart(studio_of(request).painter.losses(run)), media_type="text/html; charset=utf-8")


def run_of(request: Request, run_id: str) -> Run:
    """Run of an address.

    Raises:
        HTTPException: There is none; 404.
    """
    run = studio_of(request).runs.get(run_id)
    if run is None:
        raise HTTPException(404, "There is no such run; it may have been removed.")
    return run


async def _asked(studio: Studio, request: Request) -> RunRequest:
    """Request of the form.

    Raises:
        FieldError: A part is missing, or of another kind.
    """
    values = await json_object(request)
    content, preset = values.get("content"), values.get("preset", "")
    styles, regions = texts(values.get("styles", [])), texts(values.get("regions", []))
    if not isinstance(content, str) or not content:
        raise FieldError("content", "there is no photo", "Add one: drop it, paste it, or choose a file.")
    if not styles:
        raise FieldError("styles", "there is no style", "Add a painting: drop it, paste it, or choose a file.")
    if regions and len(regions) != len(styles):
        raise FieldError("styles", f"there are {len(regions)} masks for {len(styles)} styles", "Load the page again.")
    asked = RunRequest(
        content,
        tuple(styles),
        tuple(each or None for each in regions),
        str(preset),
        {name: text for name, text in text_values(values.get("values", {})).items() if text.strip()},
    )
    for sha256 in asked.pictures():
        if studio.pictures.get(sha256) is None:
            field = "content" if sha256 == content else "styles"
            raise FieldError(field, "a picture is no longer stored", "Add it again.")
    return asked


def _check_size(studio: Studio, controls: Controls) -> None:
    most = (studio.limits or {}).get("max_side")
    if most is not None and not isinstance(controls.max_side, Unset) and controls.max_side > most:
        text = f"the model paints up to {most:.0f} pixels a side; got {controls.max_side}"
        raise FieldError(contract.MAX_SIDE.name, text, "Choose a smaller size.")


def _check_queue(studio: Studio, more: int) -> None:
    waiting = len(studio.runs.waiting())
    if waiting + more > studio.settings.max_waiting:
        raise FieldError("", f"{waiting} runs wait; at most {studio.settings.max_waiting} can", "Stop some of them.")


def _download(request: Request, run: Run, extension: str) -> str | None:
    """Name of the file, where the address asks for a download."""
    return f"styleserve-{run.id}.{extension}" if "download" in request.query_params else None
