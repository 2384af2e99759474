"""Scheduler of a batch: starts calls on the servers, and repeats or fails the jobs whose calls fail.

Worker threads paint, save and record. Each server has a `ConcurrencyLimit`, whose pauses leave a dead server out.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Final, NamedTuple, TypeAlias

from ..api.client import StyleClient
from ..errors import ClientClosed, DeadlineExceeded, OutputError, StyleServeError
from .concurrency_limit import MOST_CALLS, ConcurrencyLimit
from .failures import is_rejection, is_transient
from .manifest import Manifest, Record
from .results import BatchProgress, JobResult
from .retry_window import RetryWindow
from .settings import BatchSettings
from .worker import Task, paint

Event: TypeAlias = JobResult | BatchProgress | Exception | None
"""Event of a batch; the last one is the error that ended it, or None."""


class _Server:
    """Client of a server, and the number of its calls."""

    def __init__(self, client: StyleClient, settings: BatchSettings) -> None:
        self.client: Final = client
        self.limit: Final = ConcurrencyLimit(fixed=settings.concurrency)
        self.running = 0

    @property
    def has_room(self) -> bool:
        return self.running < self.limit.limit


class _Call(NamedTuple):
    """A call under way.

    Attributes:
        task: Task of the call.
        server: Server that was called.
        started_s: Time when it was sent.
        fraction: Share of the task's work that was done before.
    """

    task: Task
    server: _Server
    started_s: float
    fraction: float


class Scheduler:
    """Scheduler of the tasks of a batch.

    Args:
        tasks: Tasks to run.
        clients: One for each server.
        manifest: Manifest that records the ends of jobs.
        settings: Settings of the batch.
        emit: Receives the events, from several threads.
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        clients: Sequence[StyleClient],
        manifest: Manifest,
        settings: BatchSettings,
        emit: Callable[[Event], None],
    ) -> None:
        self._waiting: Final = deque(tasks)
        self._running: Final[dict[Future[Record], _Call]] = {}
        self._servers: Final = [_Server(client, settings) for client in clients]
        self._manifest: Final = manifest
        self._settings: Final = settings
        self._emit: Final = emit
        self._evaluations = 0.0
        self._evaluations_total: Final = sum(task.job.controls.expected_steps for task in self._waiting)
        self._counting: Final = threading.Lock()
        self._rejection: StyleServeError | None = None
        self._retry_window: Final = RetryWindow(settings.patience_s)
        self._stopped: Final = threading.Event()

    def run(self) -> None:
        """Runs all tasks, until `stop` or an error of the folder; emits the last event."""
        try:
            threads = (self._settings.concurrency or MOST_CALLS) * len(self._servers)
            with ThreadPoolExecutor(threads, thread_name_prefix="styleserve-batch") as executor:
                try:
                    while (self._waiting or self._running) and not self._stopped.is_set():
                        self._step(executor)
                except BaseException:
                    self._close_clients()
                    raise
        except Exception as error:  # raised again where results are taken
            self._emit(error)
        else:
            self._emit(None)

    def stop(self) -> None:
        """Cancels all calls and starts no more."""
        self._stopped.set()
        self._close_clients()

    def _step(self, executor: ThreadPoolExecutor) -> None:
        self._start_calls(executor)
        self._emit_progress()
        for future in self._finished():
            self._end_call(future)
        if not self._running and self._retry_window.left_s(time.monotonic()) <= 0:
            self._fail_waiting()

    def _close_clients(self) -> None:
        for server in self._servers:
            server.client.close()

    def _start_calls(self, executor: ThreadPoolExecutor) -> None:
        now_s = time.monotonic()
        while self._waiting:
            ready = [server for server in self._servers if server.has_room and server.limit.resume_s <= now_s]
            if not ready:
                return
            server = min(ready, key=lambda each: each.running)
            task = self._waiting.popleft()
            task.tries += 1
            server.running += 1
            server.limit.started(now_s)
            call = _Call(task, server, now_s, task.fraction)
            self._running[executor.submit(self._work, task, server)] = call

    def _work(self, task: Task, server: _Server) -> Record:
        """Record of a task, written as soon as its picture is saved; runs in a worker thread."""

        def count(fraction: float) -> None:
            self._count(task, fraction)
            self._emit_progress()

        record = paint(task, server.client, self._settings.timeout_s, on_fraction=count)
        self._manifest.append(record)
        return record

    def _count(self, task: Task, fraction: float) -> None:
        with self._counting:
            self._evaluations += (fraction - task.fraction) * task.job.controls.expected_steps
            task.fraction = fraction

    def _finished(self) -> Iterable[Future[Record]]:
        """Calls that returned, as soon as there are any or a call can be started."""
        wake_s: float | None = None
        if self._waiting:
            paused = [server.limit.resume_s for server in self._servers if server.has_room]
            wake_s = max(0.0, min(paused) - time.monotonic()) if paused else None
        if self._running:
            return wait(self._running, wake_s, FIRST_COMPLETED).done
        self._stopped.wait(min(wake_s or 0.0, max(0.0, self._retry_window.left_s(time.monotonic()))))
        return ()

    def _end_call(self, future: Future[Record]) -> None:
        """Emits the result of a job whose call returned, or queues the job again."""
        call = self._running.pop(future)
        call.server.running -= 1
        now_s = time.monotonic()
        try:
            record = future.result()
        except StyleServeError as error:
            self._end_failed_call(call, error, now_s)
            return
        call.server.limit.succeeded(now_s, call.task.work)
        self._reset_retries()
        self._count(call.task, 1.0)
        self._emit(JobResult(call.task.job, record))

    def _end_failed_call(self, call: _Call, error: StyleServeError, now_s: float) -> None:
        task, rejected = call.task, is_rejection(error)
        if rejected or isinstance(error, DeadlineExceeded):
            call.server.limit.refused(call.started_s, now_s)
        if rejected:
            if task.fraction > call.fraction:  # some chunks were accepted
                self._reset_retries()
            self._waiting.appendleft(task)
            self._rejection = error
            self._retry_window.rejected(call.started_s, now_s)
            return
        if isinstance(error, OutputError | ClientClosed):  # closed by `stop`, or from outside
            raise error
        self._reset_retries()
        if is_transient(error) and task.transient_failures < self._settings.retries:
            task.transient_failures += 1
            self._waiting.append(task)
        else:
            self._fail(task, error)

    def _reset_retries(self) -> None:
        self._rejection = None
        self._retry_window.reset()

    def _fail(self, task: Task, error: StyleServeError) -> None:
        record = task.failed(error, self._servers[0].client.model_name)
        self._manifest.append(record)
        self._count(task, 1.0)
        self._emit(JobResult(task.job, record, error))

    def _fail_waiting(self) -> None:
        """Fails all waiting jobs with the error of the last call."""
        rejection = self._rejection
        assert rejection is not None  # noqa: S101 - without rejections the window has no end
        message = f"given up, as no job ended for {self._settings.patience_s:g} s: {rejection.message}"
        error = type(rejection)(message, hint=rejection.hint)
        while self._waiting:
            self._fail(self._waiting.popleft(), error)

    def _emit_progress(self) -> None:
        self._emit(
            BatchProgress(
                running=len(self._running),
                limit=sum(server.limit.limit for server in self._servers),
                waiting=len(self._waiting),
                trouble=self._rejection,
                evaluations=round(self._evaluations),
                evaluations_total=self._evaluations_total,
            )
        )
