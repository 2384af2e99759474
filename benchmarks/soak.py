"""Memory of a server over many requests in a row."""

from __future__ import annotations

from styleserve import contract
from styleserve.client import Controls, StyleClient, load_picture

from .bench import Bench
from .memory import resident_mb
from .results import Row, Table
from .server import served
from .settings import DEMO, SoakSettings
from .timing import seconds

LOOKS = 10


def measure(settings: SoakSettings, bench: Bench) -> list[Table]:
    """One table, a row after each tenth of the requests."""
    content, style = load_picture(DEMO / "content.jpg"), load_picture(DEMO / "style.jpg")
    controls = Controls(steps=settings.steps, max_side=settings.side, octaves=1)
    base_path = bench.model(settings.side, tiny=True)
    bench.say(f"soak: {settings.requests} requests")
    rows: list[Row] = []
    with served(base_path) as server, StyleClient(server.address) as client:

        def requests(count: int) -> None:
            for _ in range(count):
                client.stylize(content, style, controls)

        first_mb, done = None, 0
        for look in range(1, LOOKS + 1):
            upto = settings.requests * look // LOOKS
            if upto == done:
                continue
            took_s = seconds(lambda count=upto - done: requests(count))
            now_mb = resident_mb(server.pid)
            first_mb = now_mb if first_mb is None else first_mb
            rows.append(
                {
                    "requests": upto,
                    "ms a request": 1000 * took_s / (upto - done),
                    "server MB": now_mb,
                    "ratio to the first row": now_mb / first_mb if now_mb and first_mb else None,
                }
            )
            done = upto
    return [
        Table(f"A server's memory over {settings.requests} requests", rows, [f"{contract.PAINT}, {settings.side} px"])
    ]
