"""Cost of progress: a run in chunks against one call, on loopback and over a slow link."""

from __future__ import annotations

import statistics
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from styleserve.client import Controls, StyleClient, load_picture
from styleserve.server_process import ServerProcess

from .bench import Bench
from .results import Row, Table
from .settings import DEMO, LinkSettings
from .throttle import ThrottledLink
from .timing import in_turn, median_ratio, seconds

CALL_TIMEOUT_S: Final = 3600.0
WANTED_SLOW: Final = "<= 1.2x"
WANTED_LOOPBACK: Final = "<= 1.08x"


def measure(settings: LinkSettings, bench: Bench) -> list[Table]:
    """One table, a row for each size and link."""
    content, style = load_picture(DEMO / "content.jpg"), load_picture(DEMO / "style.jpg")
    rows: list[Row] = []
    slow = f"{settings.mbit_s:g} Mbit/s, {settings.delay_ms:g} ms each way"
    with ServerProcess(bench.model(max(settings.sides))) as server:
        for side in settings.sides:
            for name, wanted in ((slow, WANTED_SLOW), ("loopback", WANTED_LOOPBACK)):
                bench.say(f"link: {side} px, {name}")
                with _link(server.address, settings, name == slow) as address:
                    chunks: list[int] = []

                    def call(steps: int = settings.steps, side: int = side, address: str = address) -> None:
                        with StyleClient(address) as client:
                            controls = Controls(steps=steps, max_side=side, octaves=1)
                            client.stylize(content.encoded, style.encoded, controls, timeout_s=CALL_TIMEOUT_S)

                    def run(side: int = side, address: str = address, chunks: list[int] = chunks) -> None:
                        """Runs in chunks as the command line does: with a new client, and every picture."""
                        with StyleClient(address) as client:
                            controls = Controls(steps=settings.steps, max_side=side, octaves=1)
                            progress = client.stylize_iter(content.encoded, style.encoded, controls, images=True)
                            chunks.append(len(list(progress)))

                    call(steps=1)
                    found = in_turn(
                        {"run": lambda run=run: seconds(run), "call": lambda call=call: seconds(call)}, settings.rounds
                    )
                rows.append(
                    {
                        "px": side,
                        "link": name,
                        "one call s": statistics.median(found["call"]),
                        "progress s": statistics.median(found["run"]),
                        "chunks": statistics.median(chunks),
                        "ratio": median_ratio(found["run"], found["call"]),
                        "wanted": wanted,
                    }
                )
    return [Table(f"Progress over a link, {settings.steps} evaluations of L-BFGS", rows)]


@contextmanager
def _link(address: str, settings: LinkSettings, slow: bool) -> Generator[str]:
    """The address of the server, or of a slow link to it."""
    if not slow:
        yield address
        return
    port = int(address.rpartition(":")[2])
    with ThrottledLink(port, mbit_s=settings.mbit_s, delay_ms=settings.delay_ms) as link:
        yield link.address
