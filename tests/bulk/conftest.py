"""Pairs of small pictures, and the command `styleserve bulk` in a process of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

RUN_TIMEOUT_S = 280.0
START_TIMEOUT_S = 60.0

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def save_noise(path: Path, side: int, seed: int) -> Path:
    levels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(levels).save(path)
    return path


def make_jobs(folder: Path, count: int, side: int = 32) -> Path:
    """A list of jobs in JSON lines, with different contents and two styles."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        save_noise(folder / f"content-{seed:03}.png", side, seed)
    for seed in range(2):
        save_noise(folder / f"style-{seed}.png", side, 1000 + seed)
    rows = [{"content": f"content-{seed:03}.png", "style": f"style-{seed % 2}.png"} for seed in range(count)]
    path = folder / "jobs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def arguments(jobs: Path | str, output: Path | str, model: Path, *options: str) -> list[str]:
    """The command line of a run on this machine."""
    run = [sys.executable, "-m", "styleserve", "bulk", str(jobs), "-o", str(output), "--model", str(model)]
    return [*run, "--no-dashboard", *options]


def quiet_environment() -> dict[str, str]:
    """Environment of a run: no notes of TensorFlow, and ten seconds, not sixty, until Ray gives up a dead GCS."""
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "RAY_gcs_rpc_server_reconnect_timeout_s": "10"}


def call(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=False, env=quiet_environment()
    )


def processes_below(parent: int) -> dict[int, str]:
    """Commands of all processes that a process started, and that those started."""
    parents: dict[int, int] = {}
    commands: dict[int, str] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                commands[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (FileNotFoundError, ProcessLookupError):
                continue
    found, new = set[int](), {parent}
    while new:
        new = {pid for pid, above in parents.items() if above in new} - found
        found |= new
    return {pid: commands[pid] for pid in found}


def until_reachable(port: int, server: subprocess.Popen[bytes]) -> None:
    """Returns when a port of this machine accepts connections, those of a process that was started."""
    ends_at = time.monotonic() + START_TIMEOUT_S
    while server.poll() is None:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            return
        assert time.monotonic() < ends_at, "it did not start"
        time.sleep(0.1)
    raise AssertionError("it ended")


@pytest.fixture(scope="session")
def bulk() -> Command:
    return lambda *given: call(arguments(*given))
