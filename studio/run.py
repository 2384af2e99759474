"""Start of a studio: its application on a socket, until a signal ends it."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, cast

import uvicorn

from styleserve.client import ConnectionSettings
from styleserve.server_process import ServerProcess

from .painting import ServerStatus
from .settings import StudioSettings
from .store import Database
from .web import Access, Studio, StudioOptions, create_app

_GRACE_S: Final = 1
"""Time for open connections to end; streams of events would stay open for ever."""


@dataclass(frozen=True)
class Listening:
    """Socket of a studio, and the names and tokens that it accepts.

    Attributes:
        socket: Bound socket.
        names: Further names of the host.
        any_address: Whether Host headers may be any IP address.
        lasting: Tokens that can be used again and again.
    """

    socket: socket.socket
    names: tuple[str, ...] = ()
    any_address: bool = False
    lasting: tuple[str, ...] = ()


class _Server(uvicorn.Server):
    """Server that saves the run and ends the streams of events before it waits for connections."""

    def __init__(
        self, config: uvicorn.Config, end_runs: Callable[[], Awaitable[None]], on_ready: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._end_runs: Final = end_runs
        self._on_ready: Final = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts to listen."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stops to listen."""
        await self._end_runs()
        await super().shutdown(sockets)


def run_studio(
    settings: StudioSettings,
    listening: Listening,
    *,
    server: str | None,
    base_path: Path | None,
    on_link: Callable[[str], None],
    on_status: Callable[[ServerStatus], None],
) -> None:
    """Runs a studio until SIGINT or SIGTERM.

    Args:
        settings: Folder and bounds.
        listening: Socket, names and tokens.
        server: Address of the server to paint on; None for an embedded one.
        base_path: Base path of the model of the embedded server.
        on_link: Called with the link of the page, once it can be opened.
        on_status: Called with every new state of the server.

    Raises:
        FolderInUse: Another studio uses the folder.
        SettingsError: A setting of the connection cannot be used.
        OSError: The folder cannot be written to.
    """
    connection = ConnectionSettings.from_environment()
    start: Callable[[], ServerProcess] | None = None
    if server is not None:
        connection = replace(connection, server=server)
    elif base_path is not None:
        path = base_path
        start = lambda: ServerProcess(path)  # noqa: E731
    host, port = listening.socket.getsockname()[:2]
    access = Access(port, names=listening.names, any_address=listening.any_address, lasting=listening.lasting)
    options = StudioOptions(settings=settings, connection=connection, start_server=start, on_status=on_status)
    app = create_app(options, access, Database(settings.folder))
    shown = f"[{host}]" if ":" in host else host
    link = f"http://{shown}:{port}/" + ("" if access.takes_lasting_tokens else f"enter?token={access.new_token()}")

    async def end_runs() -> None:
        await cast("Studio", app.state.studio).end_runs()

    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=_GRACE_S, server_header=False
    )
    server_of_pages = _Server(config, end_runs, lambda: on_link(link))
    server_of_pages.run(sockets=[listening.socket])
