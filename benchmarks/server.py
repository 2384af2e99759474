"""The embedded server as users start it: a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from .machine import ROOT

START_TIMEOUT_S = 600.0


class Server(NamedTuple):
    """A server that answers: where, in which process, and the seconds from its start until it said so."""

    address: str
    pid: int
    ready_s: float


@contextmanager
def served(base_path: Path, *options: str) -> Generator[Server]:
    """A server of the newest version below `base_path`; it ends with the context.

    Args:
        base_path: of the model.
        *options: more, of `styleserve serve`.

    Raises:
        RuntimeError: it ended, or did not serve in time; the message holds what it printed.
    """
    command = [
        sys.executable,
        "-m",
        "styleserve",
        "serve",
        "--model-base-path",
        str(base_path),
        "--port",
        "0",
        *options,
    ]
    start = time.perf_counter()
    with subprocess.Popen(  # noqa: S603
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        too_late = threading.Timer(START_TIMEOUT_S, process.kill)
        too_late.start()
        output = process.stdout or iter(())
        # Read on to the end, because a server whose pipe is full would block.
        reader = threading.Thread(target=lambda: [None for _ in output], daemon=True)
        try:
            printed: list[str] = []
            address = ""
            while not address:
                line = next(output, None)
                if line is None:
                    raise RuntimeError(f"styleserve serve ended: {''.join(printed)}")
                printed.append(line)
                found = re.search(r"Serving .* on (\S+?)\. ", line)
                address = found[1] if found else ""
            ready_s = time.perf_counter() - start
            too_late.cancel()
            reader.start()
            yield Server(address, process.pid, ready_s)
        finally:
            too_late.cancel()
            process.terminate()
            process.wait()
            if reader.ident is not None:
                reader.join()
