"""A run on a Ray cluster that it reaches through a ray:// address, as from outside the cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from styleserve.bulk.folders import LocalFolder
from styleserve.bulk.ledger import read_ledger

from ..ports import free_port
from .conftest import arguments, call, make_jobs, processes_below, quiet_environment, until_reachable

OPTIONS = ("--steps", "3", "--max-side", "32")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a cluster of one machine that asks for a token, which is in the environment."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "b6e3f1a0" * 8)
    port, client_port = free_port(), free_port()
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus", "3"]
    options = ["--port", str(port), "--ray-client-server-port", str(client_port), "--include-dashboard", "false"]
    with subprocess.Popen(
        [*start, *options, "--object-store-memory", str(200 * 2**20), "--disable-usage-stats"],
        env=quiet_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as head:
        try:
            until_reachable(client_port, head)
            yield f"ray://127.0.0.1:{client_port}"
        finally:
            for pid in processes_below(head.pid):
                with suppress(ProcessLookupError):  # it ended with another one
                    os.kill(pid, signal.SIGKILL)  # asked to end, Ray takes half a minute


def test_a_run_from_outside_of_a_cluster(
    cluster: str, tiny_model_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, output = make_jobs(tmp_path / "in", 6), tmp_path / "out"
    run = arguments(jobs, output, tiny_model_base, *OPTIONS, "--address", cluster)
    first, again = call(run), call(run)
    assert (first.returncode, "6 of 6 done, 6 of them painted now" in first.stdout) == (0, True), first.stderr
    assert (again.returncode, "6 of 6 done, 0 of them painted now" in again.stdout) == (0, True), again.stderr
    rows = read_ledger(LocalFolder(output))
    assert [row["status"] for row in rows] == ["painted"] * 6
    assert all((output / row["output"]).is_file() for row in rows)

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_CLIENT_INITIAL_CONNECTION_TIMEOUT_S", "1")
    refused = call(arguments(jobs, tmp_path / "other", tiny_model_base, *OPTIONS, "--address", cluster))
    assert refused.returncode == 6
    assert refused.stderr == (
        f"Error: Ray at {cluster} does not answer: ray client connection timeout\n"
        "Check --address. If the cluster asks for a token: RAY_AUTH_MODE=token and RAY_AUTH_TOKEN.\n"
    )
