"""The command `stylize` in chunks: intermediate files, Ctrl-C, and progress."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import typer
from PIL import Image, ImageSequence
from typer.testing import CliRunner, Result

from styleserve.client import ConnectionSettings, PictureSet, SavedRun, StyleClient
from styleserve.client.cli.commands import register
from styleserve.client.cli.progress_display import LINE_INTERVAL_S, lines_of_progress
from styleserve.client.cli.stylize_progress import command_to_resume
from styleserve.client.images import source
from styleserve.client.images.picture import Picture
from styleserve.client.images.reading import ReadOptions, picture_from_file
from styleserve.client.wire.tensors import to_array

CHUNKS = ("--chunk-steps", "2")

app = typer.Typer(pretty_exceptions_enable=False)
register(app)

NEEDS_A_TERMINAL = pytest.mark.skipif(os.name == "nt", reason="signals and devices of a terminal")


def run(stub: Any, *arguments: object) -> Result:
    return CliRunner().invoke(app, ["stylize", *map(str, arguments), "--server", stub.address])


def paintings(stub: Any) -> list[Any]:
    """The requests that paint; a first run also asks for the state of the model, and measures without steps."""
    return [request for request in stub.paints if steps_of(request)]


def steps_of(request: Any) -> int:
    return int(to_array(request.inputs["steps"], "")[0])


def mean_level(path: Path) -> float:
    with Image.open(path) as image:
        return float(np.asarray(image.convert("RGB"), np.float64).mean())


def test_all_intermediate_files_are_written(stub: Any, content: Path, style: Path, tmp_path: Path) -> None:
    out, preview, frames, gif, state = (tmp_path / name for name in ("o.png", "p.jpg", "f", "a.gif", "run.state"))
    options = ("--preview", preview, "--frames", frames, "--gif", gif, "--save-state", state)
    result = run(stub, content, style, "-o", out, "--steps", 20, "--chunk-steps", 7, *options)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert result.stdout.startswith(f"{out}: 64 x 43 pixels, 20 steps of L-BFGS, loss 1e+06 -> ")
    pictures = sorted(frames.iterdir())
    steps = [int(path.stem) for path in pictures]
    assert steps == [7, 14, 20]
    levels = [mean_level(path) for path in pictures]
    assert levels == sorted(levels)
    assert pictures[-1].read_bytes() != b""
    with Image.open(out) as painted, Image.open(pictures[-1]) as last, Image.open(gif) as animation:
        assert painted.tobytes() == last.tobytes()
        assert (painted.info["Steps"], last.info["Steps"]) == ("20", "20 of 20")
        assert (animation.size, animation.info["loop"]) == (painted.size, 0)
        assert len(list(ImageSequence.Iterator(animation))) == len(steps)
    assert abs(mean_level(preview) - levels[-1]) < 1
    assert SavedRun.load(state).steps_done == 20


def test_a_run_resumes(stub: Any, content: Path, style: Path, tmp_path: Path) -> None:
    state, out = tmp_path / "run.state", tmp_path / "out.png"
    adam = ("--optimizer", "adam", "--learning-rate", 0.1)
    assert run(stub, content, style, "-o", out, "--steps", 5, *adam, "--save-state", state).exit_code == 0
    stub.requests.clear()
    result = run(stub, content, style, "-o", out, "--steps", 9, "--resume", state, "--save-state", state, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["steps"], len(found["losses"])) == (9, 9)
    assert found["controls"] == {"optimizer": "adam", "learning_rate": 0.1, "steps": 9, "max_side": 64}
    assert sum(map(steps_of, paintings(stub))) == 4
    assert all("content_bytes" not in request.inputs for request in paintings(stub))
    assert SavedRun.load(state).steps_done == 9


def test_runs_that_cannot_be_resumed(stub: Any, content: Path, style: Path, tmp_path: Path) -> None:
    state, out = tmp_path / "run.state", tmp_path / "out.png"
    assert run(stub, content, style, "-o", out, "--steps", 5, "--save-state", state).exit_code == 0
    out.unlink()
    (tmp_path / "cut.state").write_bytes(state.read_bytes()[:-50])
    for code, message, arguments in (
        (7, f"{style} is not the content that the saved run was begun with", (style, style, "--resume", state)),
        (7, "cut.state is damaged", (content, style, "--resume", tmp_path / "cut.state")),
        (7, "none cannot be read", (content, style, "--resume", tmp_path / "none")),
        (3, "steps is 4, but the saved run has done 5", (content, style, "--resume", state, "--steps", 4)),
        (3, "optimizer is adam, but", (content, style, "--resume", state, "--optimizer", "adam")),
    ):
        result = run(stub, *arguments, "-o", out)
        assert (result.exit_code, out.exists()) == (code, False), result.output
        assert message in result.stderr


def sent(stub: Any) -> list[tuple[int, list[str]]]:
    """Steps and outputs of each request that paints."""
    return [(steps_of(request), list(request.output_filter)) for request in stub.paints]


@pytest.mark.parametrize("option", ["--no-progress", "--quiet"])
def test_without_progress_a_run_is_one_call(stub: Any, content: Path, tmp_path: Path, option: str) -> None:
    slow = ("--steps", 1000, "--max-side", 1024, "--octaves", 1)  # with progress, chunks
    result = run(stub, content, content, "-o", tmp_path / "out.png", *slow, option)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    assert sent(stub) == [(1000, ["losses", "image_bytes"])]
    assert len(stub.requests) == 1


def test_progress_is_on_by_default_and_changes_no_picture(stub: Any, content: Path, tmp_path: Path) -> None:
    slow = ("--steps", 1000, "--max-side", 1024, "--octaves", 1)
    pictures: list[bytes] = []
    for options in ((), ("--progress",), ("--json",), ("--no-progress",)):
        stub.requests.clear()
        out = tmp_path / "out.png"
        assert run(stub, content, content, "-o", out, *slow, *options).exit_code == 0
        assert len(sent(stub)) == 1 or "--no-progress" not in options
        assert sum(steps for steps, _ in sent(stub)) == 1000
        if "--no-progress" not in options:
            assert len(sent(stub)) > 2
        pictures.append(out.read_bytes())
    assert len(set(pictures)) == 1


def test_lines_of_progress_are_few(capsys: pytest.CaptureFixture[str]) -> None:
    now_s = 100.0
    show = lines_of_progress("Painting", clock=lambda: now_s)
    for share in range(40):
        now_s += LINE_INTERVAL_S / 10
        show(share / 40, [f"{share}/40 steps"])
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines()[:2] == ["Painting: 22%, 9/40 steps", "Painting: 48%, 19/40 steps"]
    assert len(shown.err.splitlines()) == 4


@pytest.mark.parametrize("command", ["stylize", "contact-sheet"])
@pytest.mark.parametrize("option", ["--progress", "--no-progress"])
def test_each_picture_is_decoded_once(
    stub: Any, content: Path, style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, option: str
) -> None:
    decoded: list[str] = []

    def counted(data: bytes, name: str, options: ReadOptions) -> Picture:
        decoded.append(name)
        return picture_from_file(data, name, options)

    monkeypatch.setattr(source, "picture_from_file", counted)
    more = ("--report", tmp_path / "report.png") if command == "stylize" else ("--vary", "seed=1,2")
    arguments = (command, content, style, "-o", tmp_path / "out.png", "--steps", 3, *more, option)
    result = CliRunner().invoke(app, [*map(str, arguments), "--server", stub.address])
    assert result.exit_code == 0, result.output
    assert [name for name in decoded if name != "the picture"] == [str(content), str(style)]  # the stub decodes bytes


def test_octaves_are_one_run(stub: Any, content: Path, style: Path, tmp_path: Path, refusal: Any) -> None:
    """Pictures of all sizes are kept; the animation has one size; a run that ends early resumes in any octave."""
    out, frames, gif, state = (tmp_path / name for name in ("o.png", "f", "a.gif", "run.state"))
    octaves = ("--max-side", 128, "--octaves", 2, "--steps", 20)
    kept = ("--frames", frames, "--gif", gif, "--save-state", state, "--chunk-steps", 4)
    assert run(stub, content, style, "-o", out, *octaves, *kept).exit_code == 0
    sizes: dict[int, int] = {}
    for path in sorted(frames.iterdir()):
        with Image.open(path) as image:
            sizes[int(path.stem)] = max(image.size)
    assert sizes == {4: 64, 8: 64, 12: 64, 16: 128, 17: 128}
    with Image.open(gif) as animation:
        assert animation.size == (128, 85)
        assert len(list(ImageSequence.Iterator(animation))) == 5
    whole = out.read_bytes()
    good, lost = stub.predict, refusal(grpc.StatusCode.INTERNAL, "lost")
    for calls in (1, 3, 4):
        left = iter(range(calls))
        stub.predict = lambda request, left=left: good(request) if next(left, None) is not None else lost
        failed = run(stub, content, style, "-o", out, *octaves, "--chunk-steps", 4)
        assert failed.exit_code == 10, failed.output
        (command,) = re.findall(r"^Note: Resume with: styleserve (.*)$", failed.stderr, re.MULTILINE)
        stub.predict = good
        resumed = CliRunner().invoke(app, shlex.split(command))
        assert resumed.exit_code == 0, resumed.output
        assert out.read_bytes() == whole


@pytest.mark.parametrize(
    ("code", "message", "options"),
    [
        (5, "has the extension '.mp4'", ("--gif", "a.mp4")),
        (5, "has the extension '.xyz'", ("--preview", "p.xyz")),
        (5, "there is no folder missing", ("--save-state", "missing/run.state")),
        (5, "cannot make the folder file/frames", ("--frames", "file/frames")),
        (5, "out.png is named for both the result and the --preview", ("--preview", "out.png")),
        (5, "named for both the --gif and the --save-state", ("--gif", "a.gif", "--save-state", "a.gif")),
    ],
    ids=str,
)
def test_files_that_cannot_be_written_are_refused_before_the_work(
    stub: Any,
    content: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    message: str,
    options: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    result = run(stub, content, content, "-o", "out.png", *options)
    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert stub.requests == []


def test_a_failure_keeps_state_and_animation(stub: Any, content: Path, tmp_path: Path, refusal: Any) -> None:
    good, state, gif = stub.predict, tmp_path / "run.state", tmp_path / "a.gif"
    stub.predict = lambda request: (
        refusal(grpc.StatusCode.INTERNAL, "lost") if "state" in request.inputs else good(request)
    )
    files = ("--save-state", state, "--gif", gif)
    result = run(stub, content, content, "-o", tmp_path / "out.png", "--chunk-steps", 2, *files)
    assert result.exit_code == 10
    assert SavedRun.load(state).steps_done == 2
    assert gif.exists()
    stub.predict = good
    assert run(stub, content, content, "-o", tmp_path / "out.png", "--resume", state).exit_code == 0


def test_a_server_that_dies_leaves_picture_state_and_the_command_to_resume(
    stub: Any, content: Path, style: Path, tmp_path: Path, refusal: Any
) -> None:
    good, out = stub.predict, tmp_path / "my out.png"
    calls = iter(range(100))
    stub.predict = lambda request: good(request) if next(calls) < 2 else refusal(grpc.StatusCode.INTERNAL, "lost")
    result = run(stub, content, style, "-o", out, "--steps", 9, "--chunk-steps", 3)
    assert result.exit_code == 10
    with Image.open(out) as picture:
        assert picture.info["Steps"] == "6"
    assert SavedRun.load(f"{out}.state").steps_done == 6
    (command,) = re.findall(r"^Note: Resume with: styleserve (.*)$", result.stderr, re.MULTILINE)
    stub.predict = good
    assert CliRunner().invoke(app, shlex.split(command)).exit_code == 0
    with Image.open(out) as picture:
        assert picture.info["Steps"] == "9"


def test_an_error_of_the_program_itself_leaves_picture_and_state(
    stub: Any, content: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, out = stub.predict, tmp_path / "out.png"

    def predict(request: Any) -> Any:
        if "state" in request.inputs:
            monkeypatch.setattr("styleserve.client.wire.replies.losses", lambda *_, **__: 1 / 0)
        return good(request)

    stub.predict = predict
    result = run(stub, content, content, "-o", out, "--steps", 9, "--chunk-steps", 3)
    assert isinstance(result.exception, ZeroDivisionError)
    assert SavedRun.load(f"{out}.state").steps_done == 3
    assert out.exists()


def test_the_command_to_resume_names_the_connection_but_no_secret() -> None:
    settings = ConnectionSettings(
        server="styles.example.org:8500",
        model_name="painter",
        tls=True,
        token="s3cret",  # noqa: S106
    )
    with StyleClient(settings=settings) as client:
        pictures = PictureSet(
            content=Path("a b.jpg"), styles=(Path("c.jpg"), Path("d.jpg")), content_regions=(None, Path("m.png"))
        )
        command = command_to_resume(client, pictures, Path("o.png"), Path("o.png.state"))
    assert command == (
        "styleserve stylize 'a b.jpg' c.jpg d.jpg --region - --region m.png -o o.png --resume o.png.state "
        "--server styles.example.org:8500 --model-name painter --tls"
    )


@pytest.mark.parametrize("kind", ["same", "spelling", "symlink", "hard link"])
@pytest.mark.parametrize("option", ["-o", "--preview", "--save-state", "--report"])
@pytest.mark.parametrize("role", ["content", "style"])
def test_no_output_replaces_an_input(
    stub: Any, content: Path, style: Path, tmp_path: Path, kind: str, option: str, role: str
) -> None:
    source = tmp_path / "source.png"
    source.write_bytes((content if role == "content" else style).read_bytes())
    path = {
        "same": source,
        "spelling": tmp_path / "missing" / ".." / "source.png",
        "symlink": tmp_path / "link.png",
        "hard link": tmp_path / "link.png",
    }[kind]
    if kind == "spelling":
        (tmp_path / "missing").mkdir()
    elif kind == "symlink":
        path.symlink_to(source)
    elif kind == "hard link":
        path.hardlink_to(source)
    before = source.read_bytes()
    pictures = (source, style) if role == "content" else (content, source)
    outputs = ("-o", path) if option == "-o" else ("-o", tmp_path / "out.png", option, path)
    result = run(stub, *pictures, *outputs)
    assert result.exit_code == 5, result.output
    name = "result" if option == "-o" else option.removeprefix("--") if option == "--report" else option
    assert result.stderr == f"Error: {path} is the {role}; the {name} would replace it\nGive another name.\n"
    assert source.read_bytes() == before
    assert stub.requests == []


@pytest.mark.parametrize(
    ("option", "role"),
    [
        ("--region", "content region"),
        ("--style-region", "style region"),
        ("--start", "start"),
        ("--reference", "reference"),
        ("--reference-mask", "reference mask"),
    ],
)
def test_no_output_replaces_a_mask_or_another_picture(
    stub: Any, content: Path, style: Path, tmp_path: Path, option: str, role: str
) -> None:
    source = tmp_path / "mask.png"
    Image.linear_gradient("L").save(source)
    reference = ("--reference", content) if option == "--reference-mask" else ()
    result = run(stub, content, style, option, source, *reference, "-o", source)
    assert result.exit_code == 5, result.output
    assert f"Error: {source} is the {role}; the result would replace it\n" in result.stderr
    assert stub.requests == []


def test_no_frame_replaces_an_input(stub: Any, content: Path, style: Path, tmp_path: Path) -> None:
    source = tmp_path / "000100.png"
    source.write_bytes(content.read_bytes())
    result = run(stub, source, style, "-o", tmp_path / "out.png", "--frames", tmp_path)
    assert result.exit_code == 5
    assert f"{tmp_path} is the content; the --frames would replace it" in result.stderr
    for frame, source in (("000100.png", content), ("000020.png", style)):
        for link in (Path.symlink_to, Path.hardlink_to):
            folder = tmp_path / f"{link.__name__}-{frame}"
            folder.mkdir()
            link(folder / frame, source)
            result = run(stub, content, style, "-o", tmp_path / "out.png", "--frames", folder)
            assert result.exit_code == 5
            assert "; the --frames would replace it" in result.stderr
    for option in ("--save-state", "--preview"):
        frames = ("--frames", tmp_path, option, tmp_path / "000200.png")
        result = run(stub, content, style, "-o", tmp_path / "out.png", *frames)
        assert (result.exit_code, "is named for both" in result.stderr) == (5, True)
    assert stub.requests == []


def test_a_saved_run_is_replaced_by_its_own_state_alone(stub: Any, content: Path, style: Path, tmp_path: Path) -> None:
    state = tmp_path / "run.png"
    steps = ("--steps", 5, "--save-state", state)
    assert run(stub, content, style, "-o", tmp_path / "out.png", *steps).exit_code == 0
    for option in ("-o", "--preview", "--report"):
        outputs = (option, state) if option == "-o" else ("-o", tmp_path / "out.png", option, state)
        result = run(stub, content, style, "--resume", state, *outputs)
        assert (result.exit_code, "is the saved run" in result.stderr) == (5, True), result.output
    assert SavedRun.load(state).steps_done == 5


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 64 kB."""
    folder = tmp_path / "full"
    folder.mkdir()
    mounted = subprocess.run(
        ["/usr/bin/env", "mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mount is not allowed here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["/usr/bin/env", "umount", folder], check=True)


def test_a_full_disk_is_found_before_the_work(stub: Any, content: Path, full_disk: Path) -> None:
    result = run(stub, content, content, "-o", full_disk / "out.png")
    assert result.exit_code == 5
    assert re.search(r"out.png may take 589,312 bytes, and its disk has 65,536 left\n", result.stderr)
    assert stub.requests == []


@pytest.mark.parametrize("chunks", [(), CHUNKS])
def test_a_disk_that_fills_up_costs_no_picture(
    stub: Any, content: Path, full_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunks: tuple[str, ...]
) -> None:
    """The picture is saved in the current folder instead, and the error says so."""
    good = stub.predict

    def predict(request: Any) -> Any:
        with suppress(OSError), (full_disk / "filler").open("wb") as file:
            file.write(bytes(100_000))
        return good(request)

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("styleserve.client.cli.output_checks.largest_picture_bytes", lambda *_, **__: 1000)
    stub.predict = predict
    result = run(stub, content, content, "-o", full_disk / "out.png", "--steps", 4, "--max-side", 64, *chunks)
    assert result.exit_code == 5, result.output
    (saved,) = (tmp_path / "here").iterdir()
    assert result.stderr.endswith(
        f"Error: cannot write {full_disk / 'out.png'}: No space left on device\nSaved as {saved.name} instead.\n"
    )
    with Image.open(saved) as picture:
        assert picture.info["Steps"] == "4"


def test_a_resumed_run_shows_where_it_is_at_once(stub: Any, start: Any, content: Path, tmp_path: Path) -> None:
    state, out = tmp_path / "run.state", tmp_path / "out.png"
    assert run(stub, content, content, "-o", out, "--steps", 50, "--save-state", state).exit_code == 0
    HangsLater(stub)
    process, shown = on_a_terminal(
        start, "stylize", content, content, "-o", out, "--steps", 80, "--resume", state, "--server", stub.address
    )
    stub.predict_in_context.arrived.wait(30)
    process.send_signal(signal.SIGINT)
    assert "50/80 steps, loss " in shown()[0]


@pytest.mark.parametrize(
    ("option", "name", "blocked"),
    [
        ("--preview", "p.png", "p.png"),
        ("--frames", "f", "f/000002.png"),
        ("--gif", "a.gif", "a.gif"),
        ("--save-state", "run.state", "run.state"),
    ],
)
def test_the_picture_is_saved_even_if_other_files_fail(
    stub: Any, content: Path, tmp_path: Path, option: str, name: str, blocked: str
) -> None:
    good, out = stub.predict, tmp_path / "out.png"

    def predict(request: Any) -> Any:
        (tmp_path / blocked).mkdir(exist_ok=True)  # after all checks
        return good(request)

    stub.predict = predict
    result = run(stub, content, content, "-o", out, "--steps", 2, option, tmp_path / name)
    assert result.exit_code == 5
    assert str(tmp_path / blocked) in result.stderr
    assert result.stderr.endswith(f"\nThe picture itself is saved: {out}\n")
    with Image.open(out) as image:
        assert image.info["Steps"] == "2"


def test_an_animation_that_cannot_be_written_hides_no_failure(
    stub: Any, content: Path, tmp_path: Path, refusal: Any
) -> None:
    good, gif = stub.predict, tmp_path / "a.gif"

    def predict(request: Any) -> Any:
        if "state" not in request.inputs:
            return good(request)
        gif.mkdir()
        return refusal(grpc.StatusCode.INTERNAL, "lost")

    stub.predict = predict
    result = run(stub, content, content, "-o", tmp_path / "out.png", "--chunk-steps", 2, "--gif", gif)
    assert result.exit_code == 10
    assert f"\nNote: {gif} is a folder\nError: " in result.stderr
    assert "lost" in result.stderr


class HangsLater:
    """Answers a first chunk and what takes no steps; hangs in all others."""

    def __init__(self, stub: Any) -> None:
        self.arrived, self.cancelled = threading.Event(), threading.Event()
        self._good = stub.predict
        stub.predict_in_context = self

    def hang(self, _: Any, context: grpc.ServicerContext) -> Any:
        context.add_callback(self.cancelled.set)
        self.arrived.set()
        self.cancelled.wait(30)
        context.abort(grpc.StatusCode.CANCELLED, "")

    def __call__(self, request: Any, context: grpc.ServicerContext) -> Any:
        steps = int(to_array(request.inputs["steps"], "")[0])
        if "state" in request.inputs and steps:
            context.add_callback(self.cancelled.set)
            self.arrived.set()
            self.cancelled.wait(30)
        return self._good(request)


@NEEDS_A_TERMINAL
@pytest.mark.parametrize("partial", [True, False])
def test_ctrl_c_leaves_the_picture_so_far(
    stub: Any, start: Any, content: Path, style: Path, tmp_path: Path, partial: bool
) -> None:
    server = HangsLater(stub)
    state, out = tmp_path / "run.state", tmp_path / "out.png"
    options = () if partial else ("--no-keep-partial",)
    process = start(
        "stylize",
        content,
        style,
        "-o",
        out,
        "--server",
        stub.address,
        "--save-state",
        state,
        "--json",
        *CHUNKS,
        *options,
    )
    assert server.arrived.wait(30)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert server.cancelled.wait(60)
    saved = [f"the picture after 2 of 100 steps is {out}", f"the state of the run is {state}"] if partial else []
    resume = f"Resume with: styleserve stylize {content} {style} -o {out} --resume {state} --server {stub.address}"
    message, hint = "stopped with Ctrl-C after 2 of 100 steps", "\n".join([*saved, resume])
    assert stderr == f"Error: {message}\n{hint}\n"
    error = {"kind": "KeyboardInterrupt", "message": message, "hint": hint, "exit_code": 130}
    assert json.loads(stdout) == {"error": error}
    assert out.exists() == partial
    assert SavedRun.load(state).steps_done == 2
    if partial:
        with Image.open(out) as image:
            assert image.info["Steps"] == "2"


@NEEDS_A_TERMINAL
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_stop_a_run_as_ctrl_c_does(
    stub: Any, start: Any, content: Path, style: Path, tmp_path: Path, number: signal.Signals
) -> None:
    server, out = HangsLater(stub), tmp_path / "out.png"
    process = start("stylize", content, style, "-o", out, "--server", stub.address, *CHUNKS)
    assert server.arrived.wait(30)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert server.cancelled.wait(60)
    assert stderr.startswith(f"Error: stopped by {number.name} after 2 of 100 steps\n")
    assert SavedRun.load(f"{out}.state").steps_done == 2
    assert out.exists()


@NEEDS_A_TERMINAL
@pytest.mark.parametrize("command", ["stylize", "batch"])
def test_a_signal_that_does_not_wake_the_main_thread_is_noticed(
    stub: Any, content: Path, style: Path, tmp_path: Path, command: str
) -> None:
    """One that arrives just before the main thread sleeps; here another thread receives it."""
    server = HangsLater(stub)
    if command == "batch":
        stub.predict_in_context = server.hang
    text = """
        import signal, sys, threading, typer
        from styleserve.client.cli.commands import register
        signal.signal(signal.SIGINT, signal.default_int_handler)
        app = typer.Typer(pretty_exceptions_enable=False)
        register(app)

        def interrupt():
            sys.stdin.readline()
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)

        threading.Thread(target=interrupt, daemon=True).start()
        app(sys.argv[1:])
    """
    pictures = {
        "stylize": (content, style, *CHUNKS, "-o", tmp_path / "out.png"),
        "batch": (content.parent, "--style", style, "-o", tmp_path / "out"),
    }[command]
    arguments = [command, *map(str, pictures), "--server", stub.address]
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(text), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.arrived.wait(60)
        time.sleep(0.2)  # until the main thread sleeps again
        _, stderr = process.communicate("\n", timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130, stderr
    assert "stopped with Ctrl-C" in stderr


@NEEDS_A_TERMINAL
def test_ctrl_c_is_reported_even_if_the_animation_cannot_be_written(
    stub: Any, start: Any, content: Path, tmp_path: Path
) -> None:
    server = HangsLater(stub)
    state, out, gif = (tmp_path / name for name in ("run.state", "out.png", "a.gif"))
    kept = ("--save-state", state, "--gif", gif, *CHUNKS)
    process = start("stylize", content, content, "-o", out, "--server", stub.address, *kept)
    assert server.arrived.wait(120)
    gif.mkdir()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    assert stderr.startswith(
        f"Error: stopped with Ctrl-C after 2 of 100 steps\nthe picture after 2 of 100 steps is {out}\n"
    )
    assert stderr.endswith(f"\n{gif} is a folder\n")
    assert out.exists()
    assert SavedRun.load(state).steps_done == 2


def on_a_terminal(start: Any, *arguments: object) -> tuple[Any, Any]:
    """The process, and a function that waits for it and returns what its terminal showed, and its stdout."""
    import pty  # noqa: PLC0415 - not on Windows

    ours, theirs = pty.openpty()
    process = start(*arguments, stderr=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "160"})
    os.close(theirs)

    def shown() -> tuple[str, str]:
        text = b""
        while True:
            try:
                part = os.read(ours, 10_000)
            except OSError:  # how Linux tells that the other side is closed
                part = b""
            if not part:
                os.close(ours)
                return text.decode(), process.communicate(timeout=60)[0]
            text += part

    return process, shown


@NEEDS_A_TERMINAL
def test_a_terminal_shows_a_bar_and_changes_no_request(stub: Any, start: Any, content: Path, tmp_path: Path) -> None:
    command = ("stylize", content, content, "-o", tmp_path / "out.png", "--server", stub.address)
    for options in (("--chunk-steps", 25), ("--no-progress",)):
        stub.requests.clear()
        process, shown = on_a_terminal(start, *command, *options)
        text, stdout = shown()
        assert process.returncode == 0, text
        assert ("100/100 steps, loss " in text) == ("--no-progress" not in options)
        assert stdout.startswith(f"{tmp_path / 'out.png'}: 64 x 43 pixels, 100 steps of L-BFGS")
        on_terminal = sent(stub)
        stub.requests.clear()
        assert CliRunner().invoke(app, [*map(str, (*command, *options))]).exit_code == 0
        assert sent(stub) == on_terminal
    assert text == ""


@NEEDS_A_TERMINAL
def test_ctrl_c_on_a_terminal(stub: Any, start: Any, content: Path, tmp_path: Path) -> None:
    server = HangsLater(stub)
    out = tmp_path / "out.png"
    process, shown = on_a_terminal(start, "stylize", content, content, "-o", out, "--server", stub.address, *CHUNKS)
    assert server.arrived.wait(30)
    process.send_signal(signal.SIGINT)
    text, _ = shown()
    assert process.returncode == 130
    assert "Error: stopped with Ctrl-C after 2 of 100 steps" in text
    assert f"the state of the run is {out}.state" in text
    assert out.exists()
