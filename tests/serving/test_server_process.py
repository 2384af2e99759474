"""The embedded server as a child process."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from styleserve.client import StyleClient
from styleserve.server_process import ServerProcess, ServerProcessError

SOON_S = 60.0

PARENT = """
import sys, time
from pathlib import Path
from styleserve.server_process import ServerProcess
server = ServerProcess(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
time.sleep(1000)
"""


def until(condition: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < ends_at, "it did not come"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def test_it_serves_from_start_to_stop(stand_in_base: Path) -> None:
    with ServerProcess(stand_in_base) as server:
        assert server.running
        assert server.ready_s > 0
        assert re.fullmatch(r"127\.0\.0\.1:\d+", server.address)
        with StyleClient(server.address) as client:
            assert client.wait_until_ready().available
    assert not server.running
    assert "Stopping." in server.output


def test_an_end_before_readiness_is_an_error_with_the_output(tmp_path: Path) -> None:
    with pytest.raises(ServerProcessError, match=r"ended before it was ready: (?s:.*)Error: .*no-model"):
        ServerProcess(tmp_path / "no-model").start()


def test_an_error_after_the_start_of_python_is_the_last_word(stand_in_base: Path) -> None:
    """The thread that waits for the end of standard input must not disturb the end of the process."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        options = ("--port", str(taken.getsockname()[1]))
        with pytest.raises(ServerProcessError, match=r"in use\. Choose another with --host and --port\.$"):
            ServerProcess(stand_in_base, options=options).start()


def test_a_server_that_is_not_ready_in_time_is_stopped(stand_in_base: Path) -> None:
    server = ServerProcess(stand_in_base)
    with pytest.raises(ServerProcessError, match=r"was not ready within 0.01 s"):
        server.start(timeout_s=0.01)
    assert not server.running


def test_it_ends_with_a_parent_that_is_killed(stand_in_base: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(stand_in_base)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        parent.send_signal(signal.SIGKILL)
    until(lambda: not is_alive(pid))
