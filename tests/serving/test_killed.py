"""kill -9 while the server loads: whenever it comes, nothing on disk has changed, and the next server serves."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import grpc
import pytest
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from benchmarks.server import served
from styleserve.contract import DEFAULT_MODEL_NAME, LIMITS

_LOADING = get_model_status_pb2.ModelVersionStatus.LOADING
PATIENCE_S = 300.0


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

    with served(base_path) as server, grpc.insecure_channel(server.address) as channel:
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

    with served(base_path) as server:
        assert _answering_version(server.address) == 2
    assert _contents(base_path) == before
