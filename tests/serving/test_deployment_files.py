"""The files that run the model on a real TensorFlow Serving. What can be read without one is checked here."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

import styleserve.serving
from styleserve.contract import DEFAULT_MODEL_NAME, DEFAULT_PORT
from styleserve.serving.versions import configs_from_proto

FILES = Path(styleserve.serving.__file__).resolve().parent
FLAG = re.compile(r"^[^#\n]*?(--[a-z_]+)=([^\s\"]+)", re.MULTILINE)


def test_models_config_is_one_that_a_server_takes() -> None:
    config = text_format.Parse((FILES / "models.config").read_text(), model_server_config_pb2.ModelServerConfig())
    models = configs_from_proto(config.model_config_list)
    assert set(models) == {DEFAULT_MODEL_NAME}
    assert models[DEFAULT_MODEL_NAME].base_path == Path("/models") / DEFAULT_MODEL_NAME


def test_the_image_and_compose_start_the_server_alike() -> None:
    image = dict(FLAG.findall((FILES / "Dockerfile").read_text().split("CMD", maxsplit=1)[1]))
    compose = dict(FLAG.findall((FILES / "compose.yaml").read_text()))
    assert image.pop("--model_config_file") == "/models/models.config"
    assert compose.pop("--model_config_file") == "/config/models.config"
    assert image == compose
    assert image["--port"] == str(DEFAULT_PORT)
    assert image["--enable_profiler"] == "false"


def _compose(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["docker", "compose", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_compose_understands_its_file(profile: str) -> None:
    if shutil.which("docker") is None or _compose("version").returncode != 0:
        pytest.skip("there is no docker compose here")
    result = _compose("-f", str(FILES / "compose.yaml"), "--profile", profile, "config", "--format", "json")
    assert result.returncode == 0, result.stderr
    service = json.loads(result.stdout)["services"][profile]
    assert [port["host_ip"] for port in service["ports"]] == ["127.0.0.1"]
    assert service["image"].endswith("-gpu") == (profile == "gpu")
