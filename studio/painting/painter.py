"""The painter: takes runs from the queue, one at a time, and keeps their progress so that each can be resumed.

A chunk is recorded (picture, progress, now and then the state) while the server works on the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

from typing_extensions import TypeVarTuple, Unpack

from styleserve.client import AsyncStyleClient, ConnectionSettings, Progress, SavedRunError, StyleServeError
from styleserve.memory import give_back_freed_memory

from ..settings import StudioSettings
from ..store import PictureStore, Run, RunStore, State
from .events import EventHub
from .results import load_state, write_end, write_preview, write_result
from .run_facts import run_facts
from .server import Backend

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

logger = logging.getLogger(__name__)

_CHUNK_S: Final = 1.0
"""Shortest time between two previews."""
_LOST_SERVERS: Final = 3
"""Embedded servers that may end during a run before it fails: it may be the run that ends them."""
_SAVE_EVERY_S: Final = 10.0
"""Shortest time between two writes of the state, for a run that a crash interrupts."""
_SAVE_SHARE: Final = 0.03
"""Largest share of the time that writes of the state take."""


@dataclass
class _Current:
    """The run that runs: its task, its connection, its latest progress, and why it ends early."""

    run: Run
    task: asyncio.Task[None]
    connection: ConnectionSettings | None = None
    progress: Progress | None = None
    is_stopped: bool = False
    saved_at: float = 0.0
    save_s: float = 0.0


class Painter:
    """Painter of the runs of a studio.

    Args:
        runs: Runs.
        pictures: Uploads.
        backend: The server.
        hub: Events for pages.
        settings: Bounds.
    """

    def __init__(
        self, runs: RunStore, pictures: PictureStore, backend: Backend, hub: EventHub, settings: StudioSettings
    ) -> None:
        self._runs: Final = runs
        self._pictures: Final = pictures
        self._backend: Final = backend
        self._hub: Final = hub
        self._settings: Final = settings
        self._wake: Final = asyncio.Event()
        self._current: _Current | None = None
        self._lost: Final[Counter[str]] = Counter()
        self._loop_task: asyncio.Task[None] | None = None
        self._files: Final = ThreadPoolExecutor(1, thread_name_prefix="files")

    def open(self) -> None:
        """Begins to paint; runs that were interrupted are resumed."""
        self._runs.requeue_interrupted()
        self._loop_task = asyncio.create_task(self._work())

    async def close(self) -> None:
        """Saves the run that runs, which the next start resumes, and ends."""
        if self._loop_task is not None:
            self._loop_task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop_task
            self._loop_task = None
            self._files.shutdown()

    def wake(self) -> None:
        """Takes notice of new runs in the queue."""
        self._wake.set()
        self._publish_waiting()

    def stop(self, run: Run) -> Run:
        """Stops a run that waits or runs; it keeps its picture and can be resumed."""
        if self._current is not None and self._current.run.id == run.id:
            self._current.is_stopped = True
            self._current.task.cancel()
            return self._current.run
        if run.state is State.QUEUED:
            run = self._change(run, state=State.STOPPED)
            self._publish_waiting()
        return run

    def resume(self, run: Run) -> Run:
        """Puts a stopped or failed run into the queue again."""
        if run.state in (State.STOPPED, State.FAILED):
            run = self._change(run, state=State.QUEUED, message="", hint="")
            self.wake()
        return run

    def losses(self, run: Run) -> list[list[float]]:
        """Losses of a run so far, a row for each evaluation."""
        current = self._current
        if current is not None and current.run.id == run.id and current.progress is not None:
            return current.progress.losses.tolist()
        try:
            return json.loads(self._runs.files(run.id).losses.read_bytes())
        except FileNotFoundError:
            return []

    async def _work(self) -> None:
        while True:
            self._wake.clear()
            run = self._runs.next_queued()
            if run is None:
                await self._wake.wait()
                continue
            await self._paint(run)
            del run
            self._tidy()
            await self._in_files(give_back_freed_memory)

    async def _paint(self, run: Run) -> None:
        run = self._change(run, state=State.RUNNING)
        self._publish_waiting()
        task = asyncio.create_task(self._chunks(run))
        current = self._current = _Current(run, task)
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:  # the studio ends
            task.cancel()
            await asyncio.wait([task])
            await self._keep(current)
            raise
        finally:
            self._current = None
        error = None if task.cancelled() else task.exception()
        if current.run.state is State.DONE:
            return
        await self._keep(current)
        if current.is_stopped:
            self._change(current.run, state=State.STOPPED, seconds_left=None)
        elif isinstance(error, StyleServeError):
            await self._failed(current, error)
        else:
            logger.error("unexpected error in run %s", run.id, exc_info=error)
            text = f"unexpected error: {type(error).__name__}: {error}"
            self._change(current.run, state=State.FAILED, message=text, hint="The log of the studio has details.")

    async def _failed(self, current: _Current, error: StyleServeError) -> None:
        """Ends a run that failed; one whose embedded server ended waits for the next server."""
        run, message, hint = current.run, error.message, _hint(error)
        if current.connection is not None and await self._backend.was_lost(current.connection):
            self._lost[run.id] += 1
            if self._lost[run.id] < _LOST_SERVERS:
                self._change(run, state=State.QUEUED, seconds_left=None)
                return
            message = f"the embedded server ended {self._lost.pop(run.id)} times while it painted this picture"
            hint = "It may lack memory: choose a smaller size. The log of the studio may say more."
        self._change(run, state=State.FAILED, message=message, hint=hint, seconds_left=None)

    async def _chunks(self, run: Run) -> None:
        """Paints a run to its end, chunk by chunk.

        Raises:
            StyleServeError: The run failed; it can be resumed.
        """
        current = self._current
        assert current is not None  # noqa: S101 - set before this task begins
        request = run.request
        saved = await self._in_files(load_state, self._runs.files(run.id))
        before_s = run.seconds
        regions = [None if each is None else await self._upload(each) for each in request.regions]
        current.connection = await self._backend.connection()
        client = AsyncStyleClient(settings=current.connection)  # a new one, with measurements of its own
        chunks = client.stylize_iter(
            await self._upload(request.content),
            [await self._upload(sha256) for sha256 in request.styles],
            run.client_controls if saved is None else None,
            content_regions=regions or None,
            images=True,
            chunk_s=_CHUNK_S,
            resume_from=saved,
        )
        recording: asyncio.Task[None] | None = None
        async with client, contextlib.aclosing(chunks):
            try:
                async for progress in chunks:
                    if recording is not None:
                        await asyncio.wait([recording])  # a cancelled run does not cancel it
                        recording.result()
                    current.progress = progress
                    recording = asyncio.create_task(self._record(current, progress, before_s))
            finally:
                if recording is not None:
                    await asyncio.wait([recording])
        if recording is not None:
            recording.result()

    async def _upload(self, sha256: str) -> bytes:
        path = self._pictures.file(sha256)
        try:
            return await self._in_files(path.read_bytes)
        except FileNotFoundError as error:
            raise SavedRunError(
                "a picture of this run is no longer stored", hint="Add the picture again, and paint a new run."
            ) from error

    async def _record(self, current: _Current, progress: Progress, before_s: float) -> None:
        """Writes what a chunk brought, and publishes it."""
        arrived = time.time()
        files = self._runs.files(current.run.id)
        partial, result = progress.partial, progress.result
        changes: dict[str, object] = {}
        if partial is not None:
            await self._in_files(write_preview, files, partial)
            changes = {
                "picture": current.run.picture + 1,
                "width": partial.image.width,
                "height": partial.image.height,
                "side": max(partial.image.size),
            }
        if result is not None:
            await self._in_files(write_end, files, result)
            changes |= {"state": State.DONE}
        current.run = self._change(
            current.run,
            steps_done=progress.steps_done,
            steps_total=progress.steps_total,
            octave=progress.octave,
            octaves=progress.octaves,
            fraction=progress.fraction,
            seconds=before_s + progress.seconds,
            seconds_left=progress.seconds_left,
            arrived=arrived,
            model=f"{progress.saved.model_name} {progress.model_version}",
            notes=progress.notes,
            **changes,
        )
        if result is None and self._save_is_due(current):
            await self._save_state(current, progress)

    def _save_is_due(self, current: _Current) -> bool:
        pause = max(_SAVE_EVERY_S, current.save_s / _SAVE_SHARE)
        return time.monotonic() - current.saved_at > pause or not current.saved_at

    async def _save_state(self, current: _Current, progress: Progress) -> None:
        started = time.monotonic()
        with contextlib.suppress(StyleServeError):  # a full disk: the run itself can end well
            await self._in_files(progress.saved.save, self._runs.files(current.run.id).state)
        current.saved_at = time.monotonic()
        current.save_s = current.saved_at - started

    async def _keep(self, current: _Current) -> None:
        """Keeps the state and the picture of a run that ended early."""
        progress = current.progress
        if progress is None or progress.result is not None:
            return
        await self._save_state(current, progress)
        if progress.partial is not None:
            with contextlib.suppress(StyleServeError):
                await self._in_files(write_result, self._runs.files(current.run.id), progress.partial)

    async def _in_files(self, function: Callable[[Unpack[_Ts]], _T], *arguments: Unpack[_Ts]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._files, function, *arguments)

    def _change(self, run: Run, **changes: object) -> Run:
        run = self._runs.update(run, **changes)
        self._hub.publish("run", run.id, run_facts(run, self._runs))
        return run

    def _publish_waiting(self) -> None:
        """Publishes the places of the runs that wait, which have changed."""
        for run_id in self._runs.waiting():
            if (run := self._runs.get(run_id)) is not None:
                self._hub.publish("run", run.id, run_facts(run, self._runs))

    def _tidy(self) -> None:
        before = {run.id for run in self._runs.all()}
        if self._runs.trim(self._settings.max_runs, self._settings.max_folder_bytes):
            for run_id in before - {run.id for run in self._runs.all()}:
                self._hub.forget("run", run_id)


def _hint(error: StyleServeError) -> str:
    """Next step to take, without the options of commands, which a page does not have."""
    return "Change that setting, and paint again." if "--" in error.hint else error.hint
