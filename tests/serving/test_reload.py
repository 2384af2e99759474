"""Configurations and disks that are wrong: neither takes down what serves."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from styleserve.contract import DEFAULT_MODEL_NAME
from styleserve.serving import EmbeddedServer, ServerSettings, StartError
from styleserve.serving.errors import ModelsUnavailableError, PreconditionError
from styleserve.serving.models.manager import ModelManager
from styleserve.serving.models.session import SessionSettings
from styleserve.serving.models.version_policy import ModelConfig, VersionPolicy

Make = Callable[..., Any]
NAME = DEFAULT_MODEL_NAME


@pytest.fixture
def base_path(tmp_path: Path, add_stand_in: Make) -> Path:
    add_stand_in(tmp_path / "model", 1)
    return tmp_path / "model"


@pytest.fixture
def manager() -> Iterator[ModelManager]:
    manager = ModelManager(SessionSettings(max_calls=1))
    yield manager
    manager.close()


@pytest.fixture
def good(manager: ModelManager, base_path: Path) -> ModelConfig:
    """The configuration that is in force: version 1 serves."""
    config = ModelConfig(NAME, base_path)
    manager.reload({NAME: config})
    assert manager.serving() == {NAME: [1]}
    return config


def _broken(base_path: Path, version: int) -> Path:
    (base_path / str(version)).mkdir(parents=True)
    return base_path


@pytest.mark.parametrize(
    ("mistake", "text"),
    [
        ("nosuch", r"cannot read .*nosuch: No such file"),
        ("a file", r"cannot read .*a file: Not a directory"),
        ("empty", r"empty has no version that is asked for"),
        ("specific", r"model has no version that is asked for"),
        ("broken", r"cannot load .*broken/5"),
        ("broken, same number", r"see the server's log"),
        ("specific and broken", r"cannot load .*model/7"),
    ],
)
def test_a_mistyped_configuration_changes_nothing(
    manager: ModelManager, good: ModelConfig, tmp_path: Path, mistake: str, text: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a file").touch()
    bad = {
        "specific": lambda: replace(good, policy=VersionPolicy("specific", specific=(99,))),
        "broken": lambda: replace(good, base_path=_broken(tmp_path / "broken", 5)),
        "broken, same number": lambda: replace(good, base_path=_broken(tmp_path / "broken", 1)),
        "specific and broken": lambda: replace(
            good, base_path=_broken(good.base_path, 7), policy=VersionPolicy("specific", specific=(7,))
        ),
    }.get(mistake, lambda: replace(good, base_path=tmp_path / mistake))()
    with pytest.raises(ModelsUnavailableError, match=rf"did not become available: {{{NAME}}}\. {NAME}: .*{text}"):
        manager.reload({NAME: bad})
    for _ in range(2):
        assert manager.serving() == {NAME: [1]}
        manager.poll()


def test_two_names_of_one_number(
    manager: ModelManager, good: ModelConfig, add_stand_in: Make, caplog: pytest.LogCaptureFixture
) -> None:
    add_stand_in(good.base_path, 2).rename(good.base_path / "0002")
    manager.poll()
    assert manager._available(NAME) == {2: good.base_path / "0002"}
    add_stand_in(good.base_path, 2)
    manager.poll()
    assert manager._available(NAME) == {2: good.base_path / "2"}
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [f"model {NAME}, version 2 is loaded from {good.base_path / '2'}; ignored are 0002"]


def test_zeros_in_front_with_a_policy_and_labels(manager: ModelManager, good: ModelConfig, add_stand_in: Make) -> None:
    add_stand_in(good.base_path, 7).rename(good.base_path / "007")
    policy = VersionPolicy("specific", specific=(1, 7))
    manager.reload({NAME: replace(good, policy=policy, labels=(("canary", 7),))})
    assert manager.serving() == {NAME: [1, 7]}


def test_a_base_path_that_is_a_version(manager: ModelManager, good: ModelConfig) -> None:
    version = good.base_path / "1"
    with pytest.raises(ModelsUnavailableError, match=rf'holds saved_model\.pb.* as base_path: "{good.base_path}"'):
        manager.reload({NAME: replace(good, base_path=version)})
    assert manager.serving() == {NAME: [1]}


def test_one_mistyped_model_keeps_the_others_as_they_are(manager: ModelManager, good: ModelConfig) -> None:
    other = replace(good, name="other")
    with pytest.raises(ModelsUnavailableError, match=r"{third}\. third: cannot read /nosuch"):
        manager.reload({NAME: good, "other": other, "third": ModelConfig("third", Path("/nosuch"))})
    assert manager.serving() == {NAME: [1]}
    manager.reload({NAME: good, "other": other})
    assert manager.serving() == {NAME: [1], "other": [1]}
    manager.reload({"other": other})
    assert manager.serving() == {NAME: [], "other": [1]}


def test_a_label_is_moved_while_the_newest_version_is_broken(manager: ModelManager, good: ModelConfig) -> None:
    _broken(good.base_path, 2)
    manager.poll()
    manager.reload({NAME: replace(good, labels=(("stable", 1),))})
    assert manager.serving() == {NAME: [1]}
    with pytest.raises(PreconditionError, match="assign label to version 2"):
        manager.reload({NAME: replace(good, labels=(("stable", 2),))})
    manager.poll()
    assert manager.serving() == {NAME: [1]}


def test_a_label_for_a_version_that_is_on_its_way_out(
    manager: ModelManager, good: ModelConfig, add_stand_in: Make
) -> None:
    add_stand_in(good.base_path, 2)
    with pytest.raises(PreconditionError, match="assign label to version 1"):
        manager.reload({NAME: replace(good, labels=(("stable", 1),))})
    both = replace(good, policy=VersionPolicy("latest", 2), labels=(("stable", 1), ("canary", 2)))
    manager.reload({NAME: both})
    assert manager.serving() == {NAME: [1, 2]}


def test_another_directory_with_the_same_numbers(
    manager: ModelManager, good: ModelConfig, tmp_path: Path, add_stand_in: Make
) -> None:
    add_stand_in(tmp_path / "other", 1)
    manager.reload({NAME: replace(good, base_path=tmp_path / "other")})
    manager.poll()
    assert manager.serving() == {NAME: [1]}
    assert manager._available(NAME) == {1: tmp_path / "other" / "1"}


@pytest.mark.parametrize("instead", ["nothing", "a file"])
def test_a_disk_that_is_away_for_a_moment(
    manager: ModelManager, good: ModelConfig, add_stand_in: Make, caplog: pytest.LogCaptureFixture, instead: str
) -> None:
    caplog.set_level(logging.INFO, "styleserve.serving")
    away = good.base_path.rename(good.base_path.with_name("away"))
    if instead == "a file":
        good.base_path.touch()
    for _ in range(3):
        manager.poll()
        assert manager.serving() == {NAME: [1]}
    add_stand_in(away, 2)
    good.base_path.unlink(missing_ok=True)
    away.rename(good.base_path)
    manager.poll()
    assert manager.serving() == {NAME: [2]}
    logged = [record.getMessage() for record in caplog.records if "read" in record.getMessage()]
    assert len(logged) == 2
    assert "its versions stay until it can be read" in logged[0]
    assert "can be read again" in logged[1]


def test_one_unreadable_disk_of_two(
    manager: ModelManager, good: ModelConfig, tmp_path: Path, add_stand_in: Make
) -> None:
    add_stand_in(tmp_path / "other", 1)
    manager.reload({NAME: good, "other": ModelConfig("other", tmp_path / "other")})
    good.base_path.rename(tmp_path / "away")
    add_stand_in(tmp_path / "other", 2)
    manager.poll()
    assert manager.serving() == {NAME: [1], "other": [2]}


def test_all_versions_taken_away_on_purpose(manager: ModelManager, good: ModelConfig, tmp_path: Path) -> None:
    """As in TensorFlow Serving: an empty directory is a wish, one that cannot be read is none."""
    (good.base_path / "1").rename(tmp_path / "retired")
    manager.poll()
    assert manager.serving() == {NAME: []}


def test_a_disk_that_cannot_be_read_at_the_start(base_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stale(_path: Path) -> None:
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr("os.scandir", stale)
    with pytest.raises(StartError, match=rf"cannot read {base_path}: Stale file handle"):
        EmbeddedServer(base_path, settings=ServerSettings(port=0)).start()
