"""The commands, through Typer's runner and as real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from styleserve import __version__, contract
from styleserve.client import load_picture
from styleserve.client.cli.commands import register
from styleserve.client.cli.options import option_of
from styleserve.client.errors import exit_codes
from styleserve.client.transport.settings import ENVIRONMENT
from styleserve.client.wire.tensors import number_tensor, to_array

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
        rf"{out}: 64 x 43 pixels, 5 steps of L-BFGS, loss 1e\+06 -> 8.853e\+05, \d+\.\d s, style_transfer version 42\n",
        result.stdout,
    )
    assert result.stderr == ""
    (request,) = stub.paints
    assert to_array(request.inputs["steps"], "") == [5]
    assert to_array(request.inputs["total_variation_weight"], "") == [2]
    assert not {"content_weight", "style_weight", "learning_rate", "start_bytes"} & set(request.inputs)
    with Image.open(out) as saved:
        assert saved.size == (64, 43)
        assert (saved.info["Model version"], saved.info["Optimizer"], saved.info["Steps"]) == ("42", "L-BFGS", "5")
        assert saved.info["Software"] == f"styleserve {__version__}"
        recipe = json.loads(saved.info["Recipe"])
    assert recipe["controls"] == {"total_variation_weight": 2.0, "steps": 5, "max_side": 64}
    assert recipe["model"] == {"name": "style_transfer", "version": 42}
    assert recipe["pictures"] == {
        "content": {"sha256": sha256(content.read_bytes()).hexdigest(), "path": content.name},
        "styles": [{"sha256": sha256(style.read_bytes()).hexdigest(), "path": style.name}],
    }


def test_every_option_reaches_the_server(stub: Any, content: Path, style: Path, tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "content_weight": 3.0,
        "style_weight": 4.0,
        "total_variation_weight": 5.0,
        "reference_weight": 2.0,
        "style_blend": [2.0, 1.0],
        "style_scale": [0.5, 2.0],
        "style_layer_weights": [1.0, 1.0, 0.5, 0.0, 0.25],
        "start_noise": 0.5,
        "seed": 3,
        "colors": "matched",
        "loss": "tutorial",
        "optimizer": "adam",
        "steps": 6,
        "learning_rate": 0.5,
        "max_side": 32,
    }
    assert {*values, "image_format"} == {control.name for control in contract.CONTROLS}
    options = [
        part
        for name, value in values.items()
        for part in (option_of(name), ",".join(map(str, value)) if isinstance(value, list) else value)
    ]
    mask = tmp_path / "mask.tif"
    Image.linear_gradient("L").save(mask)
    files = ("--region", mask, "--region", "-", "--style-region", mask, "--start", content, "--reference", style)
    more = ("--reference-mask", mask, "--octaves", 1, "--bits", 16, "--model-name", "m", "--timeout", 9)
    arguments = ("stylize", content, style, content, "-o", tmp_path / "o.png", *options, *files, *more)
    result = run(*arguments, server=stub)
    assert result.exit_code == 0, result.output
    (request,) = stub.paints
    assert request.model_spec.name == "m"
    sent = {name: to_array(request.inputs[name], "").tolist()[0] for name in values}
    assert {name: value.decode() if isinstance(value, bytes) else value for name, value in sent.items()} == values
    assert to_array(request.inputs["image_format"], "").tolist() == [b"png16"]
    assert [bool(mask) for mask in to_array(request.inputs["content_region_bytes"], "")[0]] == [True, False]
    assert {field.name for field in contract.FILES} <= set(request.inputs)
    data = (tmp_path / "o.png").read_bytes()
    assert data[24:26] == bytes((16, 2))  # bits of a channel, RGB
    assert load_picture(tmp_path / "o.png").image.size == (32, 21)


def test_a_preset_and_what_is_over_it(stub: Any, content: Path, style: Path, tmp_path: Path) -> None:
    arguments = ("stylize", content, style, "-o", tmp_path / "o.png", "--preset", "tutorial", "--json")
    found = json.loads(run(*arguments, "--steps", 3, server=stub).stdout)
    tutorial = {"loss": "tutorial", "optimizer": "adam", "octaves": 1}
    assert found["controls"] == {**tutorial, "steps": 3, "max_side": 64}


def test_octaves_of_a_model_that_begins_small(stub: Any, content: Path, style: Path, tmp_path: Path) -> None:
    stub.with_limits(smallest_octave=128)
    out = tmp_path / "o.png"
    result = run("stylize", content, style, "-o", out, "--max-side", 512, "--steps", 10, server=stub)
    assert result.exit_code == 0, result.output
    assert f"{out}: 512 x 341 pixels, 12 steps of L-BFGS at 128, 256, 512 px, loss 1e+06 -> " in result.stdout
    assert [int(to_array(request.inputs["max_side"], "")[0]) for request in stub.paints] == [128, 256, 512]


def test_stylize_as_json(stub: Any, content: Path, style: Path, tmp_path: Path) -> None:
    out, report = tmp_path / "out.webp", tmp_path / "report.png"
    result = run("stylize", content, style, "-o", out, "--report", report, "--json", server=stub)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["output"], found["report"]) == (str(out), str(report))
    assert (found["width"], found["height"], found["steps"], found["model_version"]) == (64, 43, 100, 42)
    assert found["controls"] == {"steps": 100, "max_side": 64}
    assert found["octaves"] == [{"max_side": 64, "steps": 100}]
    assert np.shape(found["losses"]) == (100, len(found["loss_columns"]))
    assert image_size(report)[0] == 1400
    signatures = [request.model_spec.signature_name for request in stub.predictions]
    assert signatures == [contract.LIMITS, contract.PAINT, contract.DESCRIBE, contract.DESCRIBE]


def test_a_report_says_where_it_is(stub: Any, content: Path, style: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.png"
    result = run("stylize", content, style, "-o", tmp_path / "out.png", "--report", report, server=stub)
    assert result.stdout.splitlines()[1] == f"{report}: the report"


def test_describe(stub: Any, content: Path) -> None:
    result = run("describe", content, "--max-side", 96, server=stub)
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
    assert run("metadata", server=stub).stdout.startswith("style_transfer version 42, wire contract 2\n")
    assert "    loss: string [?]  default painter\n" in run("metadata", server=stub).stdout
    declared = json.loads(run("metadata", "--json", server=stub).stdout)
    assert (declared["limits"]["max_styles"], declared["contract_version"]) == (8, 2)
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
    (2, "Invalid value", ["--preset", "nosuch"]),
    (2, "Invalid value", ["--optimizer", "sgd"]),
    (3, "it belongs to Adam Ask for Adam with --optimizer adam", ["--learning-rate", "0.02"]),
    (3, "style_blend is 'x'; it must be from 0 to 1000000, with ',' between several", ["--blend", "x"]),
    (3, "style_blend has 2 values for 1 style", ["--blend", "1,2"]),
    (3, "content_regions has 2 values for 1 style", ["--region", "a.png", "--region", "b.png"]),
    (3, "octaves is 0", ["--octaves", "0"]),
    (3, "reference_weight is given without a reference", ["--reference-weight", "2"]),
    (
        3,
        "bits is 16, but out.jpg cannot hold them Name it with one of: .png, .tif, .tiff.",
        ["--bits", "16", "-o", "out.jpg"],
    ),
    (4, "there is no file mask.png", ["--region", "mask.png"]),
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


def test_a_model_of_another_contract(stub: Any, content: Path, refusal: Any, tmp_path: Path) -> None:
    stub.predict = refusal(grpc.StatusCode.FAILED_PRECONDITION, 'Serving signature key "paint" not found.')
    result = run("stylize", content, content, "-o", tmp_path / "out.png", server=stub)
    assert result.exit_code == 23
    assert result.stderr == (
        f"Error: the model on {stub.address} speaks contract 1, this client 2\n"
        "Export the model again with this version of styleserve, or install the client of the model's version.\n"
        f"Request {stub.headers[-1]['x-request-id']}.\n"
    )


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


def test_help_has_every_control() -> None:
    shown = re.sub(r"[\s│]+", " ", run("stylize", "--help").stdout)
    for control in contract.CONTROLS:
        if control is not contract.IMAGE_FORMAT:
            assert option_of(control.name) in shown
            assert control.help.partition(";")[0].rstrip(".") in shown


def test_every_exit_code_is_explained() -> None:
    shown = run("exit-codes").stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert (
        shown.split()
        == " ".join([*(f"{code} {meaning}" for code, meaning in exit_codes().items()), shown.splitlines()[-1]]).split()
    )
    found = json.loads(run("exit-codes", "--json").stdout)["exit_codes"]
    assert found == {str(code): meaning for code, meaning in exit_codes().items()}


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
    shown = CliRunner().invoke(app, ["status", "--help"], env={**environment, "COLUMNS": "80"}).output
    assert "STYLESERVE_SERVER" in shown
    assert "s3cret" not in shown


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_variables_are_named_as_their_options(name: str) -> None:
    """The help names one of them, and this is how the others follow."""
    assert ENVIRONMENT[name] == f"STYLESERVE_{name.upper()}"


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
        [sys.executable, "-X", "importtime", "-c", "import styleserve.client.cli.commands"],
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
