"""The ledger, the plan that leaves out what it knows, and the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from styleserve.bulk.folders import LocalFolder
from styleserve.bulk.jobs import BulkJob
from styleserve.bulk.ledger import EndedJobs, LedgerRow, LedgerWriter, read_ledger
from styleserve.bulk.plan import Missing, remove_plan, write_plan
from styleserve.bulk.registry import LocalRegistry
from styleserve.client import ModelNotFound, OutputError

from .test_jobs import job as make_job


def row(key: str, status: str = "painted", **others: Any) -> LedgerRow:
    given: dict[str, Any] = {"id": key * 2, "where": "jobs.csv:2", "content": "a", "styles": ["b"], "seconds": 1.0}
    return LedgerRow(key=key, status=status, **{**given, "worker": "w", "ended": 0.0, **others})


@pytest.fixture
def folder(tmp_path: Path) -> LocalFolder:
    return LocalFolder(tmp_path)


def test_rows_are_flushed_when_they_are_due(folder: LocalFolder) -> None:
    writer = LedgerWriter(folder, "run", started_s=0.0)
    writer.add(row("a"))
    writer.flush_if_due(4.9)
    assert folder.names("ledger") == []
    writer.flush_if_due(5.0)
    assert folder.names("ledger") == ["ledger/run-000000.parquet"]
    writer.flush_if_due(20.0)  # no row, no file
    writer.add(row("b"))
    writer.flush_if_due(22.0)
    assert len(folder.names("ledger")) == 1
    for _ in range(4095):
        writer.add(row("c"))
    writer.flush_if_due(22.1)
    assert len(folder.names("ledger")) == 2
    writer.add(row("d"))
    writer.flush_if_due(1000.0)  # a hundredth of the time of the run, at most a minute
    writer.add(row("e"))
    writer.flush_if_due(1059.0)
    assert len(folder.names("ledger")) == 3 + (1059.0 - 1000.0 >= 10.59)


def test_a_later_row_replaces_an_earlier_one(folder: LocalFolder) -> None:
    for run, status in (("1", "failed"), ("2", "painted")):
        writer = LedgerWriter(folder, run, started_s=0.0)
        writer.add(row("a", status))
        writer.add(row(run))
        writer.flush(0.0)
    assert EndedJobs.read(folder).ends == {"a": ("aa", "painted"), "1": ("11", "painted"), "2": ("22", "painted")}
    assert [each["status"] for each in read_ledger(folder, ["status"])] == ["failed", "painted", "painted", "painted"]
    assert next(iter(read_ledger(folder)))["styles"] == ["b"]


def test_a_damaged_part_is_an_error(folder: LocalFolder) -> None:
    folder.write("ledger/run-000000.parquet", b"PAR1")
    with pytest.raises(OutputError, match=r"run-000000\.parquet is no part of a ledger"):
        EndedJobs.read(folder)


def planned(folder: LocalFolder, jobs: list[BulkJob], **rule: Any) -> tuple[int, int, int, list[BulkJob]]:
    plan = write_plan(jobs, folder, Missing(**rule), "model")
    tables = [pq.read_table(folder.path_of(name)).to_pylist() for name in plan.files]
    written = [BulkJob.from_text(each["job"]) for table in tables for each in table]
    assert len(written) == plan.waiting
    remove_plan(folder)
    assert folder.names("plan") == []
    return plan.total, plan.done, plan.failed, written


def test_the_plan_has_what_is_missing(folder: LocalFolder) -> None:
    done, lost, failed, new = (make_job(name=name) for name in ("done", "lost", "failed", "new"))
    ends = {
        done.key("model"): ("aa11", "painted"),
        lost.key("model"): ("bb22", "found"),
        failed.key("model"): ("cc33", "failed"),
    }
    folder.write("pictures/aa/aa11.png", b"")
    jobs, ended = [done, lost, failed, new, new], EndedJobs(ends)
    assert planned(folder, jobs, ended=ended) == (5, 2, 1, [lost, new])
    assert planned(folder, jobs, ended=ended, retry_failed=True) == (5, 2, 0, [lost, failed, new])
    assert planned(folder, jobs, ended=ended, recheck=True) == (5, 1, 1, [done, lost, new])


def test_a_plan_of_a_wrong_list_leaves_nothing(folder: LocalFolder) -> None:
    def jobs() -> Any:
        for number in range(10_001):
            yield make_job(name=str(number))
        raise ModelNotFound("stop")

    with pytest.raises(ModelNotFound):
        write_plan(jobs(), folder, Missing(EndedJobs({})), "model")
    assert folder.names("plan") == []


def test_the_registry_lets_one_job_of_an_id_paint() -> None:
    registry = LocalRegistry()
    assert registry.begin("id", 1)
    assert not registry.begin("id", 2)
    assert registry.begin("id", 1)  # repeated by Ray, after its worker died
    registry.end(row("b", "duplicate", id="id"), 2)
    assert not registry.begin("id", 2)
    registry.end(row("a", id="id"), 1)
    assert registry.begin("id", 3)
    first, second = ModelNotFound("first"), ModelNotFound("second")
    registry.stop(first)
    registry.stop(second)
    rows, fatal = registry.take()
    assert ([each.key for each in rows], fatal) == (["b", "a"], first)
    assert registry.take() == ([], first)
