"""The studio behind the pages: its stores, its painter and its server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, cast

from starlette.requests import Request

from styleserve.client import ConnectionSettings

from ..form.fields import sizes
from ..painting import Backend, EventHub, Painter, ServerStatus
from ..settings import StudioSettings
from ..store import Database, PictureStore, RunStore, SessionStore
from .security import Access

_RECEIVED_AT_A_TIME: Final = 2
"""Uploads in memory at a time; others wait with their bytes in the connection."""

Start = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True, kw_only=True)
class StudioOptions:
    """Parts of a studio.

    Attributes:
        settings: Folder and bounds.
        connection: Settings of the connection to the server.
        start_server: Context manager of an embedded server, with its `address`; None if a server was named.
        on_status: Called with every new state of the server.
    """

    settings: StudioSettings
    connection: ConnectionSettings
    start_server: Start | None = None
    on_status: Callable[[ServerStatus], None] | None = None


class Studio:
    """Stores, painter and server of one application; made in its event loop."""

    def __init__(self, options: StudioOptions, database: Database) -> None:
        self.settings: Final = options.settings
        self.database: Final = database
        self.pictures: Final = PictureStore(database)
        self.runs: Final = RunStore(database)
        self.sessions: Final = SessionStore(database)
        self.hub: Final = EventHub()
        self.decoder: Final = ThreadPoolExecutor(1, thread_name_prefix="pictures")
        """One thread reads pictures, so that memory for one is enough."""
        self.receiving: Final = asyncio.Semaphore(_RECEIVED_AT_A_TIME)
        self._on_status: Final = options.on_status
        self.backend: Final = Backend(options.connection, start=options.start_server, on_status=self._show)
        self.painter: Final = Painter(self.runs, self.pictures, self.backend, self.hub, self.settings)

    def open(self) -> None:
        """Starts the server and the painter."""
        self._publish(self.backend.status)
        self.backend.open()
        self.painter.open()

    async def end_runs(self) -> None:
        """Ends the painter, which saves its run, and the streams of events."""
        self.hub.close()
        await self.painter.close()

    async def close(self) -> None:
        """Ends all parts, the server last."""
        await self.end_runs()
        await self.backend.close()
        await asyncio.to_thread(self.decoder.shutdown)
        self.database.close()

    def needed_pictures(self) -> set[str]:
        """Uploads that runs need."""
        return {sha256 for run in self.runs.all() for sha256 in run.request.pictures()}

    @property
    def limits(self) -> Mapping[str, float] | None:
        """Limits of the model; None until the server has answered."""
        return self.backend.limits

    def _show(self, status: ServerStatus) -> None:
        self._publish(status)
        if self._on_status is not None:
            self._on_status(status)

    def _publish(self, status: ServerStatus) -> None:
        sizes_of_model = None if self.limits is None else sizes(self.limits)
        facts = {"state": status.state, "text": status.text, "hint": status.hint, "sizes": sizes_of_model}
        self.hub.publish("server", "", facts)


def studio_of(request: Request) -> Studio:
    """The studio of a request."""
    return cast("Studio", request.app.state.studio)


def access_of(request: Request) -> Access:
    """Tokens and names of the studio of a request."""
    return cast("Access", request.app.state.access)
