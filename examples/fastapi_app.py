"""A web service that paints: uvicorn examples.fastapi_app:app.

It needs `pip install fastapi uvicorn python-multipart` beside styleserve. The environment names the
server that paints (STYLESERVE_SERVER and so on); by default it is one on this machine.

    curl -F content=@photo.jpg -F style=@painting.jpg localhost:8000/paint -o result.png
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing, asynccontextmanager
from typing import Annotated, Any, Final, TypeVar

from fastapi import FastAPI, Form, HTTPException, Request, Response, UploadFile
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from styleserve.client import (
    AsyncStyleClient,
    ConnectionSettings,
    ControlError,
    Controls,
    DeadlineExceeded,
    ImageError,
    ModelNotReady,
    Overloaded,
    Progress,
    RequestRefused,
    ServerUnavailable,
    ServiceError,
    StyleServeError,
    TooLarge,
)

MAX_BODY_BYTES: Final = 32 * 2**20
MAX_STEPS: Final = 500
MAX_SIDE: Final = 1024

STATUSES: Final[dict[type[BaseException], int]] = {
    ControlError: 422,
    ImageError: 422,
    RequestRefused: 422,
    TooLarge: 413,
    Overloaded: 503,
    ServerUnavailable: 503,
    ModelNotReady: 503,
    DeadlineExceeded: 504,
    ServiceError: 502,  # all others from the server that paints
}

_T = TypeVar("_T")
log = logging.getLogger("styleserve.example")


class BodyLimit:
    """Refuses a body as soon as it has more bytes than allowed, before it is on the disk."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, and counts its bytes."""
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                raise HTTPException(413, f"the pictures have more than {self.max_bytes:,} bytes together")
            return message

        await self.app(scope, counted if scope["type"] == "http" else receive, send)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    """Opens one client for all requests, which keeps its connection."""
    async with AsyncStyleClient(settings=ConnectionSettings.from_environment()) as client:
        app.state.client = client
        yield


app = FastAPI(title="styleserve", lifespan=lifespan)
app.add_middleware(BodyLimit, max_bytes=MAX_BODY_BYTES)

Steps = Annotated[int, Form(ge=0, le=MAX_STEPS)]
MaxSide = Annotated[int, Form(ge=64, le=MAX_SIDE)]


@app.post("/paint", response_class=Response)
async def paint(
    request: Request, content: UploadFile, style: UploadFile, steps: Steps = 100, max_side: MaxSide = 512
) -> Response:
    """The content painted in the style, as PNG, whose longest side is `max_side`."""
    client: AsyncStyleClient = request.app.state.client
    pictures = await content.read(), await style.read()
    result = await unless_gone(request, client.stylize(*pictures, controls=Controls(steps=steps, max_side=max_side)))
    return Response(result.image_bytes, media_type="image/png")


@app.post("/paint/events", response_class=StreamingResponse)
async def paint_with_progress(
    request: Request, content: UploadFile, style: UploadFile, steps: Steps = 100, max_side: MaxSide = 512
) -> StreamingResponse:
    """The same as server-sent events: `progress` after each chunk, then `result`, or else `error`."""
    client: AsyncStyleClient = request.app.state.client
    run = client.stylize_iter(await content.read(), await style.read(), Controls(steps=steps, max_side=max_side))
    return StreamingResponse(events(request, run), media_type="text/event-stream")


@app.get("/health")
async def health(request: Request) -> JSONResponse:
    """200 while a version of the model is available."""
    client: AsyncStyleClient = request.app.state.client
    versions = [each.version for each in await client.status(timeout_s=2.0) if each.available]
    return JSONResponse({"versions": versions}, status_code=200 if versions else 503)


async def events(request: Request, run: AsyncGenerator[Progress]) -> AsyncGenerator[str]:
    """A run, as server-sent events."""
    try:
        async with aclosing(run):
            while True:
                progress = await unless_gone(request, anext(run))
                yield event("progress", steps=progress.steps_done, of=progress.steps_total)
                if progress.result is not None:
                    yield event("result", png=base64.b64encode(progress.result.image_bytes).decode())
                    return
    except ClientDisconnect:
        return
    except StyleServeError as error:
        yield event("error", **facts(error))


def event(name: str, **data: object) -> str:
    """One server-sent event."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


async def unless_gone(request: Request, work: Coroutine[Any, Any, _T]) -> _T:
    """Result of the work, which is cancelled, here and on the server, as soon as the HTTP client has gone.

    Raises:
        ClientDisconnect: The HTTP client has gone.
    """

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    tasks = working, watching = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def status_of(error: StyleServeError) -> int:
    """The HTTP status for an error."""
    if isinstance(error, ServiceError) and error.status in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        return 502  # this service has no permission, its caller may
    return next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), 500)


def facts(error: StyleServeError) -> dict[str, str]:
    """Facts for the caller: all about its own mistakes, only the kind of errors behind this service."""
    log.warning("%s: %s", type(error).__name__, error)
    kind = {"kind": type(error).__name__}
    return {**kind, "message": error.message} if status_of(error) < 500 else kind


@app.exception_handler(StyleServeError)
async def failed(_request: Request, error: StyleServeError) -> JSONResponse:
    """The response for an error."""
    status = status_of(error)
    return JSONResponse(facts(error), status_code=status, headers={"Retry-After": "5"} if status == 503 else None)


@app.exception_handler(ClientDisconnect)
async def left(_request: Request, _error: ClientDisconnect) -> Response:
    """A response that has no reader any more."""
    return Response(status_code=499)
