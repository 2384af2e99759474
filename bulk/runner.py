"""A bulk run: plan, workers, ledger."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any, Final

from styleserve import contract
from styleserve.client.batch.file_lock import folder_lock
from styleserve.client.errors import OutputError

from .cluster import connected, workers_for
from .engines import EngineSource, ModelSource, ServerSource
from .folders import Folder, LocalFolder, folder_at
from .jobs import read_bulk_jobs
from .ledger import EndedJobs, LedgerRow, LedgerWriter, Status
from .plan import Missing, Plan, remove_plan, write_plan
from .priority import lower_ray
from .settings import BulkSettings

RUN_FILE: Final = "bulk.json"
"""File in the folder of a run with its settings and totals."""

_POLL_S: Final = 0.5
_LOCK_FILE: Final = ".bulk.lock"


@dataclass(frozen=True)
class BulkProgress:
    """Progress of a run.

    Attributes:
        total: Number of jobs in the list.
        done: Number of jobs that are done, in this run or before.
        failed: Number of jobs that failed, likewise.
        painted: Number of pictures that this run painted.
        per_minute: Pictures per minute since the first one of this run; 0 before it.
        left_s: Time left, in seconds; None where it is unknown.
        dashboard: Address of Ray's dashboard; empty without one.
        rows: Rows that ended since the last progress.
    """

    total: int
    done: int
    failed: int
    painted: int = 0
    per_minute: float = 0.0
    left_s: float | None = None
    dashboard: str = ""
    rows: tuple[LedgerRow, ...] = ()

    @property
    def left(self) -> int:
        """Number of jobs that have not ended."""
        return self.total - self.done - self.failed


def run_bulk(
    jobs: str, output: str, settings: BulkSettings, *, engine: EngineSource | None = None
) -> Generator[BulkProgress]:
    """Yields the progress of a run, twice a second and at its end.

    A job that fails is a row of the ledger and no exception. An iteration that is left early stops the run; what was
    painted stays, and the next run resumes.

    Args:
        jobs: Path or URL of a list of jobs.
        output: Path or URL of the folder for results and ledger.
        settings: Settings of the run.
        engine: Source of engines in place of `settings.model` and `settings.servers`.

    Raises:
        JobListError: The list is wrong; nothing was painted.
        OutputError: The folder cannot be written to, another run uses it, or it holds results of other settings.
        SettingsError: Ray does not answer.
        ModelNotFound: The model is gone, or workers have different models.
        StyleServeError: One of its subclasses says what else ended the run.
    """
    folder = folder_at(output)
    source = _source(settings) if engine is None else engine
    folder.prepare()
    with _locked(folder):
        before = _check_settings(folder, settings, source.fingerprint)
        if isinstance(folder, LocalFolder):
            folder.remove_leftovers()
        missing = Missing(EndedJobs.read(folder), settings.retry_failed, settings.recheck)
        plan = write_plan(read_bulk_jobs(jobs, settings.defaults), folder, missing, source.fingerprint)
        facts = {**before, "jobs": jobs, "total": plan.total, "started": _now(), "dashboard": ""}
        try:
            _write_facts(folder, facts)
            if not plan.waiting:
                yield BulkProgress(plan.total, plan.done, plan.failed)
                return
            with connected(settings) as dashboard:
                _write_facts(folder, {**facts, "dashboard": dashboard})
                yield from _painted(plan, folder, source, settings, dashboard, missing.ended)
        finally:
            remove_plan(folder)


def _painted(
    plan: Plan, folder: Folder, source: EngineSource, settings: BulkSettings, dashboard: str, ended: EndedJobs
) -> Iterator[BulkProgress]:
    from .pipeline import Pipeline  # noqa: PLC0415 - imports Ray, whose environment is set by now
    from .worker import WorkerSettings  # noqa: PLC0415 - likewise

    worker = WorkerSettings(folder=folder, engine=source, retries=settings.retries, patience_s=settings.patience_s)
    pipeline = Pipeline(plan, worker, workers_for(settings), calls=settings.calls)
    ledger = LedgerWriter(folder, datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%f"), time.monotonic())
    counts = _Counts(plan, dashboard)
    try:
        running = True
        while running:
            running = pipeline.running  # before the report, which then has all rows
            report = pipeline.report()
            if report.rows and settings.address is None and not counts.done + counts.failed:
                lower_ray()  # as soon as the servers run
            for row in report.rows:
                if row.status != Status.FOUND or ended.ends.get(row.key) not in _found_before(row):
                    ledger.add(row)
            yield counts.progress(report.rows)
            if report.fatal is not None:
                raise report.fatal
            ledger.flush_if_due(time.monotonic())
            time.sleep(_POLL_S if running else 0.0)
        pipeline.check()
    finally:
        ledger.flush(time.monotonic())


def _found_before(row: LedgerRow) -> list[tuple[str | None, str]]:
    """Ends of a job that make a row about a result that was found needless."""
    return [(row.id, Status.PAINTED), (row.id, Status.FOUND)]


@dataclass
class _Counts:
    """Counts of a run under way."""

    plan: Plan
    dashboard: str
    done: int = 0
    failed: int = 0
    painted: int = 0
    first_s: float | None = None
    first_ended: int = 0

    def progress(self, rows: list[LedgerRow]) -> BulkProgress:
        """Progress with these rows."""
        failed = sum(row.status == Status.FAILED for row in rows)
        self.failed += failed
        self.done += len(rows) - failed
        self.painted += sum(row.status == Status.PAINTED for row in rows)
        now_s = time.monotonic()
        ended = self.done + self.failed
        if rows and self.first_s is None:
            self.first_s, self.first_ended = now_s, ended
        speed = (
            0.0
            if self.first_s is None or now_s <= self.first_s
            else ((ended - self.first_ended) / (now_s - self.first_s))
        )
        left = self.plan.waiting - ended
        return BulkProgress(
            total=self.plan.total,
            done=self.plan.done + self.done,
            failed=self.plan.failed + self.failed,
            painted=self.painted,
            per_minute=60.0 * speed,
            left_s=left / speed if speed else None,
            dashboard=self.dashboard,
            rows=tuple(rows),
        )


def _source(settings: BulkSettings) -> EngineSource:
    if settings.model is not None:
        return ModelSource.of(settings.model)
    return ServerSource.of(settings.connection, settings.servers)


def _check_settings(folder: Folder, settings: BulkSettings, fingerprint: str) -> dict[str, Any]:
    """Settings that all results in a folder share.

    Raises:
        OutputError: Those of an earlier run differ.
    """
    defaults = {**asdict(settings.defaults), "controls": settings.defaults.controls.given()}
    facts: dict[str, Any] = json.loads(
        json.dumps({"contract": contract.CONTRACT_VERSION, "fingerprint": fingerprint, **defaults})
    )
    before = read_facts(folder)
    if before is None:
        return facts
    different = [
        f"{name} was {before.get(name)!r} and is {value!r}"
        for name, value in facts.items()
        if before.get(name) != value
    ]
    if different:
        raise OutputError(
            f"the ledger in {folder.location} is of other settings: {'; '.join(different)}",
            hint="Name another folder with --output, or give the same settings.",
        )
    return facts


def read_facts(folder: Folder) -> dict[str, Any] | None:
    """Settings and totals of the last run in a folder; None without a run.

    Raises:
        OutputError: The file is damaged or cannot be read.
    """
    try:
        return json.loads(folder.read(RUN_FILE))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise OutputError(f"{folder.location}/{RUN_FILE} is damaged: {error}", hint="Move it away.") from error


def _write_facts(folder: Folder, facts: dict[str, Any]) -> None:
    folder.write(RUN_FILE, (json.dumps(facts, indent=2) + "\n").encode())


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@contextmanager
def _locked(folder: Folder) -> Generator[None]:
    """Keeps another run out of a local folder. Object stores have no locks; there, two runs only repeat work.

    Raises:
        OutputError: Another run uses the folder.
    """
    if not isinstance(folder, LocalFolder):
        yield
        return
    lock = folder_lock(folder.location)
    with (folder.path / _LOCK_FILE).open("ab") as file:
        lock(file.fileno())
        yield
