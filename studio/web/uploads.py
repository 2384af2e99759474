"""Addresses of uploads: a picture in, its facts out; pictures to show."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from styleserve.client import ImageError, StyleServeError
from styleserve.memory import give_back_freed_memory

from ..store import StoredPicture
from .bodies import TooLargeError, body_within
from .context import Studio, studio_of
from .files import file_response

router = APIRouter()

SAMPLES: Final = Path(__file__).parent.parent / "samples"
SAMPLE_NAMES: Final = ("content.jpg", "style.jpg", "mosaic.jpg")
_FOREVER: Final = "private, max-age=31536000, immutable"
"""A digest always names the same picture."""


@router.post("/pictures")
async def upload(request: Request) -> Response:
    """Stores the picture in the body; its name is in the query."""
    studio = studio_of(request)
    name = request.query_params.get("name", "")[:200] or "the picture"
    most = studio.settings.max_upload_bytes
    async with studio.receiving:
        try:
            data = await body_within(request, most)
        except TooLargeError:
            text = f"{name} has more than the {most // 2**20} MB allowed"
            return _refused(text, "Give a smaller picture.", status=413, headers={"connection": "close"})
        try:
            stored = await stored_picture(studio, data, name)
        except ImageError as error:
            return _refused(error.message, error.hint)
        except (StyleServeError, OSError, MemoryError) as error:
            return _refused(
                f"{name} cannot be stored: {error}", "Free some space, or give a smaller picture.", status=507
            )
    return JSONResponse(picture_facts(stored))


@router.post("/samples/{index}")
async def sample(request: Request, index: int) -> Response:
    """Stores one of the sample pictures: 0 is a photo, the others are paintings."""
    if not 0 <= index < len(SAMPLE_NAMES):
        return Response(status_code=404)
    path = SAMPLES / SAMPLE_NAMES[index]
    stored = await stored_picture(studio_of(request), path.read_bytes(), path.name)
    return JSONResponse(picture_facts(stored))


@router.get("/pictures/{sha256}/{kind}.jpg")
async def shown(request: Request, sha256: str, kind: str) -> Response:
    """The picture to show, or its thumbnail."""
    store = studio_of(request).pictures
    if kind not in ("shown", "thumbnail") or store.get(sha256) is None:
        return Response(status_code=404)
    path = store.shown_file(sha256) if kind == "shown" else store.thumbnail_file(sha256)
    return file_response(path, "image/jpeg", cache=_FOREVER)


async def stored_picture(studio: Studio, data: bytes, name: str) -> StoredPicture:
    """The picture in these bytes, read and stored.

    Raises:
        ImageError: The client cannot read it.
        OSError: The folder cannot be written to.
    """
    loop = asyncio.get_running_loop()
    try:
        stored = await loop.run_in_executor(studio.decoder, studio.pictures.write, data, name)
    finally:
        await loop.run_in_executor(studio.decoder, give_back_freed_memory)
    studio.pictures.add(stored)
    studio.pictures.trim(studio.settings.max_pictures, studio.needed_pictures())
    return stored


def picture_facts(picture: StoredPicture) -> dict[str, object]:
    """Facts about an upload, for JSON."""
    return {
        "sha256": picture.sha256,
        "name": picture.name,
        "width": picture.width,
        "height": picture.height,
        "notes": list(picture.notes),
    }


def _refused(message: str, hint: str, *, status: int = 422, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"field": "", "message": message, "hint": hint}, status, headers)
