"""The server that paints: one that was named, or the embedded one in a process of its own."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from styleserve.client import AsyncStyleClient, ConnectionSettings, StyleServeError

logger = logging.getLogger(__name__)

_RETRY_S: Final = 5.0
_NOTICE_S: Final = 0.2
"""Time in which the end of an embedded server is noticed."""
_NOTICES: Final = 10
"""Looks after a failed call: a process ends some time after its connections, a busy machine's much later."""


class RunningServer(Protocol):
    """A server that was started."""

    @property
    def address(self) -> str:
        """Address, `host:port`."""
        ...

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        ...

    @property
    def output(self) -> str:
        """Last lines that it printed."""
        ...


@dataclass(frozen=True)
class ServerStatus:
    """State of the server, for pages.

    Attributes:
        state: "starting", "ready" or "failed".
        text: The same in words.
        hint: Next step to take; may be empty.
    """

    state: str
    text: str
    hint: str = ""


class Backend:
    """The server, and the connection to it. An embedded server that ends is started again.

    Args:
        settings: Settings of the connection; its server counts if none is started.
        start: Context manager of the server to start; None for one that runs elsewhere.
        on_status: Called with every new status, in the event loop.
    """

    def __init__(
        self,
        settings: ConnectionSettings,
        *,
        start: Callable[[], AbstractContextManager[RunningServer]] | None,
        on_status: Callable[[ServerStatus], None],
    ) -> None:
        self._settings: Final = settings
        self._start: Final = start
        self._on_status: Final = on_status
        self._connection: asyncio.Future[ConnectionSettings] = asyncio.get_running_loop().create_future()
        self._end: Final = threading.Event()
        self._thread: threading.Thread | None = None
        self._watch: asyncio.Task[None] | None = None
        self.limits: Mapping[str, float] | None = None
        where = f"server {settings.server}" if start is None else "embedded server"
        self.status = ServerStatus(
            "starting", f"Connecting to the {where}" if start is None else f"Starting the {where}"
        )

    @property
    def where(self) -> str:
        """The server in words: pictures go to this one only."""
        return "this computer" if self._start is not None else self._settings.server

    def open(self) -> None:
        """Starts the server and the watch of its state."""
        if self._start is None:
            self._connection.set_result(self._settings)
        else:
            # A thread of its own, because the process may end with the thread that started it.
            self._thread = threading.Thread(
                target=self._run_server, args=(self._start, asyncio.get_running_loop()), name="server", daemon=True
            )
            self._thread.start()
        self._watch = asyncio.create_task(self._watch_state())

    async def connection(self) -> ConnectionSettings:
        """Settings of the connection to the server, once it has an address.

        Raises:
            StyleServeError: The server did not start.
        """
        return await asyncio.shield(self._connection)

    async def was_lost(self, connection: ConnectionSettings) -> bool:
        """Whether the server of a connection was an embedded one that has ended."""
        if self._start is None:
            return False
        for _ in range(_NOTICES):
            await asyncio.sleep(_NOTICE_S)
            now = self._connection
            if not now.done() or now.exception() is not None or now.result() != connection:
                return True
        return False

    async def close(self) -> None:
        """Ends the server that was started."""
        if self._watch is not None:
            self._watch.cancel()
        self._end.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, 30.0)

    def _run_server(
        self, start: Callable[[], AbstractContextManager[RunningServer]], loop: asyncio.AbstractEventLoop
    ) -> None:
        def resolve(action: Callable[[Any], None], value: object) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(action, value)

        try:
            while not self._end.is_set():
                with start() as server:
                    resolve(self._connect, server.address)
                    while server.running and not self._end.wait(_NOTICE_S):
                        pass
                    if not self._end.is_set():
                        logger.warning("the embedded server ended; its last lines:\n%s", server.output)
                        resolve(self._lose, None)
        except Exception as error:  # shown on the page and by the command
            resolve(self._fail, error)

    def _connect(self, address: str) -> None:
        if not self._connection.done():
            self._connection.set_result(replace(self._settings, server=address))

    def _lose(self, _: None) -> None:
        """Waits for the next server; the watch of the state begins again."""
        self._connection = asyncio.get_running_loop().create_future()
        if self._watch is not None:
            self._watch.cancel()
        self._show(ServerStatus("starting", "The embedded server ended. Starting it again"))
        self._watch = asyncio.create_task(self._watch_state())

    def _fail(self, error: Exception) -> None:
        if not self._connection.done():
            hint = getattr(error, "hint", "")
            self._connection.set_exception(StyleServeError(f"the embedded server did not start: {error}", hint=hint))
            self._connection.exception()  # read once, so that asyncio does not report it as forgotten

    async def _watch_state(self) -> None:
        while True:
            try:
                async with AsyncStyleClient(settings=await self.connection()) as client:
                    metadata = await client.metadata()
            except StyleServeError as error:
                self._show(ServerStatus("failed", error.message, error.hint))
                if self._connection.done() and self._connection.exception() is not None:
                    return
                await asyncio.sleep(_RETRY_S)
                continue
            self.limits = metadata.limits
            text = f"{metadata.model_name} {metadata.model_version} on {self.where}"
            self._show(ServerStatus("ready", text))
            await asyncio.sleep(12 * _RETRY_S)

    def _show(self, status: ServerStatus) -> None:
        if status != self.status:
            self.status = status
            self._on_status(status)
