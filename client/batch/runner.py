"""A batch: finished jobs are found in the manifest, the others are painted, and each yields a result."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue

from ..api.client import StyleClient
from ..transport.signals import WAKE_S
from .job import Job
from .manifest import Manifest, remove_leftovers
from .results import BatchProgress, JobResult
from .scheduler import Event, Scheduler
from .settings import BatchSettings
from .worker import Task, find_painted, plan_tasks


def run_batch(
    jobs: Sequence[Job],
    clients: Sequence[StyleClient],
    folder: Path,
    *,
    settings: BatchSettings | None = None,
    on_progress: Callable[[BatchProgress], None] | None = None,
) -> Generator[JobResult]:
    """Yields a result for each job, those with a picture from an earlier run first.

    Work begins with the iteration, and continues whether or not results are taken. An iteration that is left early
    (close it, as `contextlib.closing` does) closes the clients, which cancels their calls. Finished jobs stay recorded.

    Args:
        jobs: Jobs of the batch.
        clients: One for each server, all for one model name and one version or label; without retries of their own,
            which would hide rejections from the batch.
        folder: Folder for results and manifest; made if it is missing.
        settings: Settings of the batch.
        on_progress: Receives the progress in the iterating thread, after each chunk and each job.

    Raises:
        ValueError: There is no client, or they are not for one model.
        JobListError: Two jobs have one output, or an output is a picture that another job reads.
        OutputError: Another run uses the folder, or it cannot be written to. No further job is begun.
        ClientClosed: A client was closed from outside.
    """
    settings = BatchSettings() if settings is None else settings
    models = {(client.model_name, client.version) for client in clients}
    if len(models) != 1:
        raise ValueError("a batch needs clients, all for models of one name and of one version or label, if any")
    ((model_name, version),) = models
    tasks = plan_tasks(jobs, folder)
    with Manifest(folder) as manifest:
        remove_leftovers({task.target.parent for task in tasks})
        waiting: list[Task] = []
        for task, record in find_painted(tasks, manifest, model_name, version):
            if record is None:
                waiting.append(task)
            else:
                yield JobResult(task.job, record, was_there=True)
        events: SimpleQueue[Event] = SimpleQueue()  # its `get` can be interrupted by Ctrl-C at any moment
        scheduler = Scheduler(waiting, clients, manifest, settings, events.put)
        yield from _results(scheduler, events, on_progress)


def _results(
    scheduler: Scheduler, events: SimpleQueue[Event], on_progress: Callable[[BatchProgress], None] | None
) -> Iterator[JobResult]:
    """Runs the scheduler in a thread of its own and yields its results.

    This thread only reads a queue, because Ctrl-C may interrupt the main thread anywhere: inside `concurrent.futures`
    it would leave locks that other threads wait for.
    """
    thread = threading.Thread(target=scheduler.run, name="styleserve-batch")
    try:
        thread.start()
        while (event := _next(events)) is not None:
            if isinstance(event, Exception):
                raise event
            if isinstance(event, JobResult):
                yield event
            elif on_progress is not None:
                on_progress(event)
    except BaseException:  # Ctrl-C, an iteration that is left early, a full disk
        scheduler.stop()
        raise
    finally:
        if thread.ident is not None:
            thread.join()


def _next(events: SimpleQueue[Event]) -> Event:
    while True:
        with suppress(Empty):
            return events.get(timeout=WAKE_S)
