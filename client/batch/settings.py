"""How a batch is run; free of gRPC, so that the command line reads its defaults from here."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ControlError
from ..inputs.controls import checked_timeout_s


@dataclass(frozen=True, kw_only=True)
class BatchSettings:
    """How a batch is run.

    Attributes:
        concurrency: calls at once to each server, at least 1; None to find out what each likes.
        timeout_s: of each call; if None, `default_timeout_s` of its work.
        retries: how often a job is sent again after an answer that may be an accident: none in time, a damaged one,
            an internal error. One that a busy or absent server turned away is sent again for as long as `patience_s`.
        patience_s: how long servers may be busy or absent, with none at work and no job coming to an end, before all
            that are left fail.

    Raises:
        ControlError: a value is out of its range.
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
