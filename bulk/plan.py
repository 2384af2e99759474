"""Plan of a run: the jobs of the list that are missing, as Parquet files that workers read."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from .folders import Folder, RemoteFolder
from .jobs import BulkJob, output_name
from .ledger import EndedJobs, Status

PLAN: Final = "plan"
"""Folder of the plan in the folder of the run; it is empty when no run is under way."""

_PART_ROWS: Final = 10_000


@dataclass(frozen=True)
class Plan:
    """Jobs of a list, counted, and the files of those to do.

    Attributes:
        total: Number of jobs in the list.
        done: Number of jobs that earlier runs did, or that the list names twice.
        failed: Number of jobs that failed in earlier runs and are not repeated.
        waiting: Number of jobs to do.
        files: Names of the files in the folder of the run.
    """

    total: int
    done: int
    failed: int
    waiting: int
    files: tuple[str, ...]


@dataclass(frozen=True)
class Missing:
    """Rule for the jobs to do.

    Attributes:
        ended: Jobs that the ledger knows.
        retry_failed: Whether failed jobs are to do.
        recheck: Whether jobs that are done are to do; their results are found then.
    """

    ended: EndedJobs
    retry_failed: bool = False
    recheck: bool = False

    def status(self, job: BulkJob, key: str, folder: Folder) -> Status | None:
        """Status of a job that is not to do; None for one to do."""
        job_id, status = self.ended.ends.get(key, (None, ""))
        if status == Status.FAILED:
            return None if self.retry_failed else Status.FAILED
        if status not in (Status.PAINTED, Status.FOUND) or job_id is None or self.recheck:
            return None
        # A query to an object store for each job would take as long as to read the picture.
        there = isinstance(folder, RemoteFolder) or folder.exists(output_name(job_id, job.extension))
        return Status.FOUND if there else None


def write_plan(jobs: Iterable[BulkJob], folder: Folder, missing: Missing, fingerprint: str) -> Plan:
    """Plan of the jobs that are missing, in little memory: about 100 bytes a job.

    Args:
        jobs: Jobs of the list.
        folder: Folder of the run.
        missing: Rule for the jobs to do.
        fingerprint: Fingerprint of the model.

    Raises:
        JobListError: The list is wrong; the files of the plan are removed.
        OutputError: The plan cannot be written.
    """
    remove_plan(folder)
    total = done = failed = waiting = 0
    seen: set[bytes] = set()
    rows: list[tuple[int, str, str]] = []
    files: list[str] = []
    try:
        for job in jobs:
            total += 1
            key = job.key(fingerprint)
            short = bytes.fromhex(key)
            status = Status.DUPLICATE if short in seen else missing.status(job, key, folder)
            seen.add(short)
            if status is None:
                rows.append((total, key, job.to_text()))
                waiting += 1
            elif status is Status.FAILED:
                failed += 1
            else:
                done += 1
            if len(rows) == _PART_ROWS:
                files.append(_write_part(folder, len(files), rows))
        if rows:
            files.append(_write_part(folder, len(files), rows))
    except BaseException:
        remove_plan(folder)
        raise
    return Plan(total, done, failed, waiting, tuple(files))


def remove_plan(folder: Folder) -> None:
    """Removes the files of a plan, also those of a run that was killed.

    Raises:
        OutputError: One of them cannot be removed.
    """
    for name in folder.names(PLAN):
        folder.remove(name)


def _write_part(folder: Folder, number: int, rows: list[tuple[int, str, str]]) -> str:
    columns = dict(zip(("number", "key", "job"), map(list, zip(*rows, strict=True)), strict=True))
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    name = f"{PLAN}/{number:06d}.parquet"
    folder.write(name, file.getvalue())
    rows.clear()
    return name
