"""The demo's decisions; the commands that it runs are stood in for."""

import runpy
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RUN = Path(__file__).resolve().parents[2] / "demo" / "run.py"
WEIGHTS = "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"


@pytest.fixture
def script() -> dict[str, Any]:
    """The demo, which is a script and in no package."""
    return runpy.run_path(str(RUN))


def stood_in(stdout: str = "", stderr: str = "") -> tuple[list[dict[str, Any]], Callable[..., Any]]:
    """A `subprocess.run` in which all goes well, and the options of its calls."""
    calls: list[dict[str, Any]] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        calls.append(options)
        return subprocess.CompletedProcess(command, 0, stdout, stderr)

    return calls, run


@pytest.mark.parametrize(
    ("size", "timeout_s"), [(None, 15), (30_000_000, 15), (80_134_624, 60)], ids=["absent", "cut-short", "whole"]
)
def test_weights_on_disk_get_the_time_that_a_slow_machine_takes(
    script: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int | None, timeout_s: float
) -> None:
    """And a download does not, nor a file that one left behind."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    if size is not None:
        (tmp_path / "models").mkdir()
        with (tmp_path / "models" / WEIGHTS).open("wb") as file:
            file.truncate(size)
    calls, run = stood_in()
    monkeypatch.setattr(subprocess, "run", run)
    assert script["choose_weights"]() == "imagenet"
    assert [call["timeout"] for call in calls] == [timeout_s]


def test_weights_that_take_too_long_are_done_without(
    script: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(command: list[str], **options: Any) -> None:
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(subprocess, "run", run)
    assert script["choose_weights"]() == "random"
    assert "untrained" in capsys.readouterr().out


def test_the_precision_is_shown_after_any_other_line(
    script: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stderr = "W0000 a warning of some library\nprecision: float32 (as asked for)\nsaving\n"
    _, run = stood_in("models/style_transfer/1700000000\n", stderr)
    monkeypatch.setattr(subprocess, "run", run)
    script["export"]("random", Path("models"))
    said = capsys.readouterr().out
    assert " ".join(said.split()) == "Export version 1700000000, checked; precision: float32 (as asked for)"
