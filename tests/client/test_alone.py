"""styleserve as `pip install styleserve` brings it, without extras."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest


def test_what_is_not_there(foreign: frozenset[str]) -> None:
    assert {"tensorflow", "tensorflow_serving", "keras", "pytest", "hypothesis", "scipy", "yaml"} <= foreign
    assert not {"styleserve", "grpc", "google", "numpy", "PIL", "typer", "rich"} & foreign
    assert not foreign & sys.stdlib_module_names


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (("export",), "No module named 'tensorflow'. Exporting needs TensorFlow: "),
        (("serve", "--model-base-path", "models"), "Serving needs TensorFlow: "),
    ],
)
def test_what_needs_tensorflow_says_so(start: Any, tmp_path: Path, command: tuple[str, ...], reason: str) -> None:
    stdout, stderr = (process := start(*command, cwd=tmp_path)).communicate(timeout=120)
    assert (process.returncode, stdout) == (1, "")
    assert reason in stderr
    assert "pip install --constraint requirements.lock '.[tensorflow]'" in " ".join(stderr.split())
    assert "Traceback" not in stderr
    assert not list(tmp_path.iterdir())


def test_the_whole_program_is_there(start: Any) -> None:
    stdout, stderr = (process := start("--help")).communicate(timeout=120)
    assert (process.returncode, stderr) == (0, "")
    for command in ("stylize", "batch", "describe", "status", "metadata", "wait", "version", "export", "serve"):
        assert f" {command} " in stdout
