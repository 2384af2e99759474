"""Worker: the actor class that Ray Data calls with rows of the plan.

A job that fails becomes a row of the ledger. What would fail every job, such as a full disk or a model that is gone,
stops the run; what was painted stays.
"""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from styleserve.client.batch.failures import is_rejection, is_transient
from styleserve.client.batch.retry_window import RetryWindow
from styleserve.client.errors import (
    ContractMismatch,
    ModelNotFound,
    ModelNotReady,
    OutputError,
    SettingsError,
    StyleServeError,
    WrongServer,
)
from styleserve.client.images.source import PictureFile, PictureSource
from styleserve.client.inputs.picture_set import PictureSet
from styleserve.client.transport.retry import RetryPolicy
from styleserve.client.wire.results import StylizedResult

from .engines import Engine, EngineSource
from .folders import Folder, sha256
from .jobs import BulkJob, output_name
from .ledger import LedgerRow, Status
from .locations import is_url, read_picture
from .registry import Registry

_ENDS_RUN: Final = (ContractMismatch, ModelNotFound, ModelNotReady, OutputError, SettingsError, WrongServer)
"""Errors that every further job would meet."""

_MOST_DEATHS: Final = 3
"""Times that the server of a worker may end during one job."""
_CACHED_FILES: Final = 16
"""Styles and masks that a worker keeps, as many jobs share them."""


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """Settings of the workers of one run.

    Attributes:
        folder: Folder of the run.
        engine: Source of the engine.
        retries: Retries of a job after a late or damaged answer.
        patience_s: Time budget for retrying while the server does not accept work.
    """

    folder: Folder
    engine: EngineSource
    retries: int
    patience_s: float


class Worker:
    """Worker of one run, in a Ray actor; safe to call from several threads.

    Args:
        settings: Settings of the workers.
        registry: Registry of the run.
    """

    def __init__(self, settings: WorkerSettings, registry: Registry) -> None:
        self._settings: Final = settings
        self._registry: Final = registry
        self._name: Final = f"{socket.gethostname()}:{os.getpid()}"
        # It starts while Ray reads the plan. Its error waits for a job: that of a constructor would lose its cause.
        self._engine: Final = ThreadPoolExecutor(max_workers=1).submit(settings.engine.start)
        self._read_shared: Final = lru_cache(maxsize=_CACHED_FILES)(read_picture)

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        """Paints the jobs of some rows of the plan; yields their number.

        Raises:
            StyleServeError: The run cannot continue.
        """
        for number, key, text in zip(*(rows[name].to_pylist() for name in ("number", "key", "job")), strict=True):
            try:
                row = self._ended(BulkJob.from_text(text), key, number)
            except StyleServeError as error:
                self._registry.stop(error)
                raise
            self._registry.end(row, number)
        self._registry.sync()
        yield pa.table({"ended": [rows.num_rows]})

    def _ended(self, job: BulkJob, key: str, number: int) -> LedgerRow:
        """Row of a job that ended.

        Raises:
            StyleServeError: The run cannot continue.
        """
        engine, folder = self._ready_engine(), self._settings.folder
        started = time.perf_counter()
        facts: dict[str, Any] = {
            "key": key,
            "where": job.where,
            "name": job.name,
            "content": job.pictures.content,
            "styles": list(job.pictures.styles),
            "worker": self._name,
        }
        try:
            files = job.pictures.map(self._read)
            job_id = job.id(files.map(lambda data, _: sha256(data)), self._settings.engine.fingerprint)
            output = output_name(job_id, job.extension)
            facts |= {"id": job_id, "output": output}
            if not self._registry.begin(job_id, number):
                facts["status"] = Status.DUPLICATE.value
            elif folder.exists(output):
                facts |= {"status": Status.FOUND.value, "sha256": sha256(folder.read(output))}
            else:
                result = self._painted(job, engine, files)
                facts["sha256"] = folder.save(output, partial(result.save, dpi=job.dpi))
                facts |= {"status": Status.PAINTED.value, **_losses(result)}
        except _ENDS_RUN:
            raise
        except StyleServeError as error:
            facts |= {
                "status": Status.FAILED.value,
                "output": None,
                "error": type(error).__name__,
                "message": error.message,
            }
        return LedgerRow(**facts, seconds=round(time.perf_counter() - started, 3), ended=time.time())

    def _ready_engine(self) -> Engine:
        try:
            return self._engine.result()
        except StyleServeError as error:
            raise _ended_by(error) from error

    def _read(self, location: str, role: str) -> bytes:
        return read_picture(location) if role == "content" else self._read_shared(location)

    def _painted(self, job: BulkJob, engine: Engine, files: PictureSet[bytes]) -> StylizedResult:
        """Result of a job, after as many tries as its failures allow."""
        locations = iter([location for _, location in job.pictures.items()])
        sources = files.map(lambda data, _: _source(data, next(locations)))
        window, policy = RetryWindow(self._settings.patience_s), RetryPolicy()
        transient = deaths = tries = 0
        while True:
            started_s = time.monotonic()
            try:
                return engine.paint(sources, job.controls)
            except StyleServeError as error:
                tries += 1
                if is_rejection(error):
                    now_s = time.monotonic()
                    window.rejected(started_s, now_s)
                    if window.left_s(now_s) <= 0:
                        raise _ended_by(error) from error
                    deaths += self._recovered(engine)
                    if deaths == _MOST_DEATHS:
                        raise StyleServeError(
                            f"the server ended {deaths} times while it painted this job: {error.message}",
                            hint="Paint it alone, and see the server's memory.",
                        ) from error
                elif is_transient(error) and transient < self._settings.retries:
                    transient += 1
                else:
                    raise
                time.sleep(policy.pause_s(tries, random.SystemRandom()))

    def _recovered(self, engine: Engine) -> bool:
        try:
            return engine.recover()
        except StyleServeError as error:
            raise _ended_by(error) from error


def _ended_by(error: StyleServeError) -> StyleServeError:
    """The error, as one that ends the run."""
    if isinstance(error, _ENDS_RUN):
        return error
    return ModelNotReady(f"no server accepts work: {error.message}", hint="What was painted stays; run it again.")


def _source(data: bytes, location: str) -> PictureSource:
    """Source with the path of a local file, which the recipe of the result names."""
    return data if is_url(location) else PictureFile(data, Path(location))


def _losses(result: StylizedResult) -> dict[str, float]:
    if not result.steps:
        return {}
    return {"loss_first": float(result.losses[0, 0]), "loss_last": float(result.losses[-1, 0])}
