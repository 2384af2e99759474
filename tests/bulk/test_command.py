"""The commands on a local Ray, with a real model, from the list to the ledger."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from styleserve.bulk.folders import LocalFolder
from styleserve.bulk.ledger import read_ledger
from styleserve.client import Controls, StyleClient
from styleserve.server_process import ServerProcess

from ..ports import free_port
from .conftest import arguments, call, make_jobs, quiet_environment, save_noise, until_reachable

OPTIONS = ("--steps", "3", "--max-side", "32")
SOON_S = 60.0

pytestmark = pytest.mark.timeout(900)


def rows_of(output: Path) -> dict[str, Mapping[str, Any]]:
    """Last row of each place in the list."""
    return {row["where"].rpartition(":")[2]: row for row in read_ledger(LocalFolder(output))}


def command(*given: object) -> subprocess.CompletedProcess[str]:
    return call([sys.executable, "-m", "styleserve", *map(str, given)])


def test_from_the_list_to_the_ledger(tiny_model_base: Path, tmp_path: Path) -> None:
    save_noise(tmp_path / "lake.png", 40, 0)
    save_noise(tmp_path / "oil.png", 40, 1)
    (tmp_path / "copy.png").write_bytes((tmp_path / "lake.png").read_bytes())
    (tmp_path / "bad.png").write_bytes(b"no picture")
    jobs, output = tmp_path / "jobs.csv", tmp_path / "out"
    lines = ["lake.png,oil.png,,first.png", "lake.png,oil.png,,first.png", "copy.png,oil.png,,", "bad.png,oil.png,,"]
    jobs.write_text("\n".join(["content,style,steps,output", *lines, "lake.png,oil.png,5,more.jpg"]) + "\n")
    run = arguments(jobs, output, tiny_model_base, *OPTIONS)

    first = call([*run, "--json"])
    assert first.returncode == 9, first.stderr
    facts = json.loads(first.stdout)
    assert (facts["jobs"], facts["painted"], facts["done"], facts["failed"]) == (5, 2, 4, 1)
    assert facts["error"]["kind"] == "JobsFailed"
    assert f"{jobs}:5: ImageError: {tmp_path / 'bad.png'} is not a picture" in first.stderr
    assert "Traceback" not in first.stderr
    rows = rows_of(output)
    assert set(rows) == {"2", "4", "5", "6"}  # the third line is the second one again
    assert rows["2"]["id"] == rows["4"]["id"]
    assert {rows["2"]["status"], rows["4"]["status"]} <= {"painted", "found", "duplicate"}
    assert (rows["2"]["name"], rows["6"]["name"], rows["5"]["error"]) == ("first.png", "more.jpg", "ImageError")
    assert rows["6"]["output"].endswith(".jpg")
    assert rows["6"]["loss_last"] < rows["6"]["loss_first"]
    assert len(list(output.glob("pictures/*/*"))) == 2

    status = command("bulk", "status", output)
    assert (status.returncode, status.stderr) == (0, "")
    assert f"{output}: 3 of 5 done, 1 failed" in status.stdout
    assert "1 x ImageError" in status.stdout
    sheet = command("bulk", "sheet", output, "-p", tmp_path / "sheet.png")
    assert sheet.stdout == f"{tmp_path / 'sheet.png'}: 2 results\n"
    with Image.open(tmp_path / "sheet.png") as image:
        assert min(image.size) > 100

    again = call(run)  # nothing to do, but for a duplicate that is found now
    assert again.returncode == 9
    assert "0 of them painted now, 1 failed" in again.stdout
    save_noise(tmp_path / "bad.png", 40, 2)
    repeated = call([*run, "--retry-failed"])
    assert (repeated.returncode, repeated.stderr.count("Error")) == (0, 0), repeated.stderr
    assert "5 of 5 done, 1 of them painted now, 0 failed" in repeated.stdout
    other = call([*run, "--style-weight", "2"])
    assert other.returncode == 5
    assert "is of other settings: controls was {'steps': 3, 'max_side': 32} and is {'style_weight': 2.0" in other.stderr


@pytest.mark.slow
def test_servers_and_a_list_in_parquet(tiny_model_base: Path, tmp_path: Path) -> None:
    jobs = make_jobs(tmp_path / "in", 6)
    table = pa.Table.from_pylist([json.loads(line) for line in jobs.read_text().splitlines()])
    pq.write_table(table, tmp_path / "in/jobs.parquet")
    with ServerProcess(tiny_model_base) as server:
        ran = command(
            *("bulk", tmp_path / "in/jobs.parquet", "-o", tmp_path / "out", "--server", server.address),
            *("--no-dashboard", "--workers", "1", *OPTIONS),
        )
        assert (ran.returncode, "6 of 6 done, 6 of them painted now" in ran.stdout) == (0, True), ran.stderr
        with StyleClient(server.address) as client:
            for row in read_ledger(LocalFolder(tmp_path / "out")):
                own = client.stylize(row["content"], row["styles"], Controls(steps=3, max_side=32)).image
                with Image.open(tmp_path / "out" / row["output"]) as image:
                    assert np.array_equal(np.asarray(image), np.asarray(own))


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of an S3 server on this machine."""
    port = free_port()
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "key"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    start = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(start, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            until_reachable(port, server)
            yield "s3://bucket"
        finally:
            server.kill()


@pytest.mark.slow
def test_an_object_store(bucket: str, tiny_model_base: Path, tmp_path: Path) -> None:
    copy = (
        "import sys, fsspec; system = fsspec.filesystem('s3'); system.mkdir('bucket');"
        "system.put(sys.argv[1] + '/', 'bucket/in/', recursive=True)"
    )
    subprocess.run([sys.executable, "-c", copy, str(make_jobs(tmp_path / "in", 5).parent)], check=True)
    run = arguments(f"{bucket}/in/jobs.jsonl", f"{bucket}/out", tiny_model_base, *OPTIONS)
    first, again, recheck = call(run), call(run), call([*run, "--recheck"])
    assert (first.returncode, first.stderr.count("Error")) == (0, 0), first.stderr
    assert "5 of 5 done, 5 of them painted now, 0 failed" in first.stdout
    for ran in (again, recheck):
        assert "5 of 5 done, 0 of them painted now, 0 failed" in ran.stdout
    assert f"{bucket}/out: 5 of 5 done" in command("bulk", "status", f"{bucket}/out").stdout
    missing = call(arguments(f"{bucket}/in/no.csv", f"{bucket}/out", tiny_model_base, *OPTIONS))
    assert (missing.returncode, f"the list of jobs {bucket}/in/no.csv cannot be read" in missing.stderr) == (8, True)


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"model": "no-model"}, 14, "no-model cannot be read: No such file or directory"),
        ({"output": "jobs.jsonl/out"}, 5, "cannot write into"),
        ({"jobs": "no.csv"}, 8, "no.csv cannot be read: No such file or directory"),
        ({"options": ["--workers", "many"]}, 2, "'many' is neither a number nor auto"),
        ({"options": ["--workers", "0"]}, 3, "workers is 0; it must be at least 1"),
        ({"options": ["--format", "doc"]}, 5, "the extension is '.doc'"),
        ({"options": ["--address", "127.0.0.1:1"]}, 6, "Ray at 127.0.0.1:1 does not answer"),
        ({"options": ["--server", "127.0.0.1:1"]}, 3, "a run needs a model or servers, not both"),
    ],
)
def test_wrong_use_is_reported_before_anything_is_painted(
    tiny_model_base: Path, tmp_path: Path, changes: dict[str, Any], code: int, message: str
) -> None:
    jobs = make_jobs(tmp_path, 1)
    ran = call(
        arguments(
            tmp_path / changes.get("jobs", jobs.name),
            tmp_path / changes.get("output", "out"),
            tmp_path / changes["model"] if "model" in changes else tiny_model_base,
            *OPTIONS,
            *changes.get("options", []),
        )
    )
    assert (ran.returncode, message in ran.stderr) == (code, True), ran.stderr
    assert ran.stderr.startswith("Error: ")
    assert "Traceback" not in ran.stderr
    assert not list(tmp_path.glob("out/pictures/*/*"))


def test_one_run_at_a_time(tiny_model_base: Path, tmp_path: Path) -> None:
    jobs, output = make_jobs(tmp_path / "in", 1), tmp_path / "out"
    output.mkdir()
    hold = "import fcntl, sys; f = open(sys.argv[1], 'ab'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(output / ".bulk.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=quiet_environment(),
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        ran = call(arguments(jobs, output, tiny_model_base, *OPTIONS))
        assert (ran.returncode, f"another run uses {output}" in ran.stderr) == (5, True)
        holder.communicate(b"\n", timeout=SOON_S)


def test_status_and_sheet_of_no_run(tmp_path: Path) -> None:
    for ran in (command("bulk", "status", tmp_path), command("bulk", "sheet", tmp_path, "-p", tmp_path / "s.png")):
        assert ran.returncode == 5
        assert ran.stderr.startswith("Error: there is no ")


def test_help_names_the_three_commands() -> None:
    ran = command("bulk", "--help")
    assert ran.returncode == 0
    for name in ("run", "status", "sheet"):
        assert f" {name} " in ran.stdout
