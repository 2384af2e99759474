"""The line of each call, and the id under which it is found."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc, prediction_service_pb2_grpc

from styleserve.client import StyleClient
from styleserve.contract import DEFAULT_MODEL_NAME
from styleserve.serving import EmbeddedServer, ServerSettings
from styleserve.serving.observability.call_record import MAX_ID_CHARS, MAX_NAME_CHARS, CallRecord, request_id_of
from styleserve.serving.observability.logs import JsonFormatter, TextFormatter, calls_logger, log_call

Make = Callable[..., Any]
TOKEN = "0123456789-a-secret"  # noqa: S105


class Lines(logging.Handler):
    """Logged lines in both formats."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.json: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.text.append(TextFormatter("%(message)s").format(record))
        line = JsonFormatter().format(record)
        assert "\n" not in line
        self.json.append(json.loads(line))


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler = Lines()
    before = calls_logger.level
    calls_logger.addHandler(handler)
    calls_logger.setLevel(logging.INFO)
    yield handler
    calls_logger.removeHandler(handler)
    calls_logger.setLevel(before)


@pytest.fixture
def channel(stand_in_base: Path) -> Iterator[grpc.Channel]:
    with (
        EmbeddedServer(stand_in_base, settings=ServerSettings(port=0, grace_s=0)) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        yield channel


def predict(channel: grpc.Channel, request: Any, *metadata: tuple[str, str]) -> Any:
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    call = stub.Predict.future(request, timeout=60.0, metadata=metadata)
    call.exception()
    return call


def test_a_line_for_each_call(channel: grpc.Channel, request_of: Make, lines: Lines, until: Make) -> None:
    assert predict(channel, request_of(steps=5), ("x-request-id", "my-id-1")).code() is grpc.StatusCode.OK
    until(lambda: len(lines.json) == 1)
    line = lines.json[0]
    assert line["event"] == "call"
    assert line["level"] == "info"
    assert line["request_id"] == "my-id-1"
    assert (line["method"], line["status"]) == ("Predict", "OK")
    assert (line["model"], line["version"], line["signature"]) == (DEFAULT_MODEL_NAME, 1, "serving_default")
    assert line["steps"] == 5
    assert line["peer"].startswith(("ipv4:127.0.0.1", "ipv6:"))
    assert line["total_s"] >= line["run_s"] >= 0
    assert line["queue_s"] >= 0
    assert lines.text[0].startswith("Predict OK request_id=my-id-1 peer=ip")
    assert f" model={DEFAULT_MODEL_NAME} version=1 signature=serving_default queue_s=0.0" in lines.text[0]


def test_calls_that_fail(channel: grpc.Channel, request_of: Make, lines: Lines, until: Make) -> None:
    predict(channel, request_of(steps=-1))
    predict(channel, request_of(name="no\nsuch" + "x" * 500, signature="a b"))
    until(lambda: len(lines.json) == 2)
    refused, unknown = lines.json
    assert refused["status"] == "INVALID_ARGUMENT"
    assert refused["run_s"] is not None
    assert (unknown["status"], unknown["version"], unknown["run_s"]) == ("NOT_FOUND", None, None)
    assert unknown["model"].startswith("no?suchxxx")
    assert len(unknown["model"]) == MAX_NAME_CHARS + 1
    assert ' signature="a b" ' in lines.text[1]
    assert "\n" not in "".join(lines.text)


def test_the_id_goes_back(channel: grpc.Channel, request_of: Make, lines: Lines, until: Make) -> None:
    """Also with a failure, and also one that was made here."""
    for steps in (1, -1):
        reply = predict(channel, request_of(steps=steps), ("x-request-id", "my-id"))
        assert dict(reply.trailing_metadata())["x-request-id"] == "my-id"
    made = dict(predict(channel, request_of()).trailing_metadata())["x-request-id"]
    assert len(made) == 32
    status = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus.future(
        get_model_status_pb2.GetModelStatusRequest(model_spec={"name": DEFAULT_MODEL_NAME}), timeout=60.0
    )
    assert "x-request-id" in dict(status.trailing_metadata())
    until(lambda: len(lines.json) == 4)
    assert [line["request_id"] for line in lines.json][:3] == ["my-id", "my-id", made]
    assert lines.json[3]["method"] == "GetModelStatus"


@pytest.mark.parametrize(
    ("sent", "logged"),
    [
        ("good-id.1:2/3", "good-id.1:2/3"),
        ("two\nlines", "twolines"),
        ("a\x1b[31m\u2028b", "a[31mb"),
        ("x" * 10_000, "x" * MAX_ID_CHARS),
        (b"bytes\xff\n", "bytes"),
    ],
)
def test_ids_from_outside_are_cleaned(sent: str | bytes, logged: str) -> None:
    context: Any = SimpleNamespace(invocation_metadata=lambda: (("other", "x"), ("x-request-id", sent)))
    assert request_id_of(context) == logged


@pytest.mark.parametrize("sent", ["", "\n", " \t"])
def test_ids_of_nothing_are_made_here(sent: str) -> None:
    context: Any = SimpleNamespace(invocation_metadata=lambda: (("x-request-id", sent),))
    assert len(request_id_of(context)) == 32


def test_faults_of_the_server_are_warnings(lines: Lines) -> None:
    log_call(CallRecord("Predict", "id", status=grpc.StatusCode.INTERNAL))
    log_call(CallRecord("Predict", "id", status=grpc.StatusCode.INVALID_ARGUMENT))
    assert [line["level"] for line in lines.json] == ["warning", "info"]


def test_messages_and_exceptions_stay_on_their_lines() -> None:
    try:
        raise ValueError("one\ntwo")
    except ValueError:
        record = logging.LogRecord("a", logging.ERROR, "f", 1, "model %s\nforged", ("x\ry",), sys.exc_info())
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line)["message"] == "model x\ry\nforged"
    assert "ValueError" in json.loads(line)["exception"]
    assert TextFormatter("%(message)s").format(record).split("\n")[0] == "model x?y\\nforged"


def test_a_process_that_logs_json(stand_in_base: Path, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(TOKEN)
    code = (
        "import typer; from styleserve.serving.command import register; app = typer.Typer();"
        "app.callback()(lambda: None); register(app); app()"
    )
    options = ("--port=0", "--log-format=json", f"--token-file={tmp_path / 'tokens'}")
    command = [sys.executable, "-c", code, "serve", f"--model-base-path={stand_in_base}", *options]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().partition(" on ")[2].split(". ")[0]
            for token in (TOKEN, "another-secret"):
                with grpc.insecure_channel(address) as channel:
                    model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus.future(
                        get_model_status_pb2.GetModelStatusRequest(model_spec={"name": DEFAULT_MODEL_NAME}),
                        timeout=60.0,
                        metadata=[("authorization", f"Bearer {token}"), ("x-request-id", "the-id")],
                    ).exception()
            process.terminate()
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    logged = [json.loads(line) for line in errors.splitlines() if line.startswith("{")]  # the rest is TensorFlow's own
    calls = [line for line in logged if line["event"] == "call"]
    assert [(call["method"], call["status"], call["request_id"]) for call in calls] == [
        ("GetModelStatus", "OK", "the-id"),
        ("GetModelStatus", "UNAUTHENTICATED", "the-id"),
    ]
    assert any("is loaded" in line["message"] for line in logged if line["event"] == "log")
    assert "secret" not in errors


def test_the_clients_id_is_found_in_the_log(stand_in_base: Path, lines: Lines, until: Make) -> None:
    with (
        EmbeddedServer(stand_in_base, settings=ServerSettings(port=0, grace_s=0)) as server,
        StyleClient(server.address, model_name="nosuch") as client,
    ):
        with pytest.raises(Exception, match="nosuch") as caught:
            client.status()
        until(lambda: len(lines.json) == 1)
    assert lines.json[0]["request_id"] == getattr(caught.value, "request_id", None)
