"""Pipeline: Ray Data reads the plan and passes its rows to the workers, a few at a time."""

from __future__ import annotations

import logging
import threading
from typing import Any, Final

import ray
from ray.data import ActorPoolStrategy, DataContext, read_parquet
from ray.exceptions import RayError

from styleserve.client.errors import StyleServeError

from .cluster import Workers
from .ledger import LedgerRow
from .plan import Plan
from .priority import lower_this_thread
from .registry import LocalRegistry, Registry, Report
from .worker import Worker, WorkerSettings

_MOST_ROWS: Final = 32
"""Most jobs that a worker takes at once. More would leave workers idle at the end, fewer cost more time of Ray."""
_SHARES: Final = 64
"""Least number of portions of jobs for each worker, so that all end at about the same time."""


def ended_by_ray(error: BaseException) -> StyleServeError:
    """Error for a run that Ray ended."""
    first = str(error).strip().partition("\n")[0]
    return StyleServeError(
        f"Ray ended the run: {type(error).__name__}: {first}",
        hint="What was painted stays; run it again for the rest. Ray's logs are in /tmp/ray/session_latest/logs.",
    )


class _RemoteRegistry:
    """Registry in an actor of Ray."""

    def __init__(self, actor: Any) -> None:  # noqa: ANN401 - a handle of Ray
        self._actor: Final = actor

    def begin(self, job_id: str, number: int) -> bool:
        return ray.get(self._actor.begin.remote(job_id, number))

    def end(self, row: LedgerRow, number: int) -> None:
        self._actor.end.remote(row, number)  # an actor runs the calls of a process in their order

    def sync(self) -> None:
        ray.get(self._actor.sync.remote())

    def stop(self, error: StyleServeError) -> None:
        ray.get(self._actor.stop.remote(error))

    def take(self) -> Report:
        return ray.get(self._actor.take.remote())


class Pipeline:
    """Pipeline of one run, in a thread of its own.

    Args:
        plan: Jobs to do.
        settings: Settings of the workers.
        workers: Workers to start.
        calls: Jobs at a time of each worker.
    """

    def __init__(self, plan: Plan, settings: WorkerSettings, workers: Workers, *, calls: int) -> None:
        self._registry: Final = _RemoteRegistry(ray.remote(num_cpus=0)(LocalRegistry).remote())
        self._data: Final = _pipeline(plan, settings, self._registry, workers, calls)
        self._error: BaseException | None = None
        self._thread: Final = threading.Thread(target=self._run, name="styleserve-bulk", daemon=True)

    def start(self) -> None:
        """Starts the workers."""
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether jobs are left."""
        return self._thread.is_alive()

    @property
    def error(self) -> BaseException | None:
        """Error of Ray that ended the pipeline, or None."""
        return self._error

    def report(self) -> Report:
        """Rows that ended since the last report.

        Raises:
            StyleServeError: Ray ended.
        """
        try:
            return self._registry.take()
        except RayError as error:
            raise ended_by_ray(error) from error

    def _run(self) -> None:
        lower_this_thread()
        try:
            for _ in self._data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                pass
        except BaseException as error:
            self._error = error


def _pipeline(plan: Plan, settings: WorkerSettings, registry: Registry, workers: Workers, calls: int) -> Any:  # noqa: ANN401 - a dataset of Ray, which has no types
    """Dataset whose iteration paints the jobs of a plan."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    folder = settings.folder
    rows = min(max(plan.waiting // (workers.count * calls * _SHARES), 1), _MOST_ROWS)
    # Threads of one actor paint at a time, so that a server has the next picture when it is done with one.
    pool = ActorPoolStrategy(
        size=min(workers.count, -(-plan.waiting // rows)),
        enable_true_multi_threading=True,
        max_concurrent_calls_per_actor=calls,
        max_tasks_in_flight_per_actor=2 * calls,
    )
    return (
        read_parquet([folder.path_of(name) for name in plan.files], filesystem=folder.system)
        .repartition(target_num_rows_per_block=rows)
        .map_batches(
            Worker,
            fn_constructor_args=[settings, registry],
            batch_size=None,
            batch_format="pyarrow",
            zero_copy_batch=True,
            compute=pool,
            num_cpus=workers.cpus,
            num_gpus=workers.gpus or None,
        )
    )
