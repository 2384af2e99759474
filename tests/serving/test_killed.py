"""kill -9 of the server at any time: files are unchanged, callers get an error, the next server serves."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import grpc
import pytest
from PIL import Image
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from styleserve.client import ConnectionSettings, Controls, Record, RetryPolicy, ServerUnavailable, StyleClient
from styleserve.client.batch.manifest import MANIFEST_NAME
from styleserve.contract import DEFAULT_MODEL_NAME, LIMITS
from styleserve.server_process import ServerProcess
from styleserve.serving.observability.metrics_endpoint import DEFAULT_PATH

from ..ports import free_port

pytestmark = pytest.mark.slow

_LOADING = get_model_status_pb2.ModelVersionStatus.LOADING
PATIENCE_S = 300.0
DEMO = Path(__file__).resolve().parents[2] / "demo"


def _contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _state(channel: grpc.Channel, version: int) -> int | None:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = DEFAULT_MODEL_NAME
    reply = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request, timeout=PATIENCE_S)
    return next((each.state for each in reply.model_version_status if each.version == version), None)


def _answering_version(address: str) -> int:
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = DEFAULT_MODEL_NAME, LIMITS
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        return stub.Predict(request, timeout=PATIENCE_S).model_spec.version.value


@pytest.mark.timeout(1800)
def test_killed_at_any_moment_of_a_load_the_next_server_serves(tiny_model_base: Path, tmp_path: Path) -> None:
    (exported,) = (path for path in tiny_model_base.iterdir() if path.name.isdigit())
    base_path = tmp_path / "model"
    shutil.copytree(exported, base_path / "1")
    shutil.copytree(exported, tmp_path / "2")

    with ServerProcess(base_path) as server, grpc.insecure_channel(server.address) as channel:
        ready_s = server.ready_s
        (tmp_path / "2").rename(base_path / "2")
        before = _contents(base_path)
        ends_at = time.monotonic() + PATIENCE_S
        while (state := _state(channel, 2)) != _LOADING:
            assert state in (None, get_model_status_pb2.ModelVersionStatus.START)
            assert time.monotonic() < ends_at, "version 2 is not looked at"
            time.sleep(0.005)
        os.kill(server.pid, signal.SIGKILL)
    assert _contents(base_path) == before

    chance = random.Random(9)  # noqa: S311 - where it comes decides nothing
    command = [sys.executable, "-m", "styleserve", "serve", "--model-base-path", str(base_path), "--port", "0"]
    for _ in range(2):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            time.sleep(chance.uniform(0.3, 1.0) * ready_s)
            process.kill()
        assert process.returncode == -signal.SIGKILL
        assert _contents(base_path) == before

    with ServerProcess(base_path) as server:
        assert _answering_version(server.address) == 2
    assert _contents(base_path) == before


def _gauge(metrics_port: int, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}{DEFAULT_PATH}", timeout=PATIENCE_S) as page:
        (found,) = re.findall(rf"^{name} (\S+)$", page.read().decode(), re.MULTILINE)
    return float(found)


def _command(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "styleserve", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.timeout(1800)
def test_killed_while_calls_run_and_wait(tiny_model_base: Path, tmp_path: Path) -> None:
    """Two commands, one of them in chunks, and a program: each gets an error, and leaves no half of a file."""
    pictures = [shutil.copy(DEMO / name, tmp_path) for name in ("content.jpg", "style.jpg")]
    model, own = _contents(tiny_model_base), _contents(tmp_path)
    paint = ("stylize", *pictures, "--optimizer", "adam", "--max-side", 64, "--steps", 5000, "--quiet", "--server")
    out, preview = tmp_path / "out.png", tmp_path / "preview.png"
    metrics = free_port()
    options = ("--max-calls=1", "--max-waiting=2", f"--rest-api-port={metrics}")

    with ServerProcess(tiny_model_base, options=options) as server, ThreadPoolExecutor(1) as pool:
        settings = ConnectionSettings(server=server.address, retry=RetryPolicy(tries=1))
        controls = Controls(steps=5000, max_side=64, optimizer="adam")
        with (
            StyleClient(settings=settings) as client,
            _command(*paint, server.address, "-o", out) as whole,
            _command(*paint, server.address, "-o", out, "--preview", preview) as chunked,
        ):
            program = pool.submit(client.stylize, *pictures, controls=controls)
            ends_at = time.monotonic() + PATIENCE_S
            while (_gauge(metrics, "styleserve_calls_running"), _gauge(metrics, "styleserve_calls_waiting")) != (1, 2):
                assert time.monotonic() < ends_at, "they do not come"
                time.sleep(0.02)
            os.kill(server.pid, signal.SIGKILL)
            with pytest.raises(ServerUnavailable, match=re.escape(server.address)):
                program.result(PATIENCE_S)
            for command in (whole, chunked):
                printed, errors = command.communicate(timeout=PATIENCE_S)
                assert command.returncode == ServerUnavailable.exit_code
                assert server.address in errors
                assert "Traceback" not in printed + errors
    # Whole, if the kill came after a chunk.
    preview.unlink(missing_ok=True)
    assert _contents(tmp_path) == own
    assert _contents(tiny_model_base) == model

    with ServerProcess(tiny_model_base) as server, StyleClient(server.address) as client:
        assert client.stylize(*pictures, controls=Controls(steps=1, max_side=64)).steps == 1


def _records(out: Path) -> list[Record]:
    """Records of the whole lines; the last may be incomplete."""
    manifest = out / MANIFEST_NAME
    data = manifest.read_bytes() if manifest.exists() else b""
    return [Record.from_line(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]


def _painted(out: Path) -> dict[str, tuple[int, int]]:
    """By name, which file each recorded picture is, and since when; all are whole, none is recorded twice."""
    painted: dict[str, tuple[int, int]] = {}
    for record in _records(out):
        path = out / record.output
        assert record.error is None
        assert record.output not in painted
        assert record.sha256 == sha256(path.read_bytes()).hexdigest()
        with Image.open(path) as image:
            image.load()
        painted[record.output] = (path.stat().st_ino, path.stat().st_mtime_ns)
    return painted


@pytest.mark.timeout(1800)
def test_killed_in_a_batch_and_the_batch_too(tiny_model_base: Path, tmp_path: Path) -> None:
    """A batch waits for the next server and continues there; killed itself, it paints the rest when run again."""
    contents, out = tmp_path / "contents", tmp_path / "out"
    contents.mkdir()
    for number in range(12):
        Image.new("RGB", (64, 48), (20 * number, 90, 30)).save(contents / f"{number}.png")
    port, metrics = free_port(), free_port()
    where = ("--port", str(port), "--rest-api-port", str(metrics))
    arguments = ("batch", contents, "-o", out, "--style", DEMO / "style.jpg", "--server", f"127.0.0.1:{port}")
    batch = (*arguments, "--optimizer", "adam", "--max-side", 64, "--steps", 100, "--concurrency", 2)
    ends_at = time.monotonic() + 4 * PATIENCE_S

    with _command(*batch, "--patience", PATIENCE_S) as command:

        def wait_for_records(count: int) -> None:
            while len(_records(out)) < count:
                assert command.poll() is None, command.communicate()
                assert time.monotonic() < ends_at, "they do not come"
                time.sleep(0.005)

        with ServerProcess(tiny_model_base, options=where) as server:
            wait_for_records(2)
            while _gauge(metrics, "styleserve_calls_running") == 0:
                assert command.poll() is None, command.communicate()
            os.kill(server.pid, signal.SIGKILL)
        survived = _painted(out)
        with ServerProcess(tiny_model_base, options=where):
            wait_for_records(len(survived) + 3)  # two may have been answered before
            command.kill()
            assert command.wait(PATIENCE_S) == -signal.SIGKILL
            before = _painted(out)
            assert survived.items() <= before.items()
            assert len(before) < 12
            with _command(*batch) as again:
                printed, errors = again.communicate(timeout=PATIENCE_S)
    assert again.returncode == 0, errors
    assert f"{12 - len(before)} painted, {len(before)} already there, 0 failed" in printed
    after = _painted(out)
    assert before.items() <= after.items()
    assert {path.name for path in out.iterdir()} == {MANIFEST_NAME, *after}
    assert len(after) == 12
