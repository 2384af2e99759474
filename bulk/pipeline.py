"""Pipeline: Ray Data reads the plan and passes its rows to the workers, a few at a time."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

import ray
from ray.data import ActorPoolStrategy, DataContext, read_parquet
from ray.exceptions import RayError

from styleserve.client.errors import StyleServeError

from .cluster import Workers
from .ledger import LedgerRow
from .plan import Plan
from .registry import LocalRegistry, Registry, Report
from .worker import Worker, WorkerSettings

_MOST_ROWS: Final = 32
"""Most jobs that a worker takes at once. More would leave workers idle at the end, fewer cost more time of Ray."""
_SHARES: Final = 64
"""Least number of portions of jobs for each worker, so that all end at about the same time."""


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
    """Pipeline of one run. It is a task of Ray: Ray Data does not work through ray:// addresses.

    Args:
        plan: Jobs to do.
        settings: Settings of the workers.
        workers: Workers to start.
        calls: Jobs at a time of each worker.
    """

    def __init__(self, plan: Plan, settings: WorkerSettings, workers: Workers, *, calls: int) -> None:
        self._registry: Final = _RemoteRegistry(ray.remote(num_cpus=0)(LocalRegistry).remote())
        # Without retries: a second pipeline would paint beside workers of the first.
        task = ray.remote(num_cpus=0, max_retries=0)(_run).options(name="styleserve-bulk")
        self._task: Final = task.remote(plan, settings, self._registry, workers, calls)

    @property
    def running(self) -> bool:
        """Whether jobs are left.

        Raises:
            StyleServeError: Ray ended.
        """
        with _errors():
            return not ray.wait([self._task], timeout=0)[0]

    def report(self) -> Report:
        """Rows that ended since the last report.

        Raises:
            StyleServeError: Ray ended.
        """
        with _errors():
            return self._registry.take()

    def check(self) -> None:
        """Checks that a pipeline that ended did all of its jobs.

        Raises:
            StyleServeError: It was ended by Ray.
        """
        with _errors():
            error = ray.get(self._task)
        if error is not None:
            raise _ended_by_ray(error)


@contextmanager
def _errors() -> Generator[None]:
    try:
        yield
    except (RayError, ConnectionError) as error:
        raise _ended_by_ray(_first_line(error)) from error


def _ended_by_ray(reason: str) -> StyleServeError:
    return StyleServeError(
        f"Ray ended the run: {reason}",
        hint="What was painted stays; run it again for the rest. Ray's logs are in /tmp/ray/session_latest/logs.",
    )


def _first_line(error: BaseException) -> str:
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}"


def _run(plan: Plan, settings: WorkerSettings, registry: Registry, workers: Workers, calls: int) -> str | None:
    """Paints the jobs of a plan; returns the error that ended it, as text: not every machine can read the error."""
    try:
        for _ in _pipeline(plan, settings, registry, workers, calls).iter_batches(
            batch_size=None, batch_format="pyarrow", prefetch_batches=0
        ):
            pass
    except Exception as error:  # Ray Data raises errors of many kinds
        return _first_line(error)
    return None


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
