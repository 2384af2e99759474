"""Settings of a batch; free of gRPC, as the command line reads its defaults from here."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ControlError
from ..inputs.controls import checked_timeout_s


@dataclass(frozen=True, kw_only=True)
class BatchSettings:
    """Settings of a batch.

    Attributes:
        concurrency: Calls at once to each server, at least 1; None adapts to each server.
        timeout_s: Deadline of each call; `default_timeout_s` of its work if None.
        retries: Retries of a job after a transient error: no reply in time, a damaged reply, an internal error. A job
            that a busy or absent server rejects is retried for `patience_s`.
        patience_s: Time budget for retrying while no server accepts work; all remaining jobs fail at its end.

    Raises:
        ControlError: A value is out of its range.
    """

    concurrency: int | None = None
    timeout_s: float | None = None
    retries: int = 2
    patience_s: float = 300.0

    def __post_init__(self) -> None:
        if self.concurrency is not None and self.concurrency < 1:
            raise ControlError(f"the concurrency is {self.concurrency}; it must be at least 1")
        if self.timeout_s is not None:
            checked_timeout_s(self.timeout_s)
        if self.retries < 0:
            raise ControlError(f"the number of retries is {self.retries}; it must be at least 0")
        if not self.patience_s >= 0:  # NaN included
            raise ControlError(f"the patience is {self.patience_s} s; it must be at least 0")
