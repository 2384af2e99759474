"""Every block of code in the documents is tried, or held against what would take it."""

from __future__ import annotations

import base64
import itertools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from PIL import Image
from typer.main import get_command
from typer.testing import CliRunner

from styleserve import contract
from styleserve.__main__ import app
from styleserve.client import StyleServeError
from styleserve.client import errors as client_errors
from styleserve.client.transport.status import service_error
from styleserve.client.wire import messages
from styleserve.serving import EmbeddedServer, ServerSettings
from styleserve.serving.deploy.deployment import SERVING_VERSION

from .blocks import PAGES, README, ROOT, Block, Call, blocks, calls

TRIED = {"sh", "python", "json", "jsonl", "csv", "textproto", "nginx", "text"}
SHOWN = {"{toctree}", "{image}", "{eval-rst}", "{literalinclude}"}
"""Pages that the build of the site checks."""

COMMANDS_OF_THE_CLIENT = {
    "stylize",
    "again",
    "contact-sheet",
    "batch",
    "describe",
    "status",
    "metadata",
    "wait",
    "version",
}
FIRST = ["stylize", "photo.jpg", "painting.jpg", "-o", "result.png", "--steps", "2"]
"""Makes the result that `again` repeats."""

ELSEWHERE = {"--server", "--tls", "--ca", "--cert"}
"""Options of commands that go to servers which are not there."""


def test_every_block_has_a_language_that_is_tried() -> None:
    assert {str(block): block.language for block in blocks() if block.language not in TRIED | SHOWN} == {}


@pytest.mark.parametrize("call", calls("styleserve"), ids=str)
def test_commands_are_accepted(call: Call) -> None:
    if call.words[1].startswith("--"):  # of the program itself
        assert call.words[1] in CliRunner().invoke(app, ["--help"]).output
        return
    command: Any = get_command(app)
    _, name, *arguments = call.words
    command.commands[name].make_context(name, list(arguments))


@pytest.mark.parametrize(
    "call",
    [
        call
        for call in dict.fromkeys(calls("styleserve"))
        if call.words[1] in COMMANDS_OF_THE_CLIENT and not ELSEWHERE & set(call.words) and "--resume" not in call.words
    ],
    ids=str,
)
@pytest.mark.usefixtures("desk")
def test_commands_work(call: Call) -> None:
    if call.words[1] == "again":
        assert CliRunner().invoke(app, FIRST).exit_code == 0
    done = CliRunner().invoke(app, list(call.words[1:]))
    assert done.exit_code == 0, done.output
    if "-o" in call.words:
        assert Path(call.words[call.words.index("-o") + 1]).exists()


@pytest.mark.usefixtures("desk")
def test_commands_that_stop_and_resume_work() -> None:
    ran = [call for call in calls("styleserve") if {"--resume", "--save-state"} & set(call.words)]
    assert [call.words[-1] for call in ran] == ["result.png.state", "run.state", "80"]
    stopped = ["stylize", "photo.jpg", "painting.jpg", "-o", "result.png", "--save-state", "result.png.state"]
    done = [CliRunner().invoke(app, words) for words in (stopped, *(list(call.words[1:]) for call in ran))]
    assert [each.exit_code for each in done] == [0, 0, 0, 0]
    assert "80 steps" in done[-1].output


def test_installations_that_export_are_constrained_to_the_servers_tensorflow() -> None:
    """A server may not load what a newer TensorFlow wrote: an installation to export gets that of the lock."""
    text = "".join(page.read_text() for page in PAGES)
    installed = re.findall(r"pip install [^`\n]*\[(?:tensorflow|gpu)\]", text)
    assert len(installed) >= 4
    assert [each for each in installed if "--constraint requirements.lock" not in each] == []
    (locked,) = re.findall(r"^tensorflow==(.+)$", (ROOT / "requirements.lock").read_text(), re.M)
    exporter, server = ([int(part) for part in version.split(".")[:2]] for version in (locked, SERVING_VERSION))
    assert exporter <= server


@pytest.mark.parametrize("target", sorted({call.words[1] for call in calls("make")}))
def test_make_targets_exist(target: str) -> None:
    done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, check=False)  # noqa: S607
    assert done.returncode == 0


DEPLOYMENTS = [call for call in calls("styleserve") if call.words[1] == "deploy"]
PRODUCTION = {
    "compose": ("--device", "gpu", "--calls", "3", "--model-name", "art"),
    "kubernetes": ("--model", "pvc://models/style_transfer", "--device", "gpu", "--replicas", "3", "--calls", "3"),
}
"""Files in a folder before a command of the documents is run."""


@pytest.mark.parametrize("call", DEPLOYMENTS, ids=str)
@pytest.mark.usefixtures("desk")
def test_deployments_are_written(call: Call) -> None:
    target = call.words[2]
    if "--force" in call.words:  # over other files
        assert CliRunner().invoke(app, ["deploy", target, *PRODUCTION[target]]).exit_code == 0
    done = CliRunner().invoke(app, list(call.words[1:]))
    assert done.exit_code == 0, done.output


def test_files_that_commands_name_exist(desk: Path) -> None:
    """In the repository, or where a command of the documents writes them."""
    for target, options in PRODUCTION.items():
        CliRunner().invoke(app, ["deploy", target, *options])
    for call in DEPLOYMENTS:
        CliRunner().invoke(app, [*call.words[1:], "--force"])
    found = [call.words[i + 1] for call in calls("docker") for i, word in enumerate(call.words) if word == "-f"]
    assert len(found) >= 4
    assert [name for name in found if not (ROOT / name).is_file() and not (desk / name).is_file()] == []
    folders = [call.words[i + 1] for call in calls("kubectl") for i, word in enumerate(call.words) if word == "-k"]
    assert len(folders) >= 3
    assert [name for name in folders if not (desk / name / "kustomization.yaml").is_file()] == []


WIRE = ROOT / "docs" / "call" / "wire.md"


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(block, id=str(block), marks=[pytest.mark.slow] if block.needs_tensorflow else [])
        for block in blocks("python")
        if block.page != WIRE
    ],
)
def test_python_runs(block: Block, desk: Path, stub: Any, request: pytest.FixtureRequest) -> None:
    text = block.text
    if block.needs_tensorflow:
        pytest.importorskip("tensorflow", reason="the snippet needs TensorFlow")
        model = desk / "models" / "style_transfer"
        model.parent.mkdir()
        shutil.copytree(request.getfixturevalue("tiny_model_base"), model)
    for name in ("ca.pem", "client.pem", "client.key"):
        (desk / name).write_text("-----BEGIN CERTIFICATE-----\n")
    exec(compile(text.replace("127.0.0.1:8500", stub.address), str(block), "exec"), {})  # noqa: S102 - our own


@pytest.mark.slow
def test_plain_grpc_paints_on_a_real_server(
    desk: Path, tiny_model_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The blocks of the page one after another, as they use each other's names; sizes and steps are smaller."""
    smaller = {"(128, 60)": "(16, 3)", "(256, 40)": "(32, 3)", "(512, 25)": "(64, 3)", "[25]": "[2]"}
    names: dict[str, Any] = {}
    with EmbeddedServer(tiny_model_base, settings=ServerSettings(port=0)) as server:
        for block in blocks("python"):
            if block.page == WIRE:
                text = block.text.replace("127.0.0.1:8500", server.address)
                for written, small in smaller.items():
                    text = text.replace(written, small)
                exec(compile(text, str(block), "exec"), names)  # noqa: S102 - our own
        names["channel"].close()
    assert capsys.readouterr().out == "(1, 10, 5)\n"
    pictures = {name: Image.open(desk / f"{name}.png") for name in ("result", "large", "preview")}
    assert {picture.size for picture in pictures.values()} == {(64, 51)}
    assert len({picture.tobytes() for picture in pictures.values()}) == 3
    assert names["outputs"]["losses"].tensor_shape.dim[1].size == 2


@pytest.mark.usefixtures("desk")
def test_a_version_that_is_asked_for_is_sent(stub: Any) -> None:
    (block,) = [each for each in blocks("python") if "version_label" in each.text]
    exec(compile(block.text.replace("127.0.0.1:8500", stub.address), str(block), "exec"), {})  # noqa: S102
    one, other = stub.paints
    assert one.model_spec.version_label == "canary"
    assert other.model_spec.version.value == 1700000000


@pytest.mark.parametrize("block", [*blocks("csv"), *blocks("jsonl")], ids=str)
@pytest.mark.usefixtures("desk")
def test_batches_of_lists_work(block: Block, desk: Path) -> None:
    path = desk / f"list.{block.language}"
    path.write_text(block.text)
    done = CliRunner().invoke(app, ["batch", str(path), "-o", "results"])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("block", blocks("json"), ids=str)
def test_requests_of_other_stacks_are_those_of_the_contract(block: Block, desk: Path, stub: Any) -> None:
    found = json.loads(block.text)
    signature = contract.SIGNATURES[found.get("signature_name") or found["modelSpec"]["signatureName"]]
    ranks = {field.name: len(field.shape) for field in signature.inputs}
    assert {"content_bytes", "style_bytes", "contract_version"} <= set(found["inputs"]) <= set(ranks)
    if "modelSpec" not in found:  # REST
        assert {name: rank(value) for name, value in found["inputs"].items()} == {
            name: ranks[name] for name in found["inputs"]
        }
        return
    assert {name: len(value["tensorShape"]["dim"]) for name, value in found["inputs"].items()} == {
        name: ranks[name] for name in found["inputs"]
    }
    encoded = base64.b64encode((desk / "photo.jpg").read_bytes()).decode()
    message = json_format.Parse(re.sub(r"\w+_BASE64", encoded, block.text), messages.PredictRequest())
    with grpc.insecure_channel(stub.address) as channel:
        call: Any = channel.unary_unary(messages.PREDICT)
        reply = messages.PredictResponse.FromString(call(message.SerializeToString(), timeout=10))
    assert set(reply.outputs) == {"image_bytes", "losses"}
    assert reply.outputs["image_bytes"].string_val[0].startswith(b"\x89PNG")
    assert reply.outputs["losses"].tensor_shape.dim[1].size == 100


def test_grpcurl_finds_the_method_and_its_messages(desk: Path, stub: Any) -> None:
    """The call of the page: its .proto file compiles, and the request of the page is one of the method's."""
    (words,) = (call.words for call in calls("grpcurl"))
    options = dict(itertools.pairwise(words))
    compiled = desk / "compiled.protoset"
    compiler = [sys.executable, "-m", "grpc_tools.protoc", "--include_imports", f"--descriptor_set_out={compiled}"]
    subprocess.run([*compiler, f"--proto_path={options['-import-path']}", options["-proto"]], cwd=ROOT, check=True)
    pool = descriptor_pool.DescriptorPool()
    for file in FileDescriptorSet.FromString(compiled.read_bytes()).file:
        pool.Add(file)
    service, _, name = words[-1].partition("/")
    method: Any = pool.FindServiceByName(service).methods_by_name[name]
    request, reply = (message_factory.GetMessageClass(kind) for kind in (method.input_type, method.output_type))
    (block,) = [each for each in blocks("json") if "modelSpec" in each.text]
    encoded = base64.b64encode((desk / "photo.jpg").read_bytes()).decode()
    message = json_format.Parse(re.sub(r"\w+_BASE64", encoded, block.text), request(), descriptor_pool=pool)
    assert options["-d"] == "@"
    with grpc.insecure_channel(words[-2].replace("127.0.0.1:8500", stub.address)) as channel:
        call: Any = channel.unary_unary(f"/{words[-1]}")
        answered = reply.FromString(call(message.SerializeToString(), timeout=10))
    found = json_format.MessageToDict(answered, descriptor_pool=pool)
    assert base64.b64decode(found["outputs"]["image_bytes"]["stringVal"][0]).startswith(b"\x89PNG")


def rank(value: object) -> int:
    """Dimensions of nested lists."""
    return 1 + rank(value[0]) if isinstance(value, list) else 0


def test_a_request_is_one_for_the_official_messages_with_a_version_as_well() -> None:
    pytest.importorskip("tensorflow_serving", reason="the messages are those of tensorflow-serving-api")
    from tensorflow_serving.apis import predict_pb2  # noqa: PLC0415

    (block,) = [block for block in blocks("json") if "modelSpec" in block.text]
    text = re.sub(r"\w+_BASE64", "AAAA", block.text)
    text = text.replace('"signatureName"', '"version": "1700000000", "signatureName"')
    message = json_format.Parse(text, predict_pb2.PredictRequest())
    assert message.model_spec.version.value == 1700000000
    assert message.inputs["content_bytes"].string_val == [b"\0\0\0"]


@pytest.mark.parametrize("block", blocks("textproto"), ids=str)
def test_configurations_are_ones_that_a_server_takes(block: Block) -> None:
    pytest.importorskip("tensorflow_serving", reason="the messages are those of tensorflow-serving-api")
    from google.protobuf import text_format  # noqa: PLC0415
    from tensorflow_serving.config import model_server_config_pb2  # noqa: PLC0415

    from styleserve.serving.models.version_policy import configs_from_proto  # noqa: PLC0415

    parsed = text_format.Parse(block.text, model_server_config_pb2.ModelServerConfig())
    (model,) = configs_from_proto(parsed.model_config_list).values()
    assert model.name == contract.DEFAULT_MODEL_NAME
    assert model.policy.kind == "specific"
    assert {version for _, version in model.labels} <= set(model.policy.specific)


def rows(page: Path, heading: str) -> list[list[str]]:
    """The cells of the table under a heading."""
    section = page.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]


TROUBLESHOOTING = ROOT / "docs" / "troubleshooting.md"
KINDS = {name: kind for name, kind in vars(client_errors).items() if isinstance(kind, type)}


class Failed(grpc.RpcError):
    def __init__(self, status: str, text: str) -> None:
        self._code, self._text = grpc.StatusCode[status], text

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._text


@pytest.mark.parametrize("row", rows(TROUBLESHOOTING, "What the server says"), ids=lambda row: row[1])
def test_texts_of_the_server_become_the_kinds_that_are_named(row: list[str]) -> None:
    status, text, kind = (cell.strip("`") for cell in row[:3])
    assert type(service_error(Failed(status, text), "host:1", 1.0)).__name__ == kind


RULES = (contract.work_rule(100), contract.FILE_RULE, contract.CONTRACT_VERSION_RULE)
ASSERTED = [row[1] for row in rows(TROUBLESHOOTING, "What the server says") if "assertion failed" in row[1]]


def test_refusals_of_the_graph_are_those_of_the_contract() -> None:
    said = [text.strip("`").removeprefix("assertion failed: [").partition("]")[0] for text in ASSERTED]
    assert [rule for rule in RULES if not any(text.endswith(rule) for text in said)] == []


HEADINGS = ("No answer, or the wrong one", "The model", "The request")
OWN = [row for heading in HEADINGS for row in rows(TROUBLESHOOTING, heading)]


@pytest.mark.parametrize("row", OWN, ids=lambda row: row[0])
def test_exit_codes_of_the_clients_errors(row: list[str]) -> None:
    kind, _, exit_code = row[1].partition(",")
    error: type[StyleServeError] = KINDS[kind.strip("`")]
    assert error.exit_code == int(exit_code)


def test_every_error_is_in_troubleshooting() -> None:
    text = TROUBLESHOOTING.read_text()
    kinds = [name for name, kind in KINDS.items() if issubclass(kind, StyleServeError)]
    assert len(kinds) > 15
    assert [name for name in kinds if f"`{name}`" not in text and name != "StyleServeError"] == []


def test_links_of_the_readme_lead_somewhere() -> None:
    for path in re.findall(r"\]\(([^)#:]+)\)", README.read_text()):
        assert (ROOT / path).exists(), path
