"""The commands, through Typer's runner and as real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from styleserve import __version__, contract
from styleserve.client.command import register
from styleserve.client.errors import exit_codes
from styleserve.client.settings import ENVIRONMENT
from styleserve.client.tensors import number_tensor, to_array

app = typer.Typer(pretty_exceptions_enable=False)
register(app)


def run(*arguments: object, server: Any = None) -> Result:
    where = [] if server is None else ["--server", server.address]
    return CliRunner().invoke(app, [*map(str, arguments), *where])


def image_size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("command", ["stylize", "describe", "metadata"])
def test_a_version_is_asked_for_by_its_label(
    command: str, stub: Any, content: Path, style: Path, tmp_path: Path
) -> None:
    pictures: dict[str, tuple[Path | str, ...]] = {
        "stylize": (content, style, "-o", tmp_path / "out.png"),
        "describe": (content,),
    }
    result = run(command, *pictures.get(command, ()), "--version-label", "canary", server=stub)
    assert result.exit_code == 0, result.output
    assert stub.requests[0].model_spec.version_label == "canary"
    stub.requests.clear()
    assert run(command, *pictures.get(command, ()), server=stub).exit_code == 0
    assert stub.requests[0].model_spec.version_label == ""


@pytest.mark.parametrize("command", ["status", "wait"])
def test_states_are_of_all_versions(command: str, stub: Any) -> None:
    """TensorFlow Serving would take no notice of a label, and the answer be of another version."""
    result = run(command, "--version-label", "canary", server=stub)
    assert result.exit_code == 2
    assert "No such option" in result.output
    assert stub.requests == []


def test_stylize_saves_the_picture(stub: Any, content: Path, style: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    result = run("stylize", content, style, "-o", out, "--steps", 5, "--tv-weight", 2, server=stub)
    assert result.exit_code == 0, result.output
    assert re.fullmatch(
        rf"{out}: 64 x 43 pixels, 5 steps of L-BFGS, loss 1e\+06 -> 1e\+04, \d+\.\d s, style_transfer version 42\n",
        result.stdout,
    )
    assert result.stderr == ""
    (request,) = stub.requests
    assert to_array(request.inputs["steps"], "") == [5]
    assert to_array(request.inputs["total_variation_weight"], "") == [2]
    assert not {"content_weight", "style_weight", "learning_rate", "max_side"} & set(request.inputs)
    with Image.open(out) as saved:
        assert saved.size == (64, 43)
        assert saved.info["Model version"] == "42"
        assert (saved.info["Optimizer"], saved.info["Signature"]) == ("L-BFGS", "stylize_lbfgs_encoded")
        assert saved.info["Software"] == f"styleserve {__version__}"
        assert json.loads(saved.info["Parameters"]) == {"total_variation_weight": 2.0, "steps": 5}


def test_every_option_reaches_the_server(stub: Any, content: Path, style: Path, tmp_path: Path) -> None:
    values = {
        "content_weight": 3.0,
        "style_weight": 4.0,
        "total_variation_weight": 5.0,
        "steps": 6,
        "learning_rate": 0.5,
        "max_side": 32,
    }
    options = [
        part
        for name, value in values.items()
        for part in (f"--{name.replace('total_variation', 'tv').replace('_', '-')}", value)
    ]
    adam = ("--optimizer", "adam")
    result = run(
        "stylize",
        content,
        style,
        "-o",
        tmp_path / "o.png",
        *options,
        "--model-name",
        "m",
        "--timeout",
        9,
        *adam,
        server=stub,
    )
    assert result.exit_code == 0, result.output
    (request,) = stub.requests
    assert request.model_spec.name == "m"
    assert {name: to_array(request.inputs[name], "")[0] for name in values} == values


def test_stylize_as_json(stub: Any, content: Path, style: Path, tmp_path: Path) -> None:
    out, report = tmp_path / "out.webp", tmp_path / "report.png"
    result = run("stylize", content, style, "-o", out, "--report", report, "--json", server=stub)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["output"], found["report"]) == (str(out), str(report))
    assert (found["width"], found["height"], found["steps"], found["model_version"]) == (64, 43, 7, 42)
    assert (found["optimizer"], found["signature"]) == ("lbfgs", "stylize_lbfgs_encoded")
    assert np.shape(found["losses"]) == (7, len(found["loss_columns"]))
    assert image_size(report)[0] == 1400
    signatures = [request.model_spec.signature_name for request in stub.requests]
    assert signatures == [contract.STYLIZE_LBFGS_ENCODED, contract.DESCRIBE, contract.DESCRIBE]


def test_a_report_says_where_it_is(stub: Any, content: Path, style: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.png"
    result = run("stylize", content, style, "-o", tmp_path / "out.png", "--report", report, server=stub)
    assert result.stdout.splitlines()[1] == f"{report}: the report"


@pytest.mark.parametrize(
    ("options", "signature", "optimizer"),
    [
        (("--optimizer", "lbfgs"), contract.STYLIZE_LBFGS_ENCODED, "L-BFGS"),
        (("--optimizer", "adam"), contract.STYLIZE_ENCODED, "Adam"),
        (("--signature", "stylize_encoded", "--learning-rate", 0.1), contract.STYLIZE_ENCODED, "Adam"),
        (("--signature", "serving_default"), contract.SERVING_DEFAULT, "Adam"),
        (("--signature", "stylize_lbfgs", "--optimizer", "lbfgs"), contract.STYLIZE_LBFGS, "L-BFGS"),
    ],
)
def test_optimizers_and_signatures(
    stub: Any, content: Path, style: Path, tmp_path: Path, options: tuple[object, ...], signature: str, optimizer: str
) -> None:
    result = run("stylize", content, style, "-o", tmp_path / "out.tif", *options, "--max-side", 40, server=stub)
    assert result.exit_code == 0, result.output
    (request,) = stub.requests
    assert request.model_spec.signature_name == signature
    if "content_image" in request.inputs:
        assert to_array(request.inputs["content_image"], "").shape == (1, 27, 40, 3)
    assert f" 40 x 27 pixels, 7 steps of {optimizer}, loss " in result.stdout


def test_describe(stub: Any, content: Path) -> None:
    result = run("describe", content, server=stub)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].strip() == f"{content}: 96 x 64 pixels"
    first = next(line for line in lines if "block1_conv1" in line)
    assert re.findall(r"[\w.]+", first)[:7] == ["block1_conv1", "64", "x", "48", "x", "64", "0"]
    assert lines[-1] == "Total variation: 12.5"


def test_describe_as_json(stub: Any, content: Path) -> None:
    found = json.loads(run("describe", content, "--json", "--max-side", 48, server=stub).stdout)
    assert (found["width"], found["height"], found["total_variation"]) == (48, 32, 12.5)
    assert found["layers"][0] == {
        "name": "block1_conv1",
        "shape": [64, 48, 64],
        "min": 0.0,
        "max": 100.0,
        "mean": 26.0,
        "gram": {"min": 0.0, "max": 8.0, "mean": 4.0},
    }
    assert found["layers"][1]["gram"] is None


@pytest.mark.parametrize(("size", "side", "described"), [((128, 4), 512, (512, 16)), ((8, 8), 16, (16, 16))], ids=str)
def test_a_picture_that_is_too_small_is_described_larger(
    stub: Any, tmp_path: Path, size: tuple[int, int], side: int, described: tuple[int, int]
) -> None:
    """As the hint says of one whose sides the model refuses."""
    Image.new("RGB", size).save(tmp_path / "small.png")
    result = run("describe", tmp_path / "small.png", "--json", "--max-side", side, server=stub)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["width"], found["height"]) == described


@pytest.mark.parametrize(
    ("side", "code", "message"),
    [
        (3, 3, "max_side is 3; it must be a whole number from 16 to the model's limit"),
        (100_000, 4, "would be 100000 x 66667 = 6,666,700,000 pixels; "),
    ],
)
def test_sizes_that_cannot_be_described(stub: Any, content: Path, side: int, code: int, message: str) -> None:
    result = run("describe", content, "--max-side", side, server=stub)
    assert result.exit_code == code
    assert message in result.stderr
    assert stub.requests == []


def test_status_metadata_wait_and_version(stub: Any) -> None:
    assert run("status", server=stub).stdout == "style_transfer version 42: AVAILABLE\n"
    assert run("wait", server=stub).stdout == "style_transfer version 42: AVAILABLE\n"
    assert "    steps: int32 [?]  default 100\n" in run("metadata", server=stub).stdout
    assert json.loads(run("metadata", "--json", server=stub).stdout)["limits"] is None
    assert run("version").stdout == f"styleserve {__version__}, wire contract {contract.CONTRACT_VERSION}\n"
    for command in ("status", "metadata", "wait"):
        assert json.loads(run(command, "--json", server=stub).stdout)["model"] == "style_transfer"
    assert json.loads(run("version", "--json").stdout)["styleserve"] == __version__


def test_status_fails_where_no_version_is_available(stub: Any) -> None:
    reply = stub.status(None)
    reply.model_version_status[0].state = 20
    stub.status = lambda _: reply  # pyright: ignore
    result = run("status", server=stub)
    assert result.exit_code == 15
    assert "version 42 is LOADING" in result.stderr


WRONG: list[tuple[int, str, list[str]]] = [
    (2, "No such option", ["--nosuch", "1"]),
    (2, "Invalid value", ["--steps", "many"]),
    (2, "Invalid value", ["--signature", "nosuch"]),
    (2, "Invalid value", ["--optimizer", "sgd"]),
    (3, "it belongs to Adam Ask for Adam with --optimizer adam", ["--learning-rate", "0.02"]),
    (3, "runs 'adam'", ["--optimizer", "lbfgs", "--signature", "serving_default"]),
    (3, "steps is -1; it must be a whole number from 0", ["--steps", "-1"]),
    (3, "style_weight is nan; it must be from 0", ["--style-weight", "nan"]),
    (3, "content_weight is -2.0", ["--content-weight", "-2"]),
    (3, "max_side is 3", ["--max-side", "3"]),
    (3, "timeout is 0.0", ["--timeout", "0"]),
    (5, "there is no folder", ["-o", "missing/out.png"]),
    (5, "has the extension '.xyz'", ["-o", "out.xyz"]),
    (5, "there is no folder", ["--report", "missing/report.png"]),
    (5, "both the result and the report", ["--report", "out.png"]),
    (11, "no server answers", ["--server", "127.0.0.1:1"]),
    (11, "host:port", ["--server", "http://127.0.0.1"]),
]


@pytest.mark.parametrize(
    ("code", "message", "options"), WRONG, ids=lambda value: "-".join(value) if isinstance(value, list) else None
)
def test_wrong_requests(
    stub: Any,
    content: Path,
    style: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    message: str,
    options: list[str],
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    where = [] if "--server" in options else ["--server", stub.address]
    result = run("stylize", content, style, "-o", "out.png", *where, *options)
    assert result.exit_code == code, result.output
    assert message in re.sub(r"[\s│]+", " ", result.stderr)
    assert result.stdout == ""
    assert stub.requests == []
    assert names(folder) == set()


def test_pictures_that_cannot_be_used(stub: Any, content: Path, tmp_path: Path) -> None:
    result = run("stylize", content, tmp_path / "none.jpg", "-o", tmp_path / "out.png", server=stub)
    assert result.exit_code == 4
    assert result.stderr == f"Error: there is no file {tmp_path / 'none.jpg'}\nCheck the name and the folder.\n"


def test_an_error_as_json(stub: Any, content: Path, refusal: Any, tmp_path: Path) -> None:
    stub.predict = refusal(grpc.StatusCode.INVALID_ARGUMENT, "assertion failed: [steps is too high; got] [9000]")
    result = run("stylize", content, content, "-o", tmp_path / "out.png", "--json", server=stub)
    assert result.exit_code == 16
    assert json.loads(result.stdout)["error"] == {
        "kind": "RequestRefused",
        "message": "the server refused the request: steps is too high; got 9000",
        "hint": "",
        "status": "INVALID_ARGUMENT",
        "request_id": stub.headers[0]["x-request-id"],
        "tries": 1,
        "exit_code": 16,
    }
    assert "steps is too high" in result.stderr
    assert not (tmp_path / "out.png").exists()


def test_a_model_without_lbfgs(stub: Any, content: Path, refusal: Any, tmp_path: Path) -> None:
    missing = 'Serving signature key "stylize_lbfgs_encoded" not found.'
    stub.predict = refusal(grpc.StatusCode.FAILED_PRECONDITION, missing)
    result = run("stylize", content, content, "-o", tmp_path / "out.png", server=stub)
    assert result.exit_code == 14
    assert result.stderr == (
        f"Error: the model on {stub.address} is of an older version, without L-BFGS: {missing}\n"
        "Export the model anew, or ask for Adam with --optimizer adam (in Python, optimizer='adam').\n"
        f"Request {stub.headers[0]['x-request-id']}.\n"
    )
    assert len(stub.requests) == 1  # nothing else is tried in its place


def test_a_failed_report_leaves_the_picture(stub: Any, content: Path, style: Path, tmp_path: Path) -> None:
    good = stub.predict

    def predict(request: Any) -> Any:
        reply = good(request)
        if request.model_spec.signature_name == contract.DESCRIBE:
            reply.outputs["high_pass_x"].CopyFrom(number_tensor(np.zeros(3, np.float32)))
        return reply

    stub.predict = predict
    options = ("-o", tmp_path / "out.png", "--report", tmp_path / "report.png")
    result = run("stylize", content, style, *options, server=stub)
    assert result.exit_code == 19
    assert (tmp_path / "out.png").exists()
    assert not (tmp_path / "report.png").exists()
    assert result.stdout.startswith(f"{tmp_path / 'out.png'}: ")


def test_help_documents_every_exit_code() -> None:
    shown = re.sub(r"\s+", " ", run("stylize", "--help").stdout)
    for code, meaning in exit_codes().items():
        assert f"{code}: {meaning}" in shown
    for control in contract.CONTROLS:
        assert f"usually {control.tutorial:g}" in re.sub(r"[\s│]+", " ", shown)


def test_the_connection_may_stand_in_the_environment(stub: Any) -> None:
    environment = {
        "STYLESERVE_SERVER": stub.address,
        "STYLESERVE_MODEL_NAME": "painter",
        "STYLESERVE_TOKEN": "s3cret",
        "STYLESERVE_COMPRESSION": "gzip",
    }
    result = CliRunner().invoke(app, ["status"], env=environment)
    assert result.stdout == "painter version 42: AVAILABLE\n"
    assert stub.headers[0]["authorization"] == "Bearer s3cret"
    shown = CliRunner().invoke(app, ["status", "--help"], env={**environment, "COLUMNS": "200"}).output
    for variable in ENVIRONMENT.values():
        assert f"[env var: {variable}]" in shown
    assert "s3cret" not in shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--token", "s3cret", "--server", "styles.example.org:8500"), "unencrypted"),
        (("--ca", "missing.pem"), "missing.pem cannot be read"),
        (("--cert", "mine.pem"), "without a key file"),
        (("--no-tls", "--ca", "missing.pem"), "switched off"),
    ],
    ids=str,
)
def test_connections_that_cannot_be_made(options: tuple[str, ...], message: str) -> None:
    result = run("status", *options, "--json")
    assert result.exit_code == 6
    assert message in result.stderr
    assert json.loads(result.stdout)["error"]["kind"] == "SettingsError"
    assert "s3cret" not in result.output


def test_everything_works_without_tensorflow(stub: Any, start: Any, content: Path, style: Path, tmp_path: Path) -> None:
    server = ("--server", stub.address)
    out, report = tmp_path / "out.png", tmp_path / "report.png"
    processes = [
        start("stylize", content, style, "-o", out, "--report", report, "--json", *server),
        start("describe", content, *server),
        start("status", *server),
        start("metadata", *server),
        start("wait", *server),
    ]
    for process in processes:
        stdout, stderr = process.communicate(timeout=60)
        assert (process.returncode, stderr) == (0, "")
        assert stdout
    assert image_size(out) == (64, 43)
    assert report.exists()


@pytest.mark.skipif(os.name == "nt", reason="signals of a terminal")
def test_ctrl_c_cancels_the_call_and_leaves_nothing(stub: Any, start: Any, content: Path, tmp_path: Path) -> None:
    arrived, cancelled = threading.Event(), threading.Event()

    def hang(_: Any, context: grpc.ServicerContext) -> Any:
        context.add_callback(cancelled.set)
        arrived.set()
        cancelled.wait(120)

    stub.predict_in_context = hang
    process = start("stylize", content, content, "-o", "out.png", "--server", stub.address, cwd=tmp_path)
    assert arrived.wait(30)
    before = names(tmp_path)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stdout == ""
    assert stderr == "Error: stopped with Ctrl-C\n"
    assert cancelled.wait(60)
    assert names(tmp_path) == before == {content.name}


def test_the_commands_are_known_without_what_only_they_need() -> None:
    timed = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import styleserve.client.command"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    modules = {line.rpartition("|")[2].strip().partition(".")[0] for line in timed.stderr.splitlines()}
    assert "styleserve" in modules
    assert not modules & {"numpy", "PIL", "grpc", "google", "rich", "tensorflow", "matplotlib", "opentelemetry"}


def test_the_front_door_offers_every_name() -> None:
    script = "from styleserve import client; [getattr(client, name) for name in client.__all__]; client.nosuch"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr.endswith("AttributeError: module 'styleserve.client' has no attribute 'nosuch'\n")
