"""Memory of a server over many requests in a row."""

from __future__ import annotations

from styleserve import contract
from styleserve.client import Controls, StyleClient, load_picture
from styleserve.server_process import ServerProcess

from .bench import Bench
from .memory import memory_rows
from .results import Row, Table, Value
from .settings import DEMO, SoakSettings


def measure(settings: SoakSettings, bench: Bench) -> list[Table]:
    """One table, a row after each tenth of the requests."""
    content, style = load_picture(DEMO / "content.jpg"), load_picture(DEMO / "style.jpg")
    controls = Controls(steps=settings.steps, max_side=settings.side, octaves=1)
    base_path = bench.model(settings.side, tiny=True)
    bench.say(f"soak: {settings.requests} requests")
    with ServerProcess(base_path) as server, StyleClient(server.address) as client:

        def requests(count: int) -> None:
            for _ in range(count):
                client.stylize(content, style, controls)

        rows = memory_rows(server.pid, requests, settings.requests)
    first_mb = rows[0]["server MB"] if rows else None
    with_ratios: list[Row] = [{**row, "ratio to the first row": _ratio(row["server MB"], first_mb)} for row in rows]
    notes = [f"{contract.PAINT}, {settings.side} px"]
    return [Table(f"A server's memory over {settings.requests} requests", with_ratios, notes)]


def _ratio(memory_mb: Value, first_mb: Value) -> float | None:
    return memory_mb / first_mb if isinstance(memory_mb, float) and isinstance(first_mb, float) else None
