"""The embedded server in a process of its own, as users start it."""

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
    """A server that is ready.

    Attributes:
        address: Host and port.
        pid: Its process.
        ready_s: Seconds from its start until it was ready.
    """

    address: str
    pid: int
    ready_s: float


@contextmanager
def served(base_path: Path, *options: str) -> Generator[Server]:
    """A server of the newest version below `base_path`, which ends with the context.

    Args:
        base_path: Base path of the model.
        *options: More options of `styleserve serve`.

    Raises:
        RuntimeError: The server ended, or was not ready in time; the message has its output.
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
        timeout = threading.Timer(START_TIMEOUT_S, process.kill)
        timeout.start()
        output = process.stdout or iter(())
        # Reads all output, because a full pipe would block the server.
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
            timeout.cancel()
            reader.start()
            yield Server(address, process.pid, ready_s)
        finally:
            timeout.cancel()
            process.terminate()
            process.wait()
            if reader.ident is not None:
                reader.join()
