"""A run that is killed at any moment, in any of its processes: a rerun does what is missing."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from styleserve.bulk.folders import LocalFolder, sha256
from styleserve.bulk.ledger import read_ledger
from styleserve.client import Controls, StyleClient
from styleserve.server_process import ServerProcess

from .conftest import arguments, call, make_jobs, processes_below, quiet_environment

JOBS = 200
SIDE = 64
OPTIONS = ("--steps", "4", "--max-side", str(SIDE))
SOON_S = 240.0
SERVER = "--watch-stdin"
"""Part of the commands of servers that end with their worker."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def victims(driver: int) -> Iterator[tuple[str, int]]:
    yield "driver", driver
    for pid, command in processes_below(driver).items():
        for name, pattern in (
            ("worker", "ray::Map"),
            ("pipeline", "ray::styleserve-bulk"),
            ("server", SERVER),
            ("raylet", "raylet/raylet "),
            ("gcs", "gcs_server"),
        ):
            if pattern in command:
                yield name, pid


def pictures(output: Path) -> list[Path]:
    return sorted(output.glob("pictures/*/*.png"))


def until_gone(pids: set[int]) -> None:
    ends_at = time.monotonic() + SOON_S
    while alive := {pid for pid in pids if Path(f"/proc/{pid}").exists() and not is_zombie(pid)}:
        assert time.monotonic() < ends_at, f"left: {alive}"
        time.sleep(0.1)


def stop_ray(seen: set[int]) -> None:
    """As `ray stop --force` does; without a driver or GCS, Ray's processes end by themselves after a minute or two."""
    for pid in seen:
        with suppress(ProcessLookupError, FileNotFoundError):
            if b"ray" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
    until_gone(seen)


def is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_killed_at_random(tiny_model_base: Path, tmp_path: Path) -> None:
    jobs, output = make_jobs(tmp_path / "jobs", JOBS, SIDE), tmp_path / "out"
    command = arguments(jobs, output, tiny_model_base, *OPTIONS)
    chance = random.Random(19)  # noqa: S311 - where it comes decides nothing
    kinds = ["driver", "worker", "raylet", "server", "gcs", "pipeline"]
    seen: dict[int, str] = {}
    for kind in kinds:
        before = len(pictures(output))
        assert before < JOBS, f"the runs were too quick for {len(kinds)} kills"
        with subprocess.Popen(command, env=quiet_environment(), stdout=subprocess.DEVNULL) as driver:
            goal = before + chance.randint(3, 20)
            while len(pictures(output)) < goal and driver.poll() is None:
                time.sleep(0.02)
            found = dict(victims(driver.pid))
            seen |= processes_below(driver.pid)
            assert kind in found, found
            os.kill(found[kind], signal.SIGKILL)
            if kind in ("worker", "server"):  # the run continues, until the driver is killed as well
                goal = len(pictures(output)) + 3
                while len(pictures(output)) < goal and driver.poll() is None:
                    time.sleep(0.02)
                assert driver.poll() is None, f"the run did not survive the end of its {kind}"
                driver.kill()
            else:
                driver.wait(SOON_S)
        until_gone({pid for pid, command in seen.items() if SERVER in command})
        stop_ray(set(seen))

    ended = call(command)
    assert ended.returncode == 0, ended.stderr
    again = call(command)
    assert f"{JOBS} of {JOBS} done, 0 of them painted now, 0 failed" in again.stdout

    rows = {row["key"]: row for row in read_ledger(LocalFolder(output))}
    assert len(rows) == JOBS
    assert {row["status"] for row in rows.values()} <= {"painted", "found"}
    files = {str(path.relative_to(output)): path for path in pictures(output)}
    assert len(files) == JOBS
    assert {row["output"]: row["sha256"] for row in rows.values()} == {
        name: sha256(path.read_bytes()) for name, path in files.items()
    }
    assert not list(output.rglob("*.part"))
    assert not list((output / "plan").iterdir())
    assert_as_by_the_client(tiny_model_base, jobs, output, {row["content"]: row["output"] for row in rows.values()})


def assert_as_by_the_client(model: Path, jobs: Path, output: Path, outputs: dict[str, str]) -> None:
    """Every byte, the recipe included: the client saves into a folder beside, at the same depth."""
    with ServerProcess(model) as server, StyleClient(server.address) as client:
        for line in jobs.read_text().splitlines():
            row = json.loads(line)
            content, style = jobs.parent / row["content"], jobs.parent / row["style"]
            result = client.stylize(content, style, Controls(steps=4, max_side=SIDE))
            name = outputs[str(content)]
            path = output.parent / "own" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            result.save(path)
            assert path.read_bytes() == (output / name).read_bytes(), name
