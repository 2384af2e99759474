"""Settings of a bulk run; free of Ray, as the command line reads its defaults from here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from styleserve.client.batch.job import JobDefaults
from styleserve.client.batch.settings import BatchSettings
from styleserve.client.errors import ControlError
from styleserve.client.transport.settings import ConnectionSettings


@dataclass(frozen=True, kw_only=True)
class BulkSettings:
    """Settings of a bulk run.

    Attributes:
        model: Base path of a model, which each worker serves for itself; the same on all machines. None for `servers`.
        servers: Addresses of running servers of one model.
        connection: Settings of the connections to `servers`, apart from their addresses.
        defaults: Defaults of the jobs.
        address: Address of a Ray cluster, such as "ray://head:10001" or "auto"; None starts Ray on this machine.
        workers: Number of workers; None is one for each GPU or machine, or for each of `servers`.
        gpus_per_worker: GPUs of a worker that serves a model, where the cluster has any.
        calls: Jobs at a time of each worker.
        retries: Retries of a job after a late or damaged answer.
        patience_s: Time budget for retrying while a server does not accept work; the run stops at its end.
        retry_failed: Whether jobs that failed in earlier runs are repeated.
        recheck: Whether jobs that the ledger knows are checked again, by the contents of their pictures.
        dashboard: Whether a local Ray serves its dashboard, where Ray has it.

    Raises:
        ControlError: A number is out of its range, or the settings name no model or both kinds.
    """

    model: Path | None = None
    servers: tuple[str, ...] = ()
    connection: ConnectionSettings = field(default_factory=ConnectionSettings)
    defaults: JobDefaults = field(default_factory=JobDefaults)
    address: str | None = None
    workers: int | None = None
    gpus_per_worker: float = 1.0
    calls: int = 2
    retries: int = BatchSettings.retries
    patience_s: float = BatchSettings.patience_s
    retry_failed: bool = False
    recheck: bool = False
    dashboard: bool = True

    def __post_init__(self) -> None:
        if (self.model is None) == (not self.servers):
            raise ControlError(
                "a run needs a model or servers, not both",
                hint="Give --model with the directory of a model, or --server for each server.",
            )
        for name in ("workers", "calls"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ControlError(f"{name} is {value}; it must be at least 1")
        if not 0 <= self.gpus_per_worker <= 64:  # NaN included
            raise ControlError(f"gpus_per_worker is {self.gpus_per_worker:g}; it must be from 0 to 64")
        BatchSettings(retries=self.retries, patience_s=self.patience_s)
