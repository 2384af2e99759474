"""Results and progress of a batch."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import StyleServeError
from .job import Job
from .manifest import Record


@dataclass(frozen=True)
class JobResult:
    """End of a job.

    Attributes:
        job: Job that ended.
        record: Its line in the manifest.
        error: Error of a failed job, or None.
        was_there: Whether an earlier run made the picture.
    """

    job: Job = field(repr=False)
    record: Record
    error: StyleServeError | None = None
    was_there: bool = False


@dataclass(frozen=True)
class BatchProgress:
    """Progress of a batch.

    Attributes:
        running: Number of calls under way.
        limit: Most calls at once now, of all servers together.
        waiting: Number of jobs that are not begun, or will be repeated.
        trouble: Error of the last call if a server rejected it, or None.
        evaluations: Evaluations of the network that are done, without those of pictures that were there. Of a run in
            octaves the share of its work counts, so that progress is even.
        evaluations_total: Evaluations of all these jobs.
    """

    running: int
    limit: int
    waiting: int
    trouble: StyleServeError | None
    evaluations: int
    evaluations_total: int

    @property
    def stuck(self) -> StyleServeError | None:
        """Error of the last call, while no other call is under way."""
        return None if self.running else self.trouble
