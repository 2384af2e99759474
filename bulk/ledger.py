"""Ledger of a run: a row for each job that ended, in Parquet files that are only added.

A picture is written before its row. So a picture without a row is found again by its name, and a run that was killed
lost at most the rows of the last flush.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any, Final, cast

import pyarrow as pa
import pyarrow.parquet as pq

from styleserve.client.errors import OutputError

from .folders import Folder

LEDGER: Final = "ledger"
"""Folder of the ledger in the folder of the run."""

_MOST_ROWS: Final = 4096
_FIRST_FLUSH_S: Final = 5.0
_LONGEST_FLUSH_S: Final = 60.0
_FLUSH_SHARE: Final = 0.01
"""Time between two flushes over the time of the run: few files in a run of days, few lost rows in one of minutes."""


class Status(str, Enum):
    """End of a job.

    `PAINTED` by this run; `FOUND` by its name, without a row; `DUPLICATE` of another job that was being painted;
    `FAILED` with an error.
    """

    PAINTED = "painted"
    FOUND = "found"
    DUPLICATE = "duplicate"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class LedgerRow:
    """End of one job.

    Attributes:
        key: Key of the row in the list, `BulkJob.key`.
        status: Value of `Status`.
        id: Id of the result, `BulkJob.id`; None if a picture cannot be read.
        where: Place in the list of jobs.
        name: Name of the result in the list, or None.
        content: Location of the content.
        styles: Locations of the styles.
        output: Name of the result in the folder of the run; None for a failed job.
        sha256: SHA-256 of the result's file; None for failed jobs and duplicates.
        loss_first: Total loss at the first step; None where nothing was painted.
        loss_last: Total loss at the last step, likewise.
        seconds: Time of the job, from reading its pictures to writing its result.
        worker: Name of the worker, as host and process.
        ended: Time of the end, in seconds since 1970.
        error: Kind of the error; None without one.
        message: Message of the error; None without one.
    """

    key: str
    status: str
    id: str | None = None
    where: str
    name: str | None = None
    content: str
    styles: list[str]
    output: str | None = None
    sha256: str | None = None
    loss_first: float | None = None
    loss_last: float | None = None
    seconds: float
    worker: str
    ended: float
    error: str | None = None
    message: str | None = None


_SCHEMA: Final = pa.schema(
    [
        ("key", pa.string()),
        ("status", pa.string()),
        ("id", pa.string()),
        ("where", pa.string()),
        ("name", pa.string()),
        ("content", pa.string()),
        ("styles", pa.list_(pa.string())),
        ("output", pa.string()),
        ("sha256", pa.string()),
        ("loss_first", pa.float32()),
        ("loss_last", pa.float32()),
        ("seconds", pa.float64()),
        ("worker", pa.string()),
        ("ended", pa.float64()),
        ("error", pa.string()),
        ("message", pa.string()),
    ]
)


class LedgerWriter:
    """Writer of the ledger of one run; there is one, in the driver.

    Args:
        folder: Folder of the run.
        run: Name of the run, later in order than those of earlier runs.
        started_s: Time of the start, in seconds of a monotonic clock.
    """

    def __init__(self, folder: Folder, run: str, started_s: float) -> None:
        self._folder: Final = folder
        self._run: Final = run
        self._started_s: Final = started_s
        self._flushed_s = started_s
        self._rows: list[LedgerRow] = []
        self._parts = 0

    def add(self, row: LedgerRow) -> None:
        """Adds a row to the next flush."""
        self._rows.append(row)

    def flush_if_due(self, now_s: float) -> None:
        """Writes the rows if there are many of them or the last flush was long ago.

        Raises:
            OutputError: They cannot be written.
        """
        interval_s = min(max(_FIRST_FLUSH_S, _FLUSH_SHARE * (now_s - self._started_s)), _LONGEST_FLUSH_S)
        if len(self._rows) >= _MOST_ROWS or now_s - self._flushed_s >= interval_s:
            self.flush(now_s)

    def flush(self, now_s: float) -> None:
        """Writes the rows.

        Raises:
            OutputError: They cannot be written.
        """
        self._flushed_s = now_s
        if not self._rows:
            return
        table = pa.Table.from_pylist([asdict(row) for row in self._rows], schema=_SCHEMA)
        file = io.BytesIO()
        pq.write_table(table, file)
        self._folder.write(f"{LEDGER}/{self._run}-{self._parts:06d}.parquet", file.getvalue())
        self._parts += 1
        self._rows.clear()


def read_ledger(folder: Folder, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Rows of the ledger, oldest first; a later row of a key replaces an earlier one.

    Args:
        folder: Folder of the run.
        columns: Names of the columns to read; None reads all.

    Raises:
        OutputError: The ledger cannot be read.
    """
    for name in folder.names(LEDGER):
        if not name.endswith(".parquet"):
            continue
        try:
            # Without threads: a command that ends soon after was aborted by theirs, one time in twenty.
            table = pq.ParquetFile(io.BytesIO(folder.read(name))).read(columns, use_threads=False)
        except (pa.ArrowException, FileNotFoundError) as error:
            raise OutputError(
                f"{folder.location}/{name} is no part of a ledger: {error}", hint="Move it away."
            ) from error
        yield from cast("list[dict[str, Any]]", table.to_pylist())


@dataclass(frozen=True)
class EndedJobs:
    """Jobs that the ledger knows, by key: id and status of each."""

    ends: dict[str, tuple[str | None, str]]

    @classmethod
    def read(cls, folder: Folder) -> EndedJobs:
        """Jobs in the ledger of a folder; about 300 bytes of memory for each.

        Raises:
            OutputError: The ledger cannot be read.
        """
        rows = read_ledger(folder, ["key", "id", "status"])
        return cls({row["key"]: (row["id"], row["status"]) for row in rows})
