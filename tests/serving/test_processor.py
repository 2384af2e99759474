"""Warnings of bfloat16 on machines that do not compute in it."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from styleserve import processor
from styleserve.contract import DEFAULT_MODEL_NAME
from styleserve.processor import BFLOAT16_FLAGS, cpu_flags
from styleserve.serving.models import model_card
from styleserve.serving.models.manager import ModelManager
from styleserve.serving.models.model_card import slow_on_this_machine
from styleserve.serving.models.servable import Servable
from styleserve.serving.models.session import SessionSettings
from styleserve.serving.models.version_policy import ModelConfig
from styleserve.version_directories import MODEL_CARD_FILE

WARNING = "computes in bfloat16, for which this machine has no units"


def with_card(version_dir: Path, precision: str) -> Path:
    path = version_dir / MODEL_CARD_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"precision": precision}))
    return version_dir


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2\nbugs\t: spectre_v1\n\nprocessor\t: 1\nflags\t: fma\n", {"fpu", "avx2"}),
        ("processor\t: 0\nFeatures\t: fp asimd\n", set[str]()),
        (None, set[str]()),
    ],
)
def test_flags_of_the_first_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, flags: set[str]
) -> None:
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "cpuinfo")
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    assert cpu_flags() == flags


@pytest.mark.parametrize(
    ("precision", "flags", "warned"),
    [
        ("bfloat16", {"avx2"}, True),
        ("bfloat16", {"avx2", BFLOAT16_FLAGS[0]}, False),
        ("bfloat16", {"avx2", BFLOAT16_FLAGS[1]}, False),
        ("bfloat16", set[str](), False),  # another architecture
        ("float32", {"avx2"}, False),
    ],
)
def test_bfloat16_without_units(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, flags: set[str], warned: bool
) -> None:
    monkeypatch.setattr(model_card, "cpu_flags", lambda: frozenset(flags))
    found = slow_on_this_machine(with_card(tmp_path, precision))
    assert (found is not None and WARNING in found and "--precision float32" in found) is warned
    assert slow_on_this_machine(tmp_path / "none") is None


@pytest.mark.parametrize("on_gpu", [False, True])
def test_a_server_says_so_when_it_loads_such_a_version(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    add_stand_in: Callable[..., Any],
    on_gpu: bool,
) -> None:
    monkeypatch.setattr(model_card, "cpu_flags", lambda: frozenset({"avx2"}))
    if on_gpu:
        monkeypatch.setattr(Servable, "on_gpu", True)
    caplog.set_level(logging.WARNING, "styleserve.serving")
    base_path = tmp_path / "model"
    add_stand_in(base_path, 1)
    with_card(base_path / "1", "bfloat16")
    manager = ModelManager(SessionSettings(max_calls=1))
    try:
        manager.reload({DEFAULT_MODEL_NAME: ModelConfig(DEFAULT_MODEL_NAME, base_path)})
    finally:
        manager.close()
    logged = [record.getMessage() for record in caplog.records if WARNING in record.getMessage()]
    assert len(logged) == (not on_gpu)
    assert all(line.startswith(f"model {DEFAULT_MODEL_NAME}, version 1 ") for line in logged)


def test_a_card_of_an_export_tells_its_precision(
    tiny_model_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_card, "cpu_flags", lambda: frozenset({"avx2"}))
    (version,) = [path for path in tiny_model_base.iterdir() if path.name.isdigit()]
    assert slow_on_this_machine(version) is None
    copied = tmp_path / version.name / MODEL_CARD_FILE
    copied.parent.mkdir(parents=True)
    shutil.copy(version / MODEL_CARD_FILE, copied)
    copied.write_text(copied.read_text().replace('"precision": "float32"', '"precision": "bfloat16"'))
    assert slow_on_this_machine(copied.parents[1]) is not None
