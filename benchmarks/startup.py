"""Wall time of commands, of imports, of a server's start and of its first replies."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from styleserve import contract
from styleserve.client import Controls, Picture, StyleClient, load_picture
from styleserve.server_process import ServerProcess
from styleserve.version_directories import WARMUP_FILE

from .bench import Bench
from .machine import ROOT
from .results import Row, Table
from .settings import DEMO, StartupSettings
from .timing import median_in_turn, seconds

WANTED_FIRST: Final = "<= 1.5x"

PYTHON: Final = "python -c pass"
IMPORT: Final = "python -c 'import styleserve.client'"
HELP: Final = "styleserve --help"
WANTED_S: Final = {IMPORT: "< 0.3 s", HELP: "< 0.3 s"}
TENSORFLOW: Final = "python -c 'import tensorflow'"


def measure(settings: StartupSettings, bench: Bench) -> list[Table]:
    """One table of commands, one of a server's start."""
    bench.say("startup: commands")
    commands: dict[str, Callable[[], float]] = {
        PYTHON: _process([sys.executable, "-c", "pass"]),
        "python -c 'import grpc, numpy, typer'": _process([sys.executable, "-c", "import grpc, numpy, typer"]),
        IMPORT: _process([sys.executable, "-c", "import styleserve.client"]),
        HELP: _process([*_styleserve(), "--help"]),
    }
    for command in commands.values():
        command()  # reads the files into the page cache
    found = median_in_turn(commands, settings.repeats)
    rows = [_row(name, own_s, PYTHON, found[PYTHON], WANTED_S.get(name)) for name, own_s in found.items()]
    return [Table("Commands", rows), Table(f"A server of a {settings.side}-px model", _server_rows(settings, bench))]


def _server_rows(settings: StartupSettings, bench: Bench) -> list[Row]:
    base_path = bench.model(settings.side)
    content, style = load_picture(DEMO / "content.jpg"), load_picture(DEMO / "style.jpg")
    controls = Controls(steps=settings.steps, max_side=settings.side, octaves=1)
    bench.say("startup: a server and its first requests")
    tensorflow_s = _process([sys.executable, "-c", "import tensorflow"])()
    with ServerProcess(base_path) as server, StyleClient(server.address) as client:
        call = partial(client.stylize, content, style, controls)
        first_s, second_s = seconds(call), seconds(call)
        # A run in chunks fetches other outputs, for which a server prepares its graph again.
        chunk = partial(_first_chunk, client, content, style, settings)
        first_chunk_s, second_chunk_s = seconds(chunk), seconds(chunk)
    cold_s = _ready_s_without_warmup(base_path)
    request = f"request of {settings.steps} steps, {contract.PAINT}"
    export_s = bench.export_s.get(base_path)
    return [
        *([] if export_s is None else [_row("export", export_s, TENSORFLOW, tensorflow_s)]),
        _row("until it serves", server.ready_s, TENSORFLOW, tensorflow_s, "< 10 s"),
        _row("until it serves, without warm-up requests", cold_s, TENSORFLOW, tensorflow_s),
        _row(f"first {request}", first_s, "the second", second_s, WANTED_FIRST),
        _row("first chunk of a run", first_chunk_s, "that of the second run", second_chunk_s, WANTED_FIRST),
    ]


def _first_chunk(client: StyleClient, content: Picture, style: Picture, settings: StartupSettings) -> None:
    controls = Controls(steps=settings.steps + 1, max_side=settings.side, octaves=1)
    next(client.stylize_iter(content, style, controls, chunk_steps=settings.steps))


def _ready_s_without_warmup(base_path: Path) -> float:
    with tempfile.TemporaryDirectory(prefix="styleserve-cold-") as folder:
        cold = Path(folder) / base_path.name
        shutil.copytree(base_path, cold, ignore=shutil.ignore_patterns(Path(WARMUP_FILE).name))
        with ServerProcess(cold) as server:
            return server.ready_s


def _row(what: str, own_s: float, baseline: str, baseline_s: float, wanted: str | None = None) -> Row:
    return {
        "what": what,
        "s": own_s,
        "baseline": baseline,
        "baseline s": baseline_s,
        "ratio": own_s / baseline_s,
        "wanted": wanted or "",
    }


def _process(command: Sequence[str]) -> Callable[[], float]:
    return partial(seconds, lambda: subprocess.run(command, cwd=ROOT, capture_output=True, check=True))  # noqa: S603


def _styleserve() -> list[str]:
    """Command line of `styleserve`: the script beside this Python, or else the module."""
    script = Path(sys.executable).with_name("styleserve")
    return [str(script)] if script.is_file() else [sys.executable, "-m", "styleserve"]
