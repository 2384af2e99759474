"""Files of the page, kept in memory: a few, small, and asked for with every first page."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

router = APIRouter()

_FOLDER: Final = Path(__file__).parent.parent / "static"
_KINDS: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class _File:
    content: bytes
    kind: str
    tag: str


def _load() -> dict[str, _File]:
    found: dict[str, _File] = {}
    for path in _FOLDER.iterdir():
        if path.suffix in _KINDS:
            content = path.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
            found[path.name] = _File(content, _KINDS[path.suffix], tag)
    return found


_FILES: Final = _load()

MODULES: Final = tuple(sorted(name for name in _FILES if name.endswith(".js") and name != "worker.js"))
"""Modules of the page, which it loads at once."""


@router.get("/static/{name}")
async def static(request: Request, name: str) -> Response:
    """A file; a browser that has it asks whether it has changed."""
    file = _FILES.get(name)
    if file is None:
        return Response(status_code=404)
    headers = {"etag": file.tag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == file.tag:
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.kind, headers=headers)
