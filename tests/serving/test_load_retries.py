"""A version that does not load is tried again: when, how often, and who does not wait for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tensorflow_serving.apis import get_model_status_pb2, model_pb2

from styleserve.contract import DEFAULT_MODEL_NAME
from styleserve.serving.errors import ModelsUnavailableError
from styleserve.serving.models import manager as manager_module
from styleserve.serving.models.lifecycle import LoadRetries
from styleserve.serving.models.manager import ModelManager
from styleserve.serving.models.session import SessionSettings
from styleserve.serving.models.version_policy import ModelConfig, VersionPolicy

Make = Callable[..., Any]
NAME = DEFAULT_MODEL_NAME
STATE = get_model_status_pb2.ModelVersionStatus
INTERVAL_S = 60.0
SOON_S = 60.0


class Watched(ModelManager):
    """Manager that polls when a test calls it, with a clock set by hand; `tries` has the path of each load."""

    def __init__(self, most: int) -> None:
        self.now = 1000.0
        self.tries: list[Path] = []
        self.serving_at_tries: list[dict[str, list[int]]] = []
        super().__init__(
            SessionSettings(max_calls=1),
            on_load=self._tried,
            retries=LoadRetries(most, INTERVAL_S),
            clock=lambda: self.now,
        )

    def _tried(self, path: Path, _seconds: float, _success: bool) -> None:
        self.tries.append(path)
        self.serving_at_tries.append(self.serving())

    def poll_after(self, seconds: float) -> None:
        self.now += seconds
        self.poll()

    def state(self, number: int, model: str = NAME) -> tuple[str, str]:
        (status,) = self.status(model_pb2.ModelSpec(name=model, version={"value": number}))
        return STATE.State.Name(status.state), status.status.error_message


@pytest.fixture
def manager(request: pytest.FixtureRequest) -> Iterator[Watched]:
    manager = Watched(getattr(request, "param", 5))
    yield manager
    manager.close()


@pytest.fixture
def base_path(manager: Watched, tmp_path: Path, add_stand_in: Make) -> Path:
    """Base path of the current configuration, with version 1."""
    base_path = tmp_path / "model"
    add_stand_in(base_path, 1)
    manager.reload({NAME: ModelConfig(NAME, base_path)})
    manager.tries.clear()
    manager.serving_at_tries.clear()
    return base_path


def begin_to_copy(base_path: Path, version: int) -> Path:
    (base_path / str(version)).mkdir(parents=True, exist_ok=True)
    return base_path / str(version)


def complete(directory: Path, add_stand_in: Make) -> None:
    whole = add_stand_in(directory.parents[1] / "elsewhere", int(directory.name))
    for part in sorted(whole.iterdir(), reverse=True):
        part.rename(directory / part.name)


def test_a_copy_that_was_not_complete(
    manager: Watched, base_path: Path, add_stand_in: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "styleserve.serving")
    copy = begin_to_copy(base_path, 2)
    manager.poll()
    complete(copy, add_stand_in)
    for _ in range(3):
        manager.poll_after(INTERVAL_S / 4)
        state, why = manager.state(2)
        assert (state, manager.serving()) == ("LOADING", {NAME: [1]})
        assert f"cannot load {copy}" in why
    assert manager.tries == [copy]
    manager.poll_after(INTERVAL_S / 4)
    assert manager.state(2) == ("AVAILABLE", "")
    assert manager.serving() == {NAME: [2]}
    assert manager.state(1)[0] == "END"
    assert manager.tries == [copy, copy]
    logged = [record for record in caplog.records if "version 2" in record.getMessage()]
    assert [record.levelname for record in logged] == ["ERROR", "INFO"]


@pytest.mark.parametrize("manager", [2, 0], indirect=True)
def test_a_version_that_is_broken_for_good(
    manager: Watched, base_path: Path, add_stand_in: Make, caplog: pytest.LogCaptureFixture
) -> None:
    most = manager._retries.limit
    broken = begin_to_copy(base_path, 2)
    manager.poll()
    states = [manager.state(2)[0]]
    for _ in range(most + 3):
        manager.poll_after(INTERVAL_S)
        manager.poll()
        states.append(manager.state(2)[0])
    assert states == ["LOADING"] * most + ["END"] * 4
    assert manager.tries == [broken] * (most + 1)
    assert "cannot load" in manager.state(2)[1]
    logged = [record.getMessage().partition(": ")[0] for record in caplog.records]
    retries = [f" at retry {number} of {most}" for number in range(1, most + 1)]
    assert logged == [f"model {NAME}, version 2 does not load{retry}" for retry in ("", *retries)]
    assert manager.serving() == {NAME: [1]}
    add_stand_in(base_path, 3)
    manager.poll()
    assert manager.serving() == {NAME: [3]}


def test_what_is_new_does_not_wait_for_a_retry(manager: Watched, base_path: Path, add_stand_in: Make) -> None:
    """Nor does the memory of what is old."""
    broken = begin_to_copy(base_path, 2)
    other = base_path.parent / "other"
    add_stand_in(other, 1)
    configs = {NAME: ModelConfig(NAME, base_path), "other": ModelConfig("other", other)}
    manager.reload(configs)
    assert manager.state(2)[0] == "LOADING"
    manager.tries.clear()
    manager.serving_at_tries.clear()
    add_stand_in(other, 2)
    manager.poll_after(INTERVAL_S)
    assert manager.tries == [other / "2", broken]
    assert manager.serving_at_tries == [{NAME: [1], "other": [1]}, {NAME: [1], "other": [2]}]
    assert manager.state(1, "other")[0] == "END"


@pytest.mark.usefixtures("base_path")
def test_a_configuration_is_answered_at_the_first_failure(manager: Watched, tmp_path: Path, add_stand_in: Make) -> None:
    """Nothing of it waits, and the same configuration is tried anew."""
    copy = begin_to_copy(tmp_path / "new", 5)
    config = {NAME: ModelConfig(NAME, copy.parent)}
    for tries in (1, 2):
        with pytest.raises(ModelsUnavailableError, match=r"cannot load .*new/5"):
            manager.reload(config)
        assert manager.tries == [copy] * tries
        assert manager.state(5)[0] == "END"
    manager.poll_after(10 * INTERVAL_S)
    assert manager.tries == [copy] * 2
    assert manager.serving() == {NAME: [1]}
    complete(copy, add_stand_in)
    manager.reload(config)
    assert manager.serving() == {NAME: [5]}


def test_a_version_of_two_that_does_not_load(manager: Watched, base_path: Path, add_stand_in: Make) -> None:
    """A configuration that has another version to serve is taken, and the rest is tried again."""
    copy = begin_to_copy(base_path, 2)
    manager.reload({NAME: ModelConfig(NAME, base_path, VersionPolicy("all"))})
    assert (manager.state(2)[0], manager.serving()) == ("LOADING", {NAME: [1]})
    complete(copy, add_stand_in)
    manager.poll_after(INTERVAL_S)
    assert manager.serving() == {NAME: [1, 2]}


@pytest.mark.parametrize("manager", [1], indirect=True)
def test_a_version_that_is_taken_away_and_comes_back(manager: Watched, base_path: Path) -> None:
    broken = begin_to_copy(base_path, 2)
    manager.poll()
    for tries in (2, 4):  # its tries are counted anew
        away = broken.rename(base_path / "away")
        manager.poll_after(INTERVAL_S)
        assert manager.state(2)[0] == "END"
        away.rename(broken)
        manager.poll()
        assert manager.state(2)[0] == "LOADING"
        assert len(manager.tries) == tries
        for _ in range(3):
            manager.poll_after(INTERVAL_S)
        assert manager.state(2)[0] == "END"
        assert len(manager.tries) == tries + 1


def test_memory_of_a_try_is_given_back(manager: Watched, base_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given_back = threading.Event()
    monkeypatch.setattr(manager_module, "give_back_freed_memory", given_back.set)
    begin_to_copy(base_path, 2)
    manager.start_polling(0.01)
    assert given_back.wait(SOON_S)
    assert manager.state(2)[0] == "LOADING"


def test_a_model_that_is_not_configured_any_more(manager: Watched, base_path: Path) -> None:
    begin_to_copy(base_path, 2)
    manager.poll()
    manager.reload({"other": ModelConfig("other", base_path, VersionPolicy("specific", specific=(1,)))})
    assert manager.state(2)[0] == "END"
    manager.reload({"other": ModelConfig("other", base_path, VersionPolicy("specific", specific=(1,)))})
    manager.poll_after(INTERVAL_S)
    assert len(manager.tries) == 2  # version 2 of the one, version 1 of the other
