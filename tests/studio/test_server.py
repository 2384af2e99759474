"""The embedded server of the studio, as its runs see it."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from styleserve.client import ConnectionSettings
from styleserve.studio.painting.server import Backend

from ..ports import free_port


@dataclass
class StandIn:
    """Process that serves nothing."""

    address: str
    running: bool = True
    output: str = "last words"


def test_a_server_is_lost_although_it_ends_after_its_connections() -> None:
    servers: list[StandIn] = []

    @contextmanager
    def start() -> Generator[StandIn]:
        servers.append(StandIn(f"127.0.0.1:{free_port()}"))
        yield servers[-1]

    async def lost() -> tuple[bool, bool]:
        backend = Backend(ConnectionSettings(), start=start, on_status=lambda _: None)
        backend.open()
        try:
            first = await backend.connection()
            asyncio.get_running_loop().call_later(1.0, setattr, servers[0], "running", False)
            was_lost = await backend.was_lost(first)
            second = await backend.connection()
            assert [first.server, second.server] == [each.address for each in servers]
            return was_lost, await backend.was_lost(second)
        finally:
            await backend.close()

    assert asyncio.run(lost()) == (True, False)
