"""Bulk runs on a local Ray: jobs a second and memory with an engine that takes no time, and time against `batch`."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from styleserve.bulk import BulkSettings, run_bulk
from styleserve.bulk.engines import Engine
from styleserve.client import Controls, PictureSet, StyleClient, StylizedResult, Timings, run_batch
from styleserve.client.batch.job import JobDefaults
from styleserve.client.batch.job_list import read_jobs
from styleserve.client.images.source import PictureSource
from styleserve.client.inputs.pictures import facts_of, load_pictures
from styleserve.client.inputs.recipe import Recipe
from styleserve.client.transport.retry import RetryPolicy
from styleserve.client.transport.settings import ConnectionSettings
from styleserve.server_process import ServerProcess

from .bench import Bench
from .memory import resident_mb
from .results import Row, Table
from .settings import BulkBenchSettings

_ROWS = 10


@dataclass(frozen=True)
class InstantSource:
    """Source of an engine that returns the content, in place of the time and the memory of a model."""

    fingerprint: str = "0" * 32

    def start(self) -> Engine:
        """Engine that is ready."""
        return _Instant()


class _Instant:
    def paint(self, pictures: PictureSet[PictureSource], controls: Controls) -> StylizedResult:
        loaded = load_pictures(pictures)
        recipe = Recipe(controls, "instant", 1, facts_of(loaded))
        losses = np.ones([1, 5], np.float32)
        return StylizedResult(loaded.content.image, b"", losses, (), recipe, Timings(0.0, 0.0, 0.0))

    def recover(self) -> bool:
        return False

    def close(self) -> None:
        pass


def measure(settings: BulkBenchSettings, bench: Bench) -> list[Table]:
    """Two tables: an instant engine, and `batch` as the baseline of a real one."""
    return [_instant(settings, bench), _against_batch(settings, bench)]


def _instant(settings: BulkBenchSettings, bench: Bench) -> Table:
    jobs = _job_list(bench.folder("instant"), settings.jobs, 16)
    bench.say(f"bulk: {settings.jobs} instant jobs")
    rows: list[Row] = []
    started_s = first_s = time.monotonic()
    run = run_bulk(str(jobs), str(jobs.parent / "out"), _settings(controls=Controls()), engine=InstantSource())
    for progress in run:
        if not progress.painted:
            first_s = time.monotonic()
        if progress.painted * _ROWS >= settings.jobs * (len(rows) + 1):
            rate = progress.painted / (time.monotonic() - first_s)
            rows.append({"jobs": progress.painted, "a second": rate, "driver MB": resident_mb(os.getpid())})
    notes = [f"from the command to the first result {first_s - started_s:.1f} s, not part of the rate"]
    return Table(f"{settings.jobs} jobs of 16 px, one worker, an engine that takes no time", rows, notes)


def _against_batch(settings: BulkBenchSettings, bench: Bench) -> Table:
    base_path = bench.model(settings.side)
    jobs = _job_list(bench.folder("pairs"), settings.pictures, settings.side)
    controls = Controls(steps=settings.steps, max_side=settings.side)
    rows: list[Row] = []
    for number in range(settings.rounds):
        bench.say(f"bulk: {settings.pictures} pictures by batch, then by bulk ({number + 1} of {settings.rounds})")
        batch_s, bulk_s = _batch_s(jobs, base_path, controls), _bulk_s(jobs, base_path, controls)
        rows.append({"batch s": batch_s, "bulk s": bulk_s, "ratio": bulk_s / batch_s})
    notes = ["with the start of the server, and of Ray"]
    title = f"{settings.pictures} pictures, {settings.side} px, {settings.steps} steps: bulk and batch"
    return Table(title, rows, notes)


def _batch_s(jobs: Path, base_path: Path, controls: Controls) -> float:
    output = jobs.parent / "batch"
    shutil.rmtree(output, ignore_errors=True)
    started_s = time.monotonic()
    with ServerProcess(base_path) as server:
        connection = ConnectionSettings(server=server.address, retry=RetryPolicy(tries=1))
        with StyleClient(settings=connection) as client:
            ended = list(run_batch(read_jobs(jobs, JobDefaults(controls=controls)), [client], output))
    assert all(result.error is None for result in ended), ended  # noqa: S101 - a failed job takes no time
    return time.monotonic() - started_s


def _bulk_s(jobs: Path, base_path: Path, controls: Controls) -> float:
    output = jobs.parent / "bulk"
    shutil.rmtree(output, ignore_errors=True)
    started_s = time.monotonic()
    for progress in run_bulk(str(jobs), str(output), _settings(controls=controls, model=base_path)):
        assert not progress.failed, progress.rows  # noqa: S101 - as above
    return time.monotonic() - started_s


def _settings(*, controls: Controls, model: Path | None = None) -> BulkSettings:
    defaults = JobDefaults(controls=controls)
    servers = () if model is not None else ("127.0.0.1",)  # an instant engine calls none
    return BulkSettings(model=model, servers=servers, defaults=defaults, workers=1, dashboard=False)


def _job_list(folder: Path, count: int, side: int) -> Path:
    random = np.random.default_rng(0)
    rows: list[Mapping[str, str]] = []
    for name in ["style.png", *(f"c{number:06}.png" for number in range(count))]:
        Image.fromarray(random.integers(0, 256, (side, side, 3), np.uint8)).save(folder / name)
        rows.append({"content": name, "style": "style.png"})
    path = folder / "jobs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[1:]))
    return path
