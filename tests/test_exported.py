"""The cache of exported models."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from styleserve.export import ExportSettings
from tests import exported


def settings(output: Path, seed: int = 0) -> ExportSettings:
    return ExportSettings(output, weights="random", precision="float32", seed=seed)


@pytest.fixture
def exports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Seeds of the exports, each of which writes two files one after another; a seed below 0 fails between them."""
    made: list[int] = []

    def export_model(settings: ExportSettings) -> Path:
        version = settings.output / "1700000000"
        version.mkdir(parents=True)
        (version / "saved_model.pb").write_text(str(settings.seed))
        made.append(settings.seed)
        time.sleep(0.05)
        if settings.seed < 0:
            raise KeyboardInterrupt
        (version / "card").touch()
        return version

    monkeypatch.setattr("styleserve.export.export_model", export_model)
    monkeypatch.setattr(exported, "CACHE", tmp_path / "cache")
    yield made
    assert not list((tmp_path / "cache").glob("staging-*"))


def test_one_export_serves_all_who_ask_at_a_time(exports: list[int], tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        versions = list(pool.map(exported.export_once, (settings(tmp_path / f"m{number}") for number in range(4))))
    assert exports == [0]
    assert versions == [tmp_path / f"m{number}" / "1700000000" for number in range(4)]
    (versions[0] / "card").unlink()
    again = exported.export_once(settings(tmp_path / "again"))
    assert sorted(path.name for path in again.iterdir()) == ["card", "saved_model.pb"]
    assert exports == [0]


def test_other_settings_are_another_model(exports: list[int], tmp_path: Path) -> None:
    versions = [exported.export_once(settings(tmp_path / str(seed), seed)) for seed in (0, 1)]
    assert [(version / "saved_model.pb").read_text() for version in versions] == ["0", "1"]
    assert exports == [0, 1]


def test_an_interrupted_export_leaves_no_entry(exports: list[int], tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            exported.export_once(settings(tmp_path / "m", -1))
    assert exports == [-1, -1]
    assert not (tmp_path / "m").exists()


def test_other_sources_export_again(exports: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported.export_once(settings(tmp_path / "before"))
    monkeypatch.setattr(exported, "ROOT", tmp_path)
    (tmp_path / "model" / "terms").mkdir(parents=True)
    (tmp_path / "model" / "terms" / "style.py").touch()
    monkeypatch.setattr(exported, "_SOURCES", exported._hash_of_sources())
    exported.export_once(settings(tmp_path / "after"))
    (tmp_path / "model" / "terms" / "style.py").write_text("changed")
    monkeypatch.setattr(exported, "_SOURCES", exported._hash_of_sources())
    exported.export_once(settings(tmp_path / "changed"))
    assert exports == [0, 0, 0]


def test_an_entry_that_was_long_unused_is_removed(exports: list[int], tmp_path: Path) -> None:
    for seed in (0, 1):
        exported.export_once(settings(tmp_path / str(seed), seed))
    for entry in (tmp_path / "cache").iterdir():
        os.utime(entry, (0, 0))
    exported.export_once(settings(tmp_path / "used", 1))
    exported.export_once(settings(tmp_path / "new", 2))
    exported.export_once(settings(tmp_path / "again", 1))
    exported.export_once(settings(tmp_path / "removed", 0))
    assert exports == [0, 1, 2, 0]
