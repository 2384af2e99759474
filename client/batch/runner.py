"""Many pictures: as many calls at once as the servers like, and nothing lost or done twice if it is stopped.

Threads paint, save and record; another one decides what starts next, on which server. The one that iterates is only
told, through a queue, because it may be the main thread, where Ctrl-C may interrupt anything: in the midst of
`concurrent.futures` it would leave locks behind that the others then wait for. Each server has a `ConcurrencyLimit` of
its own, whose pauses leave a dead one out, so that losing one of several is nothing special.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

from ..api.client import StyleClient
from ..errors import (
    BadReply,
    ClientClosed,
    DeadlineExceeded,
    NonFiniteResult,
    OutputError,
    Overloaded,
    ServerUnavailable,
    ServiceError,
    StateRefused,
    StyleServeError,
)
from ..transport.signals import WAKE_S
from .concurrency_limit import MOST_CALLS, ConcurrencyLimit
from .job import Job
from .manifest import Manifest, Record, remove_leftovers
from .retry_window import Patience
from .settings import BatchSettings
from .worker import Task, find_painted, paint, place


@dataclass(frozen=True)
class JobResult:
    """What became of a job.

    Attributes:
        job: that was asked for.
        record: its line in the manifest.
        error: why it failed, or None.
        was_there: whether the picture was there before this run.
    """

    job: Job = field(repr=False)
    record: Record
    error: StyleServeError | None = None
    was_there: bool = False


@dataclass(frozen=True)
class BatchProgress:
    """Where a batch is.

    Attributes:
        running: calls under way.
        limit: calls at once that the servers are given now, together.
        waiting: jobs that were not begun, or have to be begun again.
        trouble: what a server said last, if that was a refusal.
        evaluations: Evaluations of the network that are done, by all jobs that were not there before. Of a run in
            octaves the share of its work counts, so that these pass evenly.
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
        """The trouble, while no call is under way because of it."""
        return None if self.running else self.trouble


def run_batch(
    jobs: Sequence[Job],
    clients: Sequence[StyleClient],
    folder: Path,
    *,
    settings: BatchSettings | None = None,
    on_progress: Callable[[BatchProgress], None] | None = None,
) -> Generator[JobResult]:
    """Does all jobs that are not done, and yields a result for each, those that were there first.

    The work begins with the iteration, and goes on whether or not results are taken. An iteration that is left early
    (close it, as `contextlib.closing` does) closes the clients, because that cancels their calls; what is done is
    recorded.

    Args:
        jobs: to do.
        clients: one for each server that is to work, all for one model: its name, and its version or label if one is
            named; without retries of their own, which would hide from the batch how much a server takes.
        folder: for the results and the manifest; it is made if need be.
        settings: how to go about it.
        on_progress: Receives the progress in the iterating thread, after each chunk and each job.

    Raises:
        ValueError: there is no client, or they are not for one model.
        JobListError: two jobs have one output, or one's output is a picture that another reads.
        OutputError: another run is at work in the folder, or it cannot be written to. Jobs that are left are not begun:
            they would be painted for nothing.
        ClientClosed: A client was closed by something else.
    """
    settings = BatchSettings() if settings is None else settings
    models = {(client.model_name, client.version) for client in clients}
    if len(models) != 1:
        raise ValueError("a batch needs clients, all for models of one name and of one version or label, if any")
    ((model_name, version),) = models
    tasks = place(jobs, folder)
    with Manifest(folder) as manifest:
        remove_leftovers({task.target.parent for task in tasks})
        waiting: list[Task] = []
        for task, record in find_painted(tasks, manifest, model_name, version):
            if record is None:
                waiting.append(task)
            else:
                yield JobResult(task.job, record, was_there=True)
        yield from _Run(waiting, clients, manifest, settings, on_progress).results()


class _Server:
    """A client, and how much its server is given."""

    def __init__(self, client: StyleClient, settings: BatchSettings) -> None:
        self.client: Final = client
        self.limit: Final = ConcurrencyLimit(fixed=settings.concurrency)
        self.running = 0

    @property
    def has_room(self) -> bool:
        return self.running < self.limit.limit


class _Run:
    def __init__(
        self,
        tasks: Iterable[Task],
        clients: Sequence[StyleClient],
        manifest: Manifest,
        settings: BatchSettings,
        on_progress: Callable[[BatchProgress], None] | None,
    ) -> None:
        self.waiting: Final = deque(tasks)
        self.evaluations = 0.0
        self.evaluations_total: Final = sum(task.job.controls.expected_steps for task in self.waiting)
        self.counting: Final = threading.Lock()
        self.running: Final[dict[Future[Record], tuple[Task, _Server, float, float]]] = {}
        self.servers: Final = [_Server(client, settings) for client in clients]
        self.manifest: Final = manifest
        self.settings: Final = settings
        self.on_progress: Final = on_progress
        self.trouble: StyleServeError | None = None
        self.patience: Final = Patience(settings.patience_s)  # runs out only where there is trouble
        self.left: Final = threading.Event()
        # To the one that iterates; in the end, what went wrong or None. A `SimpleQueue` takes Ctrl-C well.
        self.told: Final[SimpleQueue[JobResult | BatchProgress | Exception | None]] = SimpleQueue()

    def results(self) -> Iterator[JobResult]:
        coordinator = threading.Thread(target=self._coordinate, name="styleserve-batch")
        try:
            coordinator.start()
            while (news := self._next_news()) is not None:
                if isinstance(news, Exception):
                    raise news
                if isinstance(news, JobResult):
                    yield news
                elif self.on_progress is not None:
                    self.on_progress(news)
        except BaseException:  # Ctrl-C, a consumer that had enough, a full disk
            self.left.set()
            self._close_clients()
            raise
        finally:
            if coordinator.ident is not None:
                coordinator.join()

    def _next_news(self) -> JobResult | BatchProgress | Exception | None:
        while True:
            with suppress(Empty):
                return self.told.get(timeout=WAKE_S)

    def _coordinate(self) -> None:
        """In a thread of its own, until all is done, something is wrong with the folder, or nobody iterates."""
        try:
            threads = (self.settings.concurrency or MOST_CALLS) * len(self.servers)
            with ThreadPoolExecutor(threads, thread_name_prefix="styleserve-batch") as executor:
                try:
                    while (self.waiting or self.running) and not self.left.is_set():
                        self._turn(executor)
                except BaseException:
                    self._close_clients()
                    raise
        except Exception as error:  # it is raised where somebody iterates
            self.told.put(error)
        else:
            self.told.put(None)

    def _turn(self, executor: ThreadPoolExecutor) -> None:
        self._start_calls(executor)
        self._tell()
        for future in self._finished():
            self._settle(future)
        if not self.running and self.patience.left_s(time.monotonic()) <= 0:
            self._give_up()

    def _close_clients(self) -> None:
        for server in self.servers:
            server.client.close()

    def _start_calls(self, executor: ThreadPoolExecutor) -> None:
        now_s = time.monotonic()
        while self.waiting:
            ready = [server for server in self.servers if server.has_room and server.limit.resume_s <= now_s]
            if not ready:
                return
            server = min(ready, key=lambda each: each.running)
            task = self.waiting.popleft()
            task.tries += 1
            server.running += 1
            server.limit.started(now_s)
            self.running[executor.submit(self._work, task, server)] = (task, server, now_s, task.fraction)

    def _work(self, task: Task, server: _Server) -> Record:
        """In a thread of its own; whatever the others are at, the picture is recorded at once."""

        def count(fraction: float) -> None:
            self._count(task, fraction)
            self._tell()

        record = paint(task, server.client, self.settings.timeout_s, on_fraction=count)
        self.manifest.append(record)
        return record

    def _count(self, task: Task, fraction: float) -> None:
        with self.counting:
            self.evaluations += (fraction - task.fraction) * task.job.controls.expected_steps
            task.fraction = fraction

    def _finished(self) -> Iterable[Future[Record]]:
        """The calls that came back, as soon as there are some or something else is to be done."""
        wake_s: float | None = None
        if self.waiting:
            paused = [server.limit.resume_s for server in self.servers if server.has_room]
            wake_s = max(0.0, min(paused) - time.monotonic()) if paused else None
        if self.running:
            return wait(self.running, wake_s, FIRST_COMPLETED).done
        self.left.wait(min(wake_s or 0.0, max(0.0, self.patience.left_s(time.monotonic()))))
        return ()

    def _settle(self, future: Future[Record]) -> None:
        """Tells what became of a job whose call came back, unless it has to be sent again."""
        task, server, started_s, fraction = self.running.pop(future)
        server.running -= 1
        now_s = time.monotonic()
        try:
            record = future.result()
        except StyleServeError as error:
            if _turned_away(error) or isinstance(error, DeadlineExceeded):
                server.limit.refused(started_s, now_s)
            if _turned_away(error):
                if task.fraction > fraction:  # it did a part before
                    self._went_on()
                self.waiting.appendleft(task)
                self.trouble = error
                self.patience.turned_away(started_s, now_s)
                return
            if isinstance(error, OutputError | ClientClosed):  # closed by this batch as it stops, or by its caller
                raise
            self._went_on()
            if _may_be_an_accident(error) and task.accidents < self.settings.retries:
                task.accidents += 1
                self.waiting.append(task)
                return
            self._fail(task, error)
            return
        server.limit.succeeded(now_s, task.work)
        self._went_on()
        self._count(task, 1.0)
        self.told.put(JobResult(task.job, record))

    def _went_on(self) -> None:
        self.trouble = None
        self.patience.renew()

    def _fail(self, task: Task, error: StyleServeError) -> None:
        record = task.failed(error, self.servers[0].client.model_name)
        self.manifest.append(record)
        self._count(task, 1.0)
        self.told.put(JobResult(task.job, record, error))

    def _give_up(self) -> None:
        trouble = self.trouble
        assert trouble is not None  # noqa: S101 - patience does not end without
        message = f"given up, as no job came to an end for {self.settings.patience_s:g} s: {trouble.message}"
        error = type(trouble)(message, hint=trouble.hint)
        while self.waiting:
            self._fail(self.waiting.popleft(), error)

    def _tell(self) -> None:
        limit = sum(server.limit.limit for server in self.servers)
        counts = round(self.evaluations), self.evaluations_total
        self.told.put(BatchProgress(len(self.running), limit, len(self.waiting), self.trouble, *counts))


def _turned_away(error: StyleServeError) -> bool:
    """Whether the server did not do the job, and it or another one will: it is busy, absent, or just going."""
    cancelled = isinstance(error, ServiceError) and error.status == "CANCELLED"  # by a server that shuts down
    return cancelled or isinstance(error, (Overloaded, ServerUnavailable))


def _may_be_an_accident(error: StyleServeError) -> bool:
    """Whether the same request may end otherwise next time."""
    damaged = isinstance(error, BadReply) and not isinstance(error, NonFiniteResult)
    return damaged or isinstance(error, (DeadlineExceeded, StateRefused)) or type(error) is ServiceError
