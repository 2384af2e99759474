"""Embedded server as a child process, for programs that need a server of their own."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final

START_TIMEOUT_S: Final = 600.0
"""Time for the server to become ready; a large model on a busy machine takes minutes."""
STOP_TIMEOUT_S: Final = 40.0
"""Time for the server to stop before it is killed; more than the default grace of `serve`."""

_KEPT_LINES: Final = 50
_READY: Final = re.compile(r"Serving .* on (\S+?)\. ")


class ServerProcessError(Exception):
    """The server ended before it was ready, or was not ready in time; the message has its output."""


class ServerProcess:
    """`styleserve serve` on a free port of the loopback address; a context manager.

    The server ends with this process, even if this process is killed: its standard input closes then.

    Args:
        base_path: Directory with one numbered sub-directory for each version of the model.
        options: More options of `styleserve serve`.
        environment: Environment of the server; None for that of this process.
    """

    def __init__(
        self, base_path: Path, *, options: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        self._command: Final = [
            *(sys.executable, "-m", "styleserve", "serve", "--watch-stdin", "--port", "0"),
            *("--model-base-path", str(base_path), *options),
        ]
        self._environment: Final = environment
        self._lines: Final[deque[str]] = deque(maxlen=_KEPT_LINES)
        self._ready: Final = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self.address = ""
        """Address to connect to, as `127.0.0.1:port`, once the server is ready."""
        self.ready_s = 0.0
        """Time from the start to readiness, in seconds."""

    def __enter__(self) -> ServerProcess:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Process id of the server; 0 before the start."""
        return 0 if self._process is None else self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def output(self) -> str:
        """Last lines that the server printed."""
        return "".join(self._lines)

    def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Starts the server and returns when it is ready.

        Raises:
            ServerProcessError: The server ended, or was not ready in time.
        """
        started = time.perf_counter()
        self._process = subprocess.Popen(  # noqa: S603
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=None if self._environment is None else dict(self._environment),
        )
        threading.Thread(target=self._read, args=(self._process,), name="styleserve-server-output", daemon=True).start()
        try:
            in_time = self._ready.wait(timeout_s)
        except BaseException:  # Ctrl-C
            self.stop()
            raise
        if not self.address:
            self.stop()
            why = "ended before it was ready" if in_time else f"was not ready within {timeout_s:g} s"
            raise ServerProcessError(f"the embedded server {why}: {self.output.strip()}")
        self.ready_s = time.perf_counter() - started

    def stop(self) -> None:
        """Stops the server, and kills it if it does not stop in time."""
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()

    def _read(self, process: subprocess.Popen[str]) -> None:
        """Reads all output, because a full pipe would block the server."""
        output = process.stdout
        assert output is not None  # noqa: S101 - a pipe, as asked for
        with suppress(ValueError):  # closed by `stop`
            for line in output:
                self._lines.append(line)
                if not self.address and (found := _READY.search(line)):
                    self.address = found[1]
                    self._ready.set()
        self._ready.set()
