"""Joins requests that wait at the same time into one run of the model, as TensorFlow Serving does where it is told to.

Requests are joined along dimension 0. Here, other than there:

- Pictures of different sizes never meet in one batch, and neither do requests of which one wants twice as many steps as
  another, or more, since all wait for the one with the most.
- Requests with files in them are run each by itself: the model works on files one after another, so that in a batch
  each would wait for all, and nothing would be gained.
- A batch that fails is run again request by request, so that no request is refused for what its neighbour sent.
- Losses come back without the rows of neighbours that had more steps.
- A request that nobody waits for any more leaves its batch; a batch that nobody waits for is stopped.
- Short requests are joined with short ones alone, and of two threads or more a quarter (at least one) is kept for them,
  as of the slots in `turns`: else a few batches that take minutes would hold up a question of a millisecond.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field

from tensorflow_serving.apis import predict_pb2

from .batching_settings import BatchingSettings
from .call import Call
from .errors import CancelledError, DeadlineError, QueueFullError, RequestError
from .joining import has_files, likeness, rows_of, run_together
from .servable import Servable, Work
from .signature import Array
from .turns import most_long

Outcome = list[Array] | Exception


@dataclass(eq=False)
class _Run:
    """Some requests while the model works on them together, and where the work can be stopped."""

    tasks: Sequence[_Task]
    call: Call = field(default_factory=Call)
    ended: threading.Event = field(default_factory=threading.Event)


@dataclass(eq=False)
class _Task:
    """A request. `woken` is set when there is an outcome, or when its client has given up."""

    work: Work
    rows: int
    short: bool
    woken: threading.Event = field(default_factory=threading.Event)
    batch: _Batch | None = None  # that it waits in
    run: _Run | None = None  # that it is part of
    left: bool = False
    outcome: Outcome | None = None


@dataclass(eq=False)
class _Batch:
    """Requests that wait together; `closed` when the next one did not fit in."""

    servable: Servable
    queue: Hashable
    key: Hashable
    short: bool
    most: int  # rows
    tasks: list[_Task] = field(default_factory=list[_Task])
    opened_at: float = field(default_factory=time.monotonic)
    closed: bool = False

    @property
    def rows(self) -> int:
        return sum(task.rows for task in self.tasks)


class Batcher:
    """Runs requests in batches, on threads of its own, until it is closed.

    Args:
        settings: how requests are joined.
        first_slot: of the slots that the threads use in every servable, one each.
    """

    def __init__(self, settings: BatchingSettings, first_slot: int) -> None:
        self._settings = settings
        self._changed = threading.Condition()
        self._waiting: list[_Batch] = []  # oldest first
        self._open: dict[Hashable, _Batch] = {}
        self._running_long = 0
        self._most_long = most_long(settings.num_batch_threads)
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, args=(first_slot + number,), name=f"batch-{number}", daemon=True)
            for number in range(settings.num_batch_threads)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Ends the threads. Nobody may be waiting for an answer."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def predict(
        self, servable: Servable, request: predict_pb2.PredictRequest, call: Call, slot: int, *, short: bool
    ) -> predict_pb2.PredictResponse:
        """The answer to one request, which is worked on together with others like it.

        Args:
            servable: stays loaded until this returns.
            request: as for `Servable.predict`.
            call: when to stop. Others in the same batch go on.
            slot: as for `Servable.predict`, for what is run by itself.
            short: as for `Turns.slot`.

        Raises:
            ServingError: the request is refused, the model failed, or the call was stopped.
        """
        work = servable.prepare(request)
        rows = rows_of(work)
        if rows > self._settings.max_batch_size:
            raise RequestError(
                f"Task size {rows} is larger than maximum input batch size {self._settings.max_batch_size}"
            )
        # A batch without rows is the model's to refuse: in TensorFlow Serving it waits to its deadline.
        if rows == 0 or has_files(work):
            return servable.answer(request, work, servable.run(work, call, slot))
        task = _Task(work, rows, short)
        self._enter(servable, task)
        try:
            return servable.answer(request, work, _outcome(task, call))
        finally:
            self._leave(task)

    def _enter(self, servable: Servable, task: _Task) -> None:
        queue = (servable, task.work.signature.name, task.short)
        key = (*queue, likeness(task.work))
        with self._changed:
            batch = self._open.get(key)
            if batch is None or batch.rows + task.rows > batch.most:
                enqueued = sum(each.queue == queue for each in self._waiting)
                if enqueued >= self._settings.max_enqueued_batches:
                    raise QueueFullError(
                        "The batch scheduling queue to which this task was submitted is full; currently "
                        f"{enqueued} batches enqueued and max_enqueued_batches is {self._settings.max_enqueued_batches}"
                    )
                if batch is not None:
                    batch.closed = True
                batch = self._open[key] = _Batch(servable, queue, key, task.short, self._most(servable))
                self._waiting.append(batch)
            batch.tasks.append(task)
            task.batch = batch
            self._changed.notify_all()

    def _most(self, servable: Servable) -> int:
        """Rows of a batch: no more than the model takes, or it would be refused, and run again request by request."""
        limits = servable.limits
        return min(self._settings.max_batch_size, self._settings.max_batch_size if limits is None else limits.max_batch)

    def _leave(self, task: _Task) -> None:
        """Takes a request out of what it waits in, or is part of. After this its servable may be unloaded."""
        with self._changed:
            task.left = True
            task.outcome = None  # see `_outcome`
            if task.batch is not None:
                task.batch.tasks.remove(task)
                if not task.batch.tasks:
                    self._withdraw(task.batch)
                task.batch = None
            run = task.run
            if run is None or not all(other.left for other in run.tasks):
                return
        # The last one: as long as another waits, the servable is in use by that one.
        run.call.give_up()
        run.ended.wait()

    def _withdraw(self, batch: _Batch) -> None:
        self._waiting.remove(batch)
        if self._open.get(batch.key) is batch:
            del self._open[batch.key]

    def _work(self, slot: int) -> None:
        # A method for each batch, so that while there is none nothing of the last one is kept.
        while self._run_next(slot):
            pass

    def _run_next(self, slot: int) -> bool:
        """Runs the batch that is due next; False when there is none, and there will be none any more."""
        with self._changed:
            while (batch := self._due()) is None:
                if self._closed:
                    return False
                self._changed.wait(self._seconds_until_due())
            self._withdraw(batch)
            for task in batch.tasks:
                task.batch = None
            self._running_long += not batch.short
        tasks = tuple(batch.tasks)
        if not self._attempt(batch.servable, tasks, slot):
            for task in tasks:
                self._attempt(batch.servable, [task], slot)
        if not batch.short:
            with self._changed:
                self._running_long -= 1
                self._changed.notify_all()
        return True

    def _due(self) -> _Batch | None:
        latest = time.monotonic() - self._settings.batch_timeout_s
        return next(
            (each for each in self._eligible() if each.closed or each.rows >= each.most or each.opened_at <= latest),
            None,
        )

    def _seconds_until_due(self) -> float | None:
        oldest = next(self._eligible(), None)
        if oldest is None:
            return None
        return max(0.0, oldest.opened_at + self._settings.batch_timeout_s - time.monotonic())

    def _eligible(self) -> Iterator[_Batch]:
        """Batches that a thread may run now, oldest first."""
        long = self._running_long < self._most_long
        return (batch for batch in self._waiting if batch.short or long)

    def _attempt(self, servable: Servable, tasks: Sequence[_Task], slot: int) -> bool:
        """Whether every request has its outcome now. Several that fail together have none."""
        with self._changed:
            tasks = [task for task in tasks if not task.left]
            if not tasks:
                return True
            run = _Run(tasks)
            for task in tasks:
                task.run = run
        # Never in a variable here: see `_outcome`.
        return self._settle(run, _outcomes(servable, tasks, self._settings, run.call, slot))

    def _settle(self, run: _Run, outcomes: Sequence[Outcome]) -> bool:
        with self._changed:
            for task in run.tasks:
                task.run = None
            for task, outcome in zip(run.tasks, outcomes, strict=False):
                if not task.left:
                    task.outcome = outcome
                task.woken.set()
        run.ended.set()
        return bool(outcomes)


def _outcome(task: _Task, call: Call) -> list[Array]:
    """What comes of a request, as soon as it is there."""
    with call.stoppable(task.woken.set):
        remaining_ms = call.remaining_ms()
        task.woken.wait(remaining_ms / 1000 if remaining_ms else None)
    # An error holds the frames that it came through, and those that called them. Where one of them held the error, too,
    # both would stay, and the pictures of the request with them, until Python looks for such circles.
    outcome = task.outcome
    try:
        if isinstance(outcome, Exception):
            raise outcome
        if outcome is not None:
            return outcome
        raise CancelledError("Cancelled") if call.given_up else DeadlineError("Deadline Exceeded")
    finally:
        del outcome


def _outcomes(
    servable: Servable, tasks: Sequence[_Task], settings: BatchingSettings, call: Call, slot: int
) -> list[Outcome]:
    """What comes of each request; nothing of several that fail together."""
    try:
        return [*run_together(servable, [task.work for task in tasks], settings, call, slot)]
    except Exception as error:  # of whatever type: the thread goes on, and the request's own thread raises it
        return [error] if len(tasks) == 1 else []
