"""Ray's processes give way to servers; other processes of the caller keep their priority."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from styleserve.bulk.priority import lower_ray

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="priorities are lowered on Linux only")

RAYLET = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[2], 'ray::worker', sys.argv[3]])"
WORKER = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[2], 'server of ray'])"
SERVER = "import time; time.sleep(60)"


@contextmanager
def running(*command: str) -> Generator[int]:
    with subprocess.Popen([sys.executable, "-c", *command]) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def child_of(pid: int) -> int:
    ends_at = time.monotonic() + 30
    while not (found := Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        assert time.monotonic() < ends_at
        time.sleep(0.01)
    return int(found[0])


def test_ray_gives_way_and_servers_do_not() -> None:
    with running(RAYLET, "ray::raylet", WORKER, SERVER) as raylet, running(SERVER, "another program") as other:
        worker = child_of(raylet)
        server = child_of(worker)
        try:
            lower_ray()
            before = os.getpriority(os.PRIO_PROCESS, 0)
            assert [os.getpriority(os.PRIO_PROCESS, pid) for pid in (raylet, worker)] == [19, 19]
            assert [os.getpriority(os.PRIO_PROCESS, pid) for pid in (server, other)] == [before, before]
        finally:
            os.kill(server, 9)
