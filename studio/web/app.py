"""The application: its parts put together, sign-in, events and errors."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import parse_qs

from fastapi import FastAPI
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from ..form import FieldError
from ..store import Database
from . import pages, runs, static, uploads
from .bodies import TooLargeError, body_within
from .context import Studio, StudioOptions, access_of, studio_of
from .security import Access, Guard
from .templates import not_found_page, sign_in_page

_COOKIE_S: Final = 30 * 24 * 3600
_FORM_BYTES: Final = 4096


def create_app(options: StudioOptions, access: Access, database: Database) -> FastAPI:
    """The application of a studio; its server and its painter run while it does."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        studio = app.state.studio = Studio(options, database)
        studio.open()
        try:
            yield
        finally:
            await studio.close()

    app = FastAPI(title="styleserve studio", lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None)
    app.state.access = access
    for router in (pages.router, runs.router, uploads.router, static.router):
        app.include_router(router)
    app.add_api_route("/enter", enter, methods=["GET", "POST"])
    app.add_api_route("/links", new_link, methods=["POST"])
    app.add_api_route("/events", events, response_class=EventSourceResponse)
    app.add_exception_handler(FieldError, _field_error)  # pyright: ignore[reportArgumentType] - of this very type
    app.add_exception_handler(HTTPException, _http_error)  # pyright: ignore[reportArgumentType]
    app.add_middleware(
        Guard,
        access=access,
        holds=lambda secret: bool(secret) and app.state.studio.sessions.holds(secret),
        sign_in=sign_in_page,
    )
    return app


async def enter(request: Request) -> Response:
    """Exchanges a token for a session, and leads to the page."""
    token = request.query_params.get("token", "")
    if request.method == "POST":
        try:
            token = parse_qs((await body_within(request, _FORM_BYTES)).decode("utf-8", "replace")).get("token", [""])[0]
        except (TooLargeError, ValueError):
            token = ""
    studio, access = studio_of(request), access_of(request)
    if not access.accepts(token.strip()):
        if studio.sessions.holds(request.cookies.get(access.cookie, "")):
            return RedirectResponse("/", 303)
        return sign_in_page(request, refused=bool(token))
    response = RedirectResponse("/", 303)
    response.set_cookie(
        access.cookie, studio.sessions.begin(), max_age=_COOKIE_S, httponly=True, samesite="strict", path="/"
    )
    return response


async def new_link(request: Request) -> Response:
    """A link for another browser, with a token for one use."""
    return JSONResponse({"path": f"/enter?token={access_of(request).new_token()}"}, 201)


async def events(request: Request) -> AsyncIterator[ServerSentEvent]:
    """Events of runs, of the history and of the server, from the one after Last-Event-ID."""
    studio: Studio = studio_of(request)
    last = request.headers.get("last-event-id", "") or request.query_params.get("after", "")
    yield ServerSentEvent(comment="open", retry=1000)
    async for event in studio.hub.follow(int(last) if last.isdecimal() else 0):
        yield ServerSentEvent(data=event.data, event=event.kind, id=str(event.number))


async def _field_error(_request: Request, error: FieldError) -> Response:
    return JSONResponse({"field": error.field, "message": error.message, "hint": error.hint}, 422)


async def _http_error(request: Request, error: HTTPException) -> Response:
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        return not_found_page(request, error.status_code)
    return JSONResponse({"field": "", "message": str(error.detail), "hint": "Load the page again."}, error.status_code)
