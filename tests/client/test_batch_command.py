"""The `batch` command, through Typer's runner and as processes that are stopped and killed."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import pty
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from styleserve.client import Record
from styleserve.client.batch.manifest import MANIFEST_NAME, Manifest, file_digest
from styleserve.client.cli.commands import register
from styleserve.client.wire.tensors import to_array

app = typer.Typer(pretty_exceptions_enable=False)
register(app)

PROGRAM = """
import faulthandler
import signal
import sys
faulthandler.enable()
signal.signal(signal.SIGINT, signal.default_int_handler)  # behind a shell's "&" a process is born deaf to Ctrl-C
import typer
from styleserve.client.cli.commands import register
app = typer.Typer(pretty_exceptions_enable=False)
register(app)
app()
"""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["batch", *map(str, arguments)])


@contextmanager
def started(*arguments: object) -> Generator[subprocess.Popen[str]]:
    """The command as a process, which does not outlive its test."""
    command = [sys.executable, "-W", "error", "-c", PROGRAM, "batch", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """stdout and stderr of a process; if it does not end, the test fails with the stacks of its threads."""
    try:
        return process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        pytest.fail(f"the command does not end: {process.communicate(timeout=60)}")


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def flat(text: str) -> str:
    return re.sub(r"[\s│]+", " ", text)


@pytest.fixture
def contents(tmp_path: Path) -> Path:
    """A folder of three pictures."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number, name in enumerate("abc"):
        Image.new("RGB", (24 + number, 20), (80 * number, 90, 30)).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_a_folder_in_every_style(stub: Any, contents: Path, content: Path, style: Path, out: Path) -> None:
    options = ("-o", out, "--style", style, "--style", content, "--server", stub.address)
    result = run(contents, *options, "--steps", 5, "--tv-weight", 2, "--format", "webp")
    assert result.exit_code == 0, result.output
    assert re.fullmatch(rf"{out}: 6 painted, 0 already there, 0 failed, \d+\.\d s\n", result.stdout)
    outputs = {f"{one}--{two}.webp" for one in "abc" for two in ("style", "content")}
    assert names(out) == {MANIFEST_NAME, *outputs}
    lines = result.stderr.splitlines()
    assert len(lines) == 6
    assert re.fullmatch(
        r"\[1/6\] a--style\.webp: loss 1e\+06 -> 8\.853e\+05, \d+\.\d s, style_transfer version 42", lines[0]
    )
    for request in stub.paints:
        assert to_array(request.inputs["steps"], "") == [5]
        assert to_array(request.inputs["total_variation_weight"], "") == [2]
    with Image.open(out / "b--style.webp") as image:
        assert image.size == (64, 51)

    again = run(contents, *options, "--steps", 5, "--tv-weight", 2, "--format", "webp")
    assert "0 painted, 6 already there, 0 failed" in again.stdout
    assert again.stderr.splitlines()[5] == "[6/6] c--content.webp: already there"
    assert len(stub.paints) == 6


def test_a_list_of_jobs(stub: Any, contents: Path, style: Path, out: Path) -> None:
    path = contents / "jobs.csv"
    path.write_text(f"content,style,output,steps,optimizer\na.png,{style},deep/x.jpg,4,adam\nb.png,../style.png,y,,\n")
    result = run(path, "-o", out, "--server", stub.address, "--model-name", "m", "--steps", 9, "--max-side", 32)
    assert result.exit_code == 0, result.output
    assert names(out) == {MANIFEST_NAME, "deep/x.jpg", "y.png"}
    sent = {to_array(request.inputs["optimizer"], "")[0]: request for request in stub.paints}
    assert to_array(sent[b"adam"].inputs["steps"], "") == [4]
    assert to_array(sent[b"lbfgs"].inputs["steps"], "") == [9]
    assert {request.model_spec.name for request in stub.requests} == {"m"}


def test_a_version_is_asked_for_by_its_label(stub: Any, contents: Path, style: Path, out: Path) -> None:
    """The same pictures by the version of another label are other pictures."""
    arguments = (contents, "-o", out, "--style", style, "--server", stub.address)
    for label, painted in (("stable", 3), ("stable", 0), ("canary", 3)):
        stub.requests.clear()
        result = run(*arguments, "--version-label", label)
        assert result.exit_code == 0, result.output
        assert [request.model_spec.version_label for request in stub.paints] == [label] * painted
        assert f"{painted} painted, {3 - painted} already there" in result.stdout


def test_a_system_without_locks_of_posix(stub: Any, contents: Path, content: Path, style: Path, out: Path) -> None:
    """Single pictures are painted there; a batch says why not."""
    program = f"import sys\nsys.modules['fcntl'] = None\n{PROGRAM}"
    where = ("--server", stub.address)

    def ran(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", "-c", program, *map(str, [*arguments, *where])]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    single = ran("stylize", content, style, "-o", out.with_suffix(".png"))
    assert single.returncode == 0, single.stderr
    many = ran("batch", contents, "-o", out, "--style", style)
    assert many.returncode == 5, many.stderr
    assert "locks its folder with a POSIX lock" in many.stderr
    assert "styleserve stylize" in many.stderr
    assert len(stub.paints) == 1


def test_several_servers_and_a_token_from_the_environment(
    stub: Any, serve: Any, contents: Path, style: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve() as other:
        monkeypatch.setenv("STYLESERVE_SERVER", f"{stub.address} {other.address}")
        monkeypatch.setenv("STYLESERVE_TOKEN", "secret")
        result = run(contents, "-o", out, "--style", style, "--concurrency", 1)
        assert result.exit_code == 0, result.output
        headers = [*stub.headers, *other.headers]
    assert {each["authorization"] for each in headers} == {"Bearer secret"}
    assert len(headers) == 3 + 2 * 2  # three pictures, and two questions to each server
    assert stub.headers
    assert other.headers


def test_a_busy_server_is_left_alone_by_the_clients_too(
    stub: Any, refusal: Any, contents: Path, style: Path, out: Path
) -> None:
    stub.predict = refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
    options = ("--style", style, "--server", stub.address, "--concurrency", 1, "--patience", 0)
    assert run(contents, "-o", out, *options).exit_code == 9
    assert len(stub.paints) == 1  # and not four: a batch has its own way of trying again


def test_failures_are_listed_at_the_end(stub: Any, contents: Path, style: Path, out: Path) -> None:
    (contents / "b.png").write_text("no picture")
    result = run(contents, "-o", out, "--style", style, "--server", stub.address)
    assert result.exit_code == 9
    assert "2 painted, 0 already there, 1 failed" in result.stdout
    message = f"b--style.png: ImageError: {contents / 'b.png'} is not a picture in a supported format"
    assert result.stderr.endswith(
        f"Error: 1 of 3 jobs failed:\n  {message}\nRun the same command again to repeat these jobs alone.\n"
    )


def test_as_json(stub: Any, contents: Path, style: Path, out: Path) -> None:
    arguments = (contents, "-o", out, "--style", style, "--server", stub.address, "--json")
    found = json.loads(run(*arguments).stdout)
    assert found.pop("seconds") > 0
    assert found == {
        "output": str(out),
        "jobs": 3,
        "painted": 3,
        "were_there": 0,
        "failed": 0,
        "failures": [],
    }
    (contents / "b.png").write_text("no picture")
    result = run(*arguments)
    assert result.exit_code == 9
    found = json.loads(result.stdout)
    assert (found["painted"], found["were_there"], found["failed"]) == (0, 2, 1)
    (failure,) = found["failures"]
    assert (failure["output"], failure["kind"]) == ("b--style.png", "ImageError")
    assert (found["error"]["kind"], found["error"]["exit_code"]) == ("JobsFailed", 9)


WRONG: list[tuple[int, str, list[str]]] = [
    (2, "Invalid value", ["in", "--format", "gif"]),
    (2, "Missing option", ["in", "--style", "style.png"]),
    (3, "steps is -1", ["in", "-o", "out", "--style", "style.png", "--steps", "-1"]),
    (3, "it belongs to Adam", ["in", "-o", "out", "--style", "style.png", "--learning-rate", "0.1"]),
    (3, "the concurrency is 0", ["in", "-o", "out", "--style", "style.png", "--concurrency", "0"]),
    (3, "the timeout is 0", ["in", "-o", "out", "--style", "style.png", "--timeout", "0"]),
    (5, "cannot make the folder", ["in", "-o", "in/a.png", "--style", "style.png"]),
    (5, "another run uses locked", ["in", "-o", "locked", "--style", "style.png"]),
    (8, "there is no style", ["in", "-o", "out"]),
    (8, "among the pictures", ["in", "-o", "./in/../in", "--style", "style.png"]),
    (8, "there is no folder or list of jobs", ["none.csv", "-o", "out"]),
    (8, "there is no folder none Name", ["none", "-o", "out", "--style", "style.png"]),
    (8, "there is no folder none.csv Name", ["none.csv", "-o", "out", "--style", "style.png"]),
    (8, "--style is for a folder", ["style.png", "-o", "out", "--style", "style.png"]),
    (8, "neither a folder nor a list", ["style.png", "-o", "out"]),
    (11, "host:port", ["in", "-o", "out", "--style", "style.png", "--server", "http://127.0.0.1"]),
]


@pytest.mark.parametrize(("code", "message", "arguments"), WRONG)
def test_wrong_calls(
    stub: Any,
    contents: Path,
    style: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    message: str,
    arguments: list[str],
) -> None:
    folder = contents.parent
    assert style.parent == folder
    monkeypatch.chdir(folder)
    (folder / "locked").mkdir()
    before = names(folder)
    with Manifest(folder / "locked"):
        result = run(*arguments, *([] if "--server" in arguments else ["--server", stub.address]))
    assert result.exit_code == code, result.output
    assert message in flat(result.stderr)
    assert stub.requests == []
    assert names(folder) - before == {f"locked/{MANIFEST_NAME}"}


def test_a_server_that_never_comes(contents: Path, style: Path, out: Path) -> None:
    result = run(contents, "-o", out, "--style", style, "--server", "127.0.0.1:1", "--patience", 0.2)
    assert result.exit_code == 9
    assert result.stderr.startswith("Waiting: no server answers at 127.0.0.1:1")
    assert result.stderr.count("Waiting") == 1
    assert result.stderr.count("ServerUnavailable: given up") == 6  # as they fail, and at the end


@pytest.fixture
def many(tmp_path: Path, style: Path) -> Path:
    """A list of 40 jobs whose pictures all differ."""
    rows = ["content,style,output"]
    for number in range(40):
        Image.new("RGB", (24 + number % 5, 20), (6 * number, 90, 30)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{style.name},{number % 3}/{number}.png")
    path = tmp_path / "jobs.csv"
    path.write_text("\n".join(rows))
    return path


def records(out: Path) -> list[Record]:
    data = (out / MANIFEST_NAME).read_bytes()
    return [Record.from_line(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]


def assert_consistent(out: Path) -> int:
    """Checks that pictures are whole and that recorded ones exist; returns the number of records."""
    for name in names(out) - {MANIFEST_NAME}:
        if not name.endswith(".part"):
            Image.open(io.BytesIO((out / name).read_bytes())).load()
    done = records(out) if (out / MANIFEST_NAME).exists() else []
    for record in done:
        assert record.sha256 == file_digest(out / record.output)
    assert len({record.key for record in done}) == len(done)  # none twice
    return len(done)


KILLS = 4
ANSWERS_BEFORE_A_KILL = 9
"""So that no run comes to its end before it is killed: four times nine is less than forty."""


@contextmanager
def answers_alone(stub: Any, count: int) -> Generator[None]:
    """Inside, only so many pictures are painted; further requests wait for the end."""
    answers, at_the_end = itertools.count(), threading.Event()

    def predict(request: Any, _: grpc.ServicerContext) -> Any:
        if next(answers) >= count:
            at_the_end.wait(60)
        return stub.predict(request)

    stub.predict_in_context = predict
    try:
        yield
    finally:
        at_the_end.set()
        stub.predict_in_context = None


def wait_for_paints(stub: Any, count: int, process: subprocess.Popen[str]) -> None:
    while len(stub.paints) < count and process.poll() is None:
        time.sleep(0.001)


@pytest.mark.slow
def test_killed_at_any_moment_nothing_is_lost_or_done_twice(stub: Any, many: Path, out: Path, tmp_path: Path) -> None:
    expected = tmp_path / "expected"
    assert run(many, "-o", expected, "--server", stub.address).exit_code == 0
    stub.requests.clear()

    arguments = (many, "-o", out, "--server", stub.address, "--concurrency", 3)
    chance, done = random.Random(20), 0  # noqa: S311 - a seed that fails can be run again
    for kills in range(1, KILLS + 1):
        with answers_alone(stub, ANSWERS_BEFORE_A_KILL), started(*arguments) as process:
            wait_for_paints(stub, len(stub.paints) + chance.randint(2, ANSWERS_BEFORE_A_KILL), process)
            time.sleep(chance.uniform(0, 0.03))
            assert process.poll() is None, process.communicate()
        before, done = done, assert_consistent(out)
        assert done >= before
        # Without a death between renaming and recording, a picture would be painted once and no more. With three at
        # once, each death costs three at most.
        assert len(stub.paints) <= done + 3 * kills
    with started(*arguments) as process:
        _, stderr = ended(process)
    assert process.returncode == 0, stderr
    assert assert_consistent(out) == 40
    assert names(out) == names(expected)
    for name in names(out) - {MANIFEST_NAME}:
        assert (out / name).read_bytes() == (expected / name).read_bytes()


def test_ctrl_c_cancels_records_and_the_batch_resumes(stub: Any, many: Path, out: Path) -> None:
    arrived, cancelled = threading.Event(), threading.Event()
    answered = itertools.count()

    def predict(request: Any, context: grpc.ServicerContext) -> Any:
        if next(answered) >= 10:
            this_one = threading.Event()
            context.add_callback(this_one.set)
            arrived.set()
            this_one.wait(120)
            cancelled.set()
        return stub.predict(request)

    stub.predict_in_context = predict
    arguments = (many, "-o", out, "--server", stub.address)
    with started(*arguments) as process:
        assert arrived.wait(60)
        assert process.stderr is not None
        assert [process.stderr.readline().startswith(f"[{number}/40]") for number in range(1, 11)] == [True] * 10
        process.send_signal(signal.SIGINT)
        stdout, stderr = ended(process)
    assert process.returncode == 130
    assert stdout == ""
    assert stderr.splitlines() == [
        "10 of 40 pictures are done; run the same command again for the rest.",
        "Error: stopped with Ctrl-C",
    ]
    assert cancelled.wait(60)
    assert assert_consistent(out) == 10
    assert not any(name.endswith(".part") for name in names(out))

    stub.predict_in_context = None
    again = run(*arguments)
    assert "30 painted, 10 already there, 0 failed" in again.stdout
    assert assert_consistent(out) == 40


def test_a_terminal_shows_one_bar(stub: Any, contents: Path, style: Path, out: Path) -> None:
    (contents / "b.png").write_text("no picture")
    ours, theirs = pty.openpty()
    shown: list[bytes] = []

    def read() -> None:
        with contextlib.suppress(OSError):  # how Linux says that the other end is closed
            while part := os.read(ours, 65536):
                shown.append(part)

    reader = threading.Thread(target=read)
    reader.start()
    command = [sys.executable, "-W", "error", "-c", PROGRAM, "batch", contents, "-o", out, "--style", style]
    done = subprocess.run(
        [*map(str, command), "--server", stub.address],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "160"},
        check=False,
        timeout=60,
    )
    os.close(theirs)
    reader.join(10)
    os.close(ours)
    text = b"".join(shown).decode()
    assert done.returncode == 9
    assert b"2 painted" in done.stdout
    assert "2 done, 1 failed, 0 left" in text
    assert "[1/3]" not in text
    assert "Error: 1 of 3 jobs failed" in text
