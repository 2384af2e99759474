"""Status of a run, from its files alone: during the run, after it, and after a crash."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from styleserve.client.errors import OutputError

from .folders import folder_at
from .ledger import Status, read_ledger
from .runner import read_facts

_MOST_FAILURES: Final = 10


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A failed job.

    Attributes:
        error: Kind of the error.
        message: Message of the error.
        where: Place in the list of jobs.
    """

    error: str
    message: str
    where: str


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """Status of a run.

    Attributes:
        jobs: List of jobs of the last run.
        total: Number of jobs in the list.
        done: Number of jobs with a result.
        failed: Number of failed jobs.
        per_minute: Pictures per minute that the last run painted, since the start of its first; 0 where unknown.
        seconds: Mean time of a painted job, in seconds; 0 without one.
        started: Start of the last run.
        dashboard: Address of Ray's dashboard in the last run; empty without one.
        errors: Number of failures of each kind.
        failures: First failures.
    """

    jobs: str
    total: int
    done: int
    failed: int
    per_minute: float
    seconds: float
    started: str
    dashboard: str
    errors: dict[str, int]
    failures: tuple[Failure, ...]

    def to_json(self) -> dict[str, Any]:
        """Status as a JSON object."""
        return {**asdict(self), "failures": [asdict(each) for each in self.failures]}


def run_status(location: str) -> RunStatus:
    """Status of the run in a folder.

    Raises:
        OutputError: There is no run, or its files cannot be read.
    """
    folder = folder_at(location)
    facts = read_facts(folder)
    if facts is None:
        raise OutputError(f"there is no bulk run in {location}", hint="Name the --output of `styleserve bulk`.")
    columns = ["key", "status", "where", "seconds", "ended", "error", "message"]
    rows = {row["key"]: row for row in read_ledger(folder, columns)}
    failed = [row for row in rows.values() if row["status"] == Status.FAILED]
    painted = [row for row in rows.values() if row["status"] == Status.PAINTED]
    return RunStatus(
        jobs=facts["jobs"],
        total=facts["total"],
        done=len(rows) - len(failed),
        failed=len(failed),
        per_minute=_per_minute(painted, datetime.fromisoformat(facts["started"]).timestamp()),
        seconds=round(sum(row["seconds"] for row in painted) / len(painted), 3) if painted else 0.0,
        started=facts["started"],
        dashboard=facts["dashboard"],
        errors=dict(Counter(row["error"] for row in failed)),
        failures=tuple(
            Failure(where=row["where"], error=row["error"], message=row["message"]) for row in failed[:_MOST_FAILURES]
        ),
    )


def _per_minute(painted: Sequence[Mapping[str, Any]], started: float) -> float:
    """Pictures per minute of the rows that ended after a start, in seconds since the epoch.

    >>> rows = [{"ended": ended, "seconds": 10.0} for ended in (20.0, 110.0, 120.0)]
    >>> _per_minute(rows, 100.0), _per_minute(rows, 200.0)
    (6.0, 0.0)
    """
    now = [row for row in painted if row["ended"] >= started]
    if not now:
        return 0.0
    seconds = max(row["ended"] for row in now) - min(row["ended"] - row["seconds"] for row in now)
    return round(60.0 * len(now) / seconds, 1) if seconds > 0 else 0.0
