"""Stores of a studio: bounds, restarts; and the events of pages."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from pathlib import Path

import pytest

from styleserve.client import Controls
from styleserve.studio.painting.events import EventHub
from styleserve.studio.store import Database, PictureStore, RunRequest, RunStore, SessionStore, State

from .conftest import CONTENT, MOSAIC, STYLE

REQUEST = RunRequest("c" * 64, ("d" * 64, "e" * 64), ("f" * 64, None), "bold", {"steps": "20"})


@pytest.fixture
def database(tmp_path: Path) -> Generator[Database]:
    opened = Database(tmp_path / "studio")
    yield opened
    opened.close()


def test_a_run_is_the_same_after_a_restart(tmp_path: Path) -> None:
    database = Database(tmp_path)
    controls = Controls(steps=20, style_blend=(2, 1), image_format="png16")
    run = RunStore(database).add(REQUEST, controls, sheet="s", label="Bold")
    run = RunStore(database).update(run, state=State.RUNNING, notes=("a", "b"), fraction=0.5)
    database.close()
    database = Database(tmp_path)
    again = RunStore(database).get(run.id)
    assert again == run
    assert again is not None
    assert again.client_controls == controls
    database.close()


def test_interrupted_runs_wait_again_before_all_others(database: Database) -> None:
    runs = RunStore(database)
    first, second = (runs.add(REQUEST, Controls()) for _ in range(2))
    runs.update(first, state=State.RUNNING)
    runs.requeue_interrupted()
    assert runs.waiting() == [first.id, second.id]


def test_runs_of_a_sheet_wait_behind_paintings(database: Database) -> None:
    runs = RunStore(database)
    small = runs.add(REQUEST, Controls(), sheet="s")
    large = runs.add(REQUEST, Controls())
    assert runs.waiting() == [large.id, small.id]


def test_the_oldest_runs_that_have_ended_are_removed(database: Database) -> None:
    runs = RunStore(database)
    made = [runs.add(REQUEST, Controls()) for _ in range(5)]
    for run in made[1:]:
        runs.files(run.id).png.write_bytes(bytes(1000))
        runs.update(run, state=State.DONE)
    assert runs.trim(4, 10**9) == 1
    assert [run.id for run in runs.all()] == [made[index].id for index in (4, 3, 2, 0)]
    assert runs.trim(4, 2500) == 1
    assert [run.id for run in runs.all()] == [made[index].id for index in (4, 3, 0)]
    assert sorted(folder.name for folder in runs.folder.iterdir()) == sorted(run.id for run in runs.all())
    assert runs.trim(0, 0) == 2  # the first one waits


def test_saved_states_are_removed_before_pictures(database: Database) -> None:
    runs = RunStore(database)
    made = [runs.add(REQUEST, Controls()) for _ in range(3)]
    for run in made:
        runs.files(run.id).png.write_bytes(bytes(1000))
        runs.files(run.id).state.write_bytes(bytes(5000))
        runs.update(run, state=State.STOPPED)
    assert runs.trim(9, 9000) == 0
    assert [runs.files(run.id).state.exists() for run in made] == [False, False, True]
    assert all(runs.files(run.id).png.exists() for run in made)


def test_uploads_that_runs_need_are_kept(database: Database) -> None:
    store = PictureStore(database)
    stored = [store.write(path.read_bytes(), path.name) for path in (CONTENT, STYLE, MOSAIC)]
    for picture in stored:
        store.add(picture)
    assert store.trim(1, [stored[0].sha256]) == 1
    assert [store.get(picture.sha256) for picture in stored] == [stored[0], None, stored[2]]
    assert not store.file(stored[1].sha256).exists()
    assert (stored[0].width, stored[0].height) == (512, 384)


def test_sessions_outlive_a_restart(tmp_path: Path) -> None:
    database = Database(tmp_path)
    secret = SessionStore(database).begin()
    database.close()
    assert secret.encode() not in (tmp_path / "studio.sqlite").read_bytes()
    database = Database(tmp_path)
    assert SessionStore(database).holds(secret)
    assert not SessionStore(database).holds(secret[:-1])
    database.close()


def test_followers_get_the_latest_event_of_each_subject() -> None:
    async def follow() -> list[tuple[str, object]]:
        hub = EventHub()
        before = hub.number
        for fraction in (1, 2, 3):
            hub.publish("run", "a", {"fraction": fraction})
        hub.publish("run", "b", {"fraction": 9})
        seen: list[tuple[str, object]] = []

        async def read() -> None:
            seen.extend([(event.kind, event.data["fraction"]) async for event in hub.follow(before)])

        reader = asyncio.create_task(read())
        await asyncio.sleep(0.01)
        hub.publish("run", "a", {"fraction": 4})
        await asyncio.sleep(0.01)
        hub.close()
        await asyncio.wait_for(reader, 5)
        return seen

    assert asyncio.run(follow()) == [("run", 3), ("run", 9), ("run", 4)]
