"""The examples, run as they stand, against the fake server."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from PIL import Image

from .blocks import ROOT


def test_the_script_paints_and_tells(desk: Path, stub: Any) -> None:
    done = run_script("photo.jpg", "painting.jpg", "result.png")
    assert done.returncode == 0, done.stderr
    *_, finished, last = done.stdout.splitlines()
    assert re.fullmatch(r"100/100: loss [\d.e+]+, 0 s left", finished)
    assert last == "saved as result.png"
    with Image.open(desk / "result.png") as image:
        assert image.size == (64, 51)
    assert stub.requests


@pytest.mark.usefixtures("desk")
def test_the_script_ends_as_the_command_line_does() -> None:
    done = run_script("missing.jpg", "painting.jpg", "result.png")
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("there is no file missing.jpg\n")


def run_script(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / "script.py"), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def service(desk: Path) -> Iterator[str]:
    """The address of the web service, running in front of the fake server."""
    for module in ("fastapi", "uvicorn", "httpx", "python_multipart"):
        pytest.importorskip(module, reason="the example needs fastapi, uvicorn, httpx and python-multipart")
    import uvicorn  # noqa: PLC0415

    from examples.fastapi_app import app  # noqa: PLC0415

    assert desk == Path.cwd()
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        thread.join(0.01)
    (listening,) = server.servers[0].sockets
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()


def uploads(**replaced: bytes) -> dict[str, tuple[str, bytes]]:
    found = {"content": Path("photo.jpg").read_bytes(), "style": Path("painting.jpg").read_bytes(), **replaced}
    return {name: (f"{name}.jpg", data) for name, data in found.items()}


def test_two_uploads_become_a_picture(service: str, stub: Any) -> None:
    import httpx  # noqa: PLC0415

    answer = httpx.post(f"{service}/paint", files=uploads(), data={"steps": "5", "max_side": "96"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.content.startswith(b"\x89PNG")
    (request,) = stub.requests
    assert request.inputs["steps"].tensor_content == (5).to_bytes(4, "little")
    assert request.inputs["max_side"].tensor_content == (96).to_bytes(4, "little")


@pytest.mark.parametrize(("max_side", "status"), [(None, 200), ("64", 200), ("63", 422), ("1025", 422)])
def test_the_largest_side_reaches_a_run_in_chunks(service: str, stub: Any, max_side: str | None, status: int) -> None:
    import httpx  # noqa: PLC0415

    data = {"steps": "2", **({} if max_side is None else {"max_side": max_side})}
    answer = httpx.post(f"{service}/paint/events", files=uploads(), data=data)
    assert answer.status_code == status
    sent = [int.from_bytes(request.inputs["max_side"].tensor_content, "little") for request in stub.paints[:1]]
    assert sent == ([int(max_side or 512)] if status == 200 else [])


def test_progress_comes_as_events(service: str) -> None:
    import httpx  # noqa: PLC0415

    with httpx.stream("POST", f"{service}/paint/events", files=uploads(), data={"steps": "12"}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [each.split("\ndata: ") for each in "".join(answer.iter_text()).strip().split("\n\n")]
    *before, last = [(name.removeprefix("event: "), json.loads(data)) for name, data in events]
    assert before[-1][1] == {"steps": 12, "of": 12}
    assert {name for name, _ in before} == {"progress"}
    assert last[0] == "result"
    assert base64.b64decode(last[1]["png"]).startswith(b"\x89PNG")


@pytest.mark.parametrize("endpoint", ["/paint", "/paint/events"])
def test_the_run_is_cancelled_when_the_client_goes_away(service: str, stub: Any, endpoint: str) -> None:
    import httpx  # noqa: PLC0415

    arrived, cancelled = threading.Event(), threading.Event()

    def predict(_: Any, context: grpc.ServicerContext) -> Any:
        context.add_callback(cancelled.set)
        arrived.set()
        assert cancelled.wait(10)
        context.abort(grpc.StatusCode.CANCELLED, "")

    stub.predict_in_context = predict

    def leave() -> None:
        with httpx.Client(timeout=httpx.Timeout(10, read=1)) as client, pytest.raises(httpx.ReadTimeout):
            client.post(f"{service}{endpoint}", files=uploads())

    leave()
    assert arrived.wait(10)
    assert cancelled.wait(5)


def test_errors_become_http_statuses(service: str, stub: Any, refusal: Any) -> None:
    import httpx  # noqa: PLC0415

    def answer(**options: Any) -> tuple[int, dict[str, str]]:
        answered = httpx.post(f"{service}/paint", **{"files": uploads(), **options})
        return answered.status_code, answered.json()

    status, reply = answer(files=uploads(style=b"no picture"))
    assert (status, reply["kind"]) == (422, "ImageError")
    assert reply["message"] == "the style is not a picture in a supported format"
    assert answer(data={"steps": "9000"})[0] == 422
    code = grpc.StatusCode
    for failure, wanted, kind in (
        (refusal(code.INVALID_ARGUMENT, "assertion failed: [too large]"), 422, "RequestRefused"),
        (refusal(code.UNAUTHENTICATED, "no token"), 502, "RequestRefused"),
        (refusal(code.RESOURCE_EXHAUSTED, "OOM"), 413, "TooLarge"),
        (refusal(code.DEADLINE_EXCEEDED, "late"), 504, "DeadlineExceeded"),
        (refusal(code.INTERNAL, "broken"), 502, "ServiceError"),
    ):
        stub.predict = failure
        status, reply = answer()
        assert (status, reply["kind"]) == (wanted, kind)
        assert ("message" in reply) == (wanted < 500)
        with httpx.stream("POST", f"{service}/paint/events", files=uploads()) as events:
            assert "event: error" in events.read().decode()


def test_a_busy_server_asks_to_come_back(service: str, stub: Any, refusal: Any) -> None:
    import httpx  # noqa: PLC0415

    stub.predict = refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
    answered = httpx.post(f"{service}/paint", files=uploads())
    assert (answered.status_code, answered.headers["retry-after"]) == (503, "5")


def test_a_body_that_is_too_large_is_refused(service: str, stub: Any) -> None:
    import httpx  # noqa: PLC0415

    answered = httpx.post(f"{service}/paint", files=uploads(content=bytes(33 * 2**20)))
    assert answered.status_code == 413
    assert stub.requests == []


def test_health_is_that_of_the_model(service: str, stub: Any, refusal: Any) -> None:
    import httpx  # noqa: PLC0415

    answered = httpx.get(f"{service}/health")
    assert (answered.status_code, answered.json()) == (200, {"versions": [42]})
    stub.status = refusal(grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(style_transfer)")
    assert httpx.get(f"{service}/health").status_code == 502
