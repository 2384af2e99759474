"""Workers: failures that end a job, that are repeated, and that end the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from styleserve.bulk.folders import LocalFolder, sha256
from styleserve.bulk.jobs import BulkJob
from styleserve.bulk.ledger import LedgerRow
from styleserve.bulk.registry import LocalRegistry
from styleserve.bulk.worker import Worker, WorkerSettings
from styleserve.client import (
    Controls,
    DeadlineExceeded,
    ModelNotFound,
    ModelNotReady,
    OutputError,
    Overloaded,
    PictureSet,
    RequestRefused,
    ServerUnavailable,
    StyleServeError,
    StylizedResult,
    Timings,
)
from styleserve.client.inputs.pictures import facts_of, load_pictures
from styleserve.client.inputs.recipe import Recipe

from .conftest import save_noise
from .test_jobs import job as make_job


@dataclass
class Engine:
    """Engine that raises its failures first, one a call, and then returns the content."""

    failures: list[StyleServeError] = field(default_factory=list)
    fingerprint: str = "model"
    died: bool = False
    recovery: StyleServeError | None = None
    painted: int = 0

    def start(self) -> Engine:
        return self

    def paint(self, pictures: Any, controls: Controls) -> StylizedResult:
        if self.failures:
            raise self.failures.pop(0)
        self.painted += 1
        loaded = load_pictures(pictures)
        recipe = Recipe(controls, "style_transfer", 1, facts_of(loaded))
        losses = np.array([[4.0] * 5, [2.0] * 5], np.float32)
        return StylizedResult(loaded.content.image, b"", losses, (), recipe, Timings(0.0, 0.0, 0.0))

    def recover(self) -> bool:
        if self.recovery is not None:
            raise self.recovery
        return self.died

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("styleserve.bulk.worker.time.sleep", lambda _: None)


@pytest.fixture
def job(tmp_path: Path) -> BulkJob:
    content, style = save_noise(tmp_path / "content.png", 8, 0), save_noise(tmp_path / "style.png", 8, 1)
    return make_job(pictures=PictureSet(content=str(content), styles=(str(style),)))


Ended = Callable[..., list[LedgerRow]]


@pytest.fixture
def ended(tmp_path: Path) -> Ended:
    """Rows of jobs that a worker with this engine ended."""

    def run(engine: Engine, *jobs: BulkJob, registry: LocalRegistry | None = None, **settings: Any) -> list[LedgerRow]:
        folder = LocalFolder(tmp_path / "out")
        registry = registry or LocalRegistry()
        usual: dict[str, Any] = {"folder": folder, "engine": engine, "retries": 2, "patience_s": 300.0}
        worker = Worker(WorkerSettings(**{**usual, **settings}), registry)
        numbers = list(range(1, len(jobs) + 1))
        keys = [f"{number:032x}" for number in numbers]
        list(worker(pa.table({"number": numbers, "key": keys, "job": [job.to_text() for job in jobs]})))
        return registry.take().rows

    return run


def test_a_job_is_painted_and_recorded(ended: Ended, job: BulkJob, tmp_path: Path) -> None:
    (row,) = ended(Engine(), job)
    assert (row.status, row.loss_first, row.loss_last) == ("painted", 4.0, 2.0)
    assert row.output is not None
    data = (tmp_path / "out" / row.output).read_bytes()
    assert row.sha256 == sha256(data)
    assert (row.content, row.styles, row.where) == (job.pictures.content, list(job.pictures.styles), "jobs.csv:2")
    recipe = Recipe.load(tmp_path / "out" / row.output)
    assert recipe.pictures.content.path == Path(job.pictures.content)


def test_the_same_contents_are_painted_once(ended: Ended, job: BulkJob, tmp_path: Path) -> None:
    copy = tmp_path / "copy.png"
    copy.write_bytes(Path(job.pictures.content).read_bytes())
    twin = replace(job, pictures=replace(job.pictures, content=str(copy)))
    engine = Engine()
    first, second = ended(engine, job, twin)
    assert engine.painted == 1
    assert (first.status, second.status) == ("painted", "found")
    assert (first.id, first.sha256) == (second.id, second.sha256)
    (again,) = ended(engine, job)
    assert (again.status, engine.painted) == ("found", 1)


def test_a_job_that_another_paints_is_a_duplicate(ended: Ended, job: BulkJob) -> None:
    registry, engine = LocalRegistry(), Engine()
    digests = job.pictures.map(lambda location, _: sha256(Path(location).read_bytes()))
    assert registry.begin(job.id(digests, "model"), 99)
    (row,) = ended(engine, job, registry=registry)
    assert (row.status, row.sha256, engine.painted) == ("duplicate", None, 0)


@pytest.mark.parametrize(
    ("data", "message"), [(None, "there is no file"), (b"no picture", "is not a picture"), (b"", "is empty")]
)
def test_a_picture_that_cannot_be_read_fails_its_job_alone(
    ended: Ended, job: BulkJob, tmp_path: Path, data: bytes | None, message: str
) -> None:
    bad = tmp_path / "bad.png"
    if data is not None:
        bad.write_bytes(data)
    failed, painted = ended(Engine(), replace(job, pictures=replace(job.pictures, content=str(bad))), job)
    assert (failed.status, failed.error, failed.output) == ("failed", "ImageError", None)
    assert failed.message is not None
    assert message in failed.message
    assert painted.status == "painted"


def test_a_request_that_is_refused_fails_its_job(ended: Ended, job: BulkJob) -> None:
    (row,) = ended(Engine([RequestRefused("steps is 5")]), job)
    assert (row.status, row.error, row.message) == ("failed", "RequestRefused", "steps is 5")
    assert row.id is not None


def test_late_answers_are_repeated_so_many_times(ended: Ended, job: BulkJob) -> None:
    (row,) = ended(Engine([DeadlineExceeded("late")] * 2), job)
    assert row.status == "painted"
    (row,) = ended(Engine([DeadlineExceeded("late")] * 3), replace(job, controls=Controls(steps=6)))
    assert (row.status, row.error) == ("failed", "DeadlineExceeded")


def test_a_busy_server_is_asked_again(ended: Ended, job: BulkJob) -> None:
    (row,) = ended(Engine([Overloaded("busy")] * 50), job)
    assert row.status == "painted"


def test_patience_ends_the_run(ended: Ended, job: BulkJob) -> None:
    registry = LocalRegistry()
    with pytest.raises(ModelNotReady, match="no server accepts work: busy"):
        ended(Engine([Overloaded("busy")]), job, registry=registry, patience_s=0.0)
    rows, fatal = registry.take()
    assert rows == []
    assert isinstance(fatal, ModelNotReady)


def test_a_job_that_ends_its_server_three_times_fails_alone(ended: Ended, job: BulkJob) -> None:
    first, second = ended(
        Engine([ServerUnavailable("gone")] * 3, died=True), job, replace(job, controls=Controls(steps=6))
    )
    assert (first.status, second.status) == ("failed", "painted")
    assert first.message is not None
    assert first.message.startswith("the server ended 3 times while it painted this job: gone")


@pytest.mark.parametrize(
    ("engine", "kind"),
    [
        (Engine([ServerUnavailable("gone")], recovery=ServerUnavailable("no model")), ModelNotReady),
        (Engine([ModelNotFound("version 1 is gone")]), ModelNotFound),
    ],
)
def test_a_model_that_disappears_ends_the_run(
    ended: Ended, job: BulkJob, engine: Engine, kind: type[StyleServeError]
) -> None:
    registry = LocalRegistry()
    with pytest.raises(kind):
        ended(engine, job, registry=registry)
    assert isinstance(registry.take().fatal, kind)


def test_a_full_disk_ends_the_run_and_leaves_no_half_of_a_file(
    ended: Ended, job: BulkJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(_image: Image.Image, file: Any, *_: Any, **__: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", save)
    registry = LocalRegistry()
    with pytest.raises(OutputError, match="No space left on device"):
        ended(Engine(), job, registry=registry)
    assert isinstance(registry.take().fatal, OutputError)
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []
