"""Registry of a run: jobs that are being painted, rows that ended, and an error that stops all workers.

In a run it is a small Ray actor beside the driver (`pipeline`). A row reaches the driver as soon as its job ends, no
matter how many jobs a worker took at once.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from styleserve.client.errors import StyleServeError

from .ledger import LedgerRow


class Report(NamedTuple):
    """News for the driver.

    Attributes:
        rows: Rows of jobs that ended since the last report.
        fatal: Error that stops the run, or None.
    """

    rows: list[LedgerRow]
    fatal: StyleServeError | None


class Registry(Protocol):
    """Registry of one run."""

    def begin(self, job_id: str, number: int) -> bool:
        """Whether the job may be painted: no other job with this id is.

        A job that Ray repeats, after a worker died, has the same number and may.
        """
        ...

    def end(self, row: LedgerRow, number: int) -> None:
        """Records the end of a job, at the latest when `sync` returns."""
        ...

    def sync(self) -> None:
        """Waits until all ends are recorded."""
        ...

    def stop(self, error: StyleServeError) -> None:
        """Stops the run with an error; the first one counts."""
        ...

    def take(self) -> Report:
        """Report since the last one."""
        ...


class LocalRegistry:
    """Registry in this process."""

    def __init__(self) -> None:
        self._painting: dict[str, int] = {}
        self._rows: list[LedgerRow] = []
        self._fatal: StyleServeError | None = None

    def begin(self, job_id: str, number: int) -> bool:
        """Whether the job may be painted."""
        return self._painting.setdefault(job_id, number) == number

    def end(self, row: LedgerRow, number: int) -> None:
        """Records the end of a job."""
        if row.id is not None and self._painting.get(row.id) == number:
            del self._painting[row.id]
        self._rows.append(row)

    def sync(self) -> None:
        """Does nothing, as ends are recorded at once."""

    def stop(self, error: StyleServeError) -> None:
        """Stops the run with an error; the first one counts."""
        self._fatal = self._fatal or error

    def take(self) -> Report:
        """Report since the last one."""
        rows, self._rows = self._rows, []
        return Report(rows, self._fatal)
