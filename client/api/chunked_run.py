"""Runs in chunks: each call resumes from the state that the previous one returned, so the server keeps nothing.

Any replica can take the next chunk, a failed chunk can be repeated, and between two chunks the picture can be shown and
the run saved. A coarse-to-fine run is one such run for each octave, which starts from the picture of the one before. A
print is too large for a state: each of its calls starts from the picture of the one before.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
from PIL import Image

from styleserve import contract

from ..errors import ControlError, ModelNotFound, RequestRefused, ServiceError, StateRefused
from ..images.picture import Picture
from ..images.source import PictureSource
from ..inputs.controls import Controls, refuse_foreign_controls
from ..inputs.octaves import Octave
from ..inputs.picture_set import PictureSet
from ..inputs.pictures import facts_of, load_pictures, notes_of, result_pixels
from ..transport.actions import Operation, run_blocking
from ..transport.call import PREDICT, checked_request_id
from ..transport.settings import default_timeout_s
from ..wire.messages import PredictResponse
from ..wire.results import StylizedResult, Timings
from .checkpoint import SavedRun
from .chunk import Chunk, ChunkCall
from .chunk_size import TARGETS_WORK, CallCost, ChunkSizer
from .comparison import unchanged_notes
from .model_queries import ModelQueries
from .progress import Progress
from .run_plan import RunOptions, plan_run, resumed
from .state_size import StateSize, print_steps

_RECENT: Final = 4
"""Chunks from whose pace the time left follows."""


class ChunkedRun:
    """A run, chunk by chunk.

    Args:
        queries: Queries about the model. A resumed run stays with the version of `saved`, unless a version is named.
            The version of the first reply does all later chunks, unless it goes away.
        sources: Pictures; may be None where `saved` is in its last octave.
        saved: Run to resume.
        controls: Controls of a new run; of a resumed one only the steps may differ.
        options: Further options.
        sizer: Sizes of chunks, shared by the runs of a client.
        clock: Seconds, from any moment on.

    Raises:
        ControlError: A control is out of its range, does not suit the pictures, or is not that of the saved run.
        SavedRunError: The saved run has ended without a state, or has octaves left and no pictures are given.
    """

    def __init__(
        self,
        queries: ModelQueries,
        *,
        sources: PictureSet[PictureSource] | None,
        saved: SavedRun | None,
        controls: Controls,
        options: RunOptions,
        sizer: ChunkSizer,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        target = queries.target
        if saved is not None:
            saved = resumed(saved, target.model_name, controls, has_pictures=sources is not None)
        elif sources is None:
            raise ControlError("a new run needs pictures", hint="Give content and style, or a saved run.")
        else:
            refuse_foreign_controls(controls)
            sources.check(controls)
        self._queries: Final = queries
        self._sources: Final = sources
        self._controls: Final = controls
        self._options: Final = options
        self._chunk_steps = options.chunk_steps
        self._sizer: Final = sizer
        self._request_id: Final = checked_request_id(options.request_id)
        self._clock: Final = clock
        self._deadline_s = math.inf
        self._pictures: PictureSet[Picture] | None = None
        self._seen_pixels = 0
        self._saved = saved
        self._version = None if saved is None or target.names_version else saved.model_version
        self._version_went_away = False
        self._timings = Timings(0.0, 0.0, 0.0)
        self._recent: Final[deque[tuple[float, float]]] = deque(maxlen=_RECENT)
        self.done = False

    def advance(self) -> Operation[Progress]:
        """Progress of the run after one more chunk.

        Raises:
            ImageError: A picture cannot be used.
            SavedRunError: A picture is not that of the saved run.
            StateRefused: The model does not accept the state of the run.
            ServiceError: One of its subclasses says what else went wrong; the run can be resumed.
        """
        saved = yield from self._prepare()
        remaining = saved.octave_steps_left
        steps = yield from self._next_steps(saved, remaining)
        images, from_picture = self._options.images, self._is_print(saved)
        ends_octave = steps == remaining
        is_last = saved.octave == len(saved.octaves) - 1
        in_one_call = ends_octave and not saved.state and not self._options.final_state
        call = ChunkCall(
            saved,
            steps,
            returns_state=not in_one_call and not from_picture and (is_last or not ends_octave),
            returns_image=images or ends_octave or from_picture,
            shows=images or (ends_octave and is_last),
            lossless=(ends_octave and not is_last) or (from_picture and not ends_octave),
        )
        try:
            chunk = yield from self._call(call)
        except ModelNotFound as error:
            if not self._may_leave_version(error):
                raise
            self._version, self._version_went_away = None, True
            return (yield from self.advance())
        except RequestRefused as error:
            if saved.state and "state" in error.server_text.lower():
                message = f"the model does not accept the state of this run: {error.server_text}"
                raise StateRefused(message, model_version=saved.model_version, cause=error) from error
            too_many = error.server_text.startswith(f"{contract.STEPS.name} must be")
            if steps == 1 or not too_many or self._options.whole:
                raise
            self._chunk_steps = steps // 2  # over the model's limit for one call
            return (yield from self.advance())
        return self._progress(saved, chunk)

    def finish(self) -> Operation[StylizedResult]:
        """Result of the run, after all its chunks; raises the errors of `advance`."""
        while True:
            progress = yield from self.advance()
            if progress.result is not None:
                return progress.result

    def _prepare(self) -> Operation[SavedRun]:
        """The run so far; the first call reads the pictures and plans the octaves."""
        timeout_s = self._options.timeout_s
        if self._deadline_s == math.inf and self._options.whole and timeout_s is not None:
            self._deadline_s = self._clock() + timeout_s
        if self._pictures is None and (sources := self._sources) is not None:
            started = self._clock()
            self._pictures = yield from self._queries.load_within_limit(
                lambda most, reduce: load_pictures(sources, max_pixels=most, reduce=reduce),
                self._left_s(),
                self._request_id,
            )
            if self._saved is not None:
                self._saved.check_pictures(self._pictures)
            self._timings = replace(self._timings, prepare_s=self._clock() - started)
        if self._saved is None:
            assert self._pictures is not None  # noqa: S101 - `__init__` refuses new runs without pictures
            controls, octaves = yield from plan_run(self._queries, self._controls, self._left_s(), self._request_id)
            self._saved = SavedRun(
                controls=controls,
                octaves=octaves,
                losses=np.zeros((0, len(contract.LOSS_COLUMNS)), np.float32),
                state=b"",
                start=b"",
                model_name=self._queries.target.model_name,
                model_version=0,
                pictures=facts_of(self._pictures),
                notes=notes_of(self._pictures),
            )
        return self._saved

    def _left_s(self) -> float | None:
        """Deadline of the next call; None for the default."""
        if self._deadline_s == math.inf:
            return self._options.timeout_s
        return max(self._deadline_s - self._clock(), 1e-3)

    def _pixels(self, octave: Octave) -> int:
        """Pixels of the result of an octave."""
        if self._pictures is not None:
            return result_pixels(self._pictures, octave.max_side)
        return self._seen_pixels or octave.max_side**2

    def _work(self, saved: SavedRun, steps: int) -> float:
        """Pixels times evaluations of the next steps: a call without a state computes its targets, too."""
        return self._pixels(saved.current_octave) * (steps if saved.state else steps + TARGETS_WORK)

    def _is_print(self, saved: SavedRun) -> bool:
        """Whether the next call brings no state, so that the one after it starts from its picture."""
        return not saved.state and _state_size(saved).is_print(self._pixels(saved.current_octave))

    def _next_steps(self, saved: SavedRun, remaining: int) -> Operation[int]:
        """Evaluations of the next chunk; a server without measurements is measured first."""
        if remaining > 0 and self._is_print(saved):
            return min(self._chunk_steps or remaining, print_steps(remaining))
        if remaining <= 1 or self._options.whole or self._chunk_steps is not None:
            return min(remaining, self._chunk_steps or remaining)
        sizer, pixels = self._sizer, self._pixels(saved.current_octave)
        if sizer.round_trip_s is None and sizer.seconds(remaining, pixels) > self._options.chunk_s:
            sizer.round_trip_s = yield from self._queries.measure_round_trip_s(self._request_id, self._clock)
        steps = self._measured_steps(saved, remaining, pixels)
        if steps < remaining and not sizer.measured and not saved.state:
            # A measurement without a state, as moving one may take longer than the whole run. It asks for the picture,
            # of which the size is not known before.
            yield from self._call(ChunkCall(saved, 0, returns_state=False, returns_image=True, shows=False))
            steps = self._measured_steps(saved, remaining, pixels)
        return steps

    def _measured_steps(self, saved: SavedRun, remaining: int, pixels: int) -> int:
        state_bytes = len(saved.state) or _state_size(saved).usual_bytes(pixels)
        return self._sizer.next_steps(
            remaining,
            pixels=pixels,
            state_bytes=state_bytes,
            chunk_s=self._options.chunk_s,
            timeout_s=self._options.timeout_s,
        )

    def _call(self, call: ChunkCall) -> Operation[Chunk]:
        """Outputs of the call, which is also measured."""
        pixels, work = self._pixels(call.saved.current_octave), self._work(call.saved, call.steps)
        timeout_s = self._left_s()
        timeout_s = default_timeout_s(pixels, call.steps) if timeout_s is None else timeout_s
        target = self._queries.target if self._version is None else self._queries.target.pinned(self._version)
        request = yield from run_blocking(lambda: call.request(target, self._pictures))
        started = self._clock()

        def read(reply: PredictResponse) -> Chunk:
            answered = self._clock()
            chunk = call.read(reply)
            if chunk.image is not None:
                self._seen_pixels = chunk.image.width * chunk.image.height
            self._sizer.add(
                CallCost(
                    moved_bytes=request.ByteSize() + reply.ByteSize(),
                    work=work,
                    seconds=answered - started,
                    has_steps=call.steps > 0,
                )
            )
            return replace(chunk, seconds=answered - started, decode_s=self._clock() - answered)

        return (yield from self._queries.rpc.call(PREDICT, request, read, timeout_s, request_id=self._request_id))

    def _may_leave_version(self, error: ServiceError) -> bool:
        """Whether the version of the first reply went away; a version that the caller named is kept."""
        chosen = self._version is not None and self._queries.target.version is None
        return chosen and error.status == "NOT_FOUND" and "specific(" in error.server_text.lower()

    def _progress(self, before: SavedRun, chunk: Chunk) -> Progress:
        saved = replace(
            before,
            state=chunk.state,
            start=b"",
            losses=np.concatenate([before.losses, chunk.losses]),
            model_version=chunk.version,
            notes=(*before.notes, *self._version_notes(before, chunk.version)),
        )
        if saved.octave > before.octave or self._is_print(before):
            saved = replace(saved, start=chunk.file)
        self._saved = saved
        self._version, self._version_went_away = chunk.version, False
        self._queries.note_version(chunk.version)
        self._timings = Timings(
            self._timings.prepare_s,
            self._timings.call_s + chunk.seconds,
            self._timings.decode_s + chunk.decode_s,
        )
        work = self._work(before, saved.steps_done - before.steps_done)
        self._recent.append((chunk.seconds + chunk.decode_s, work))
        self.done = saved.steps_done >= saved.steps_total
        return Progress(
            saved=saved,
            seconds=self._timings.call_s + self._timings.decode_s,
            seconds_left=0.0 if self.done else self._seconds_left(saved),
            partial=None if chunk.image is None else self._result(saved, chunk.image, chunk.file),
        )

    def _seconds_left(self, saved: SavedRun) -> float:
        """Time for the rest at the pace of recent chunks, whose transfer is a share of it."""
        seconds, work = map(sum, zip(*self._recent, strict=True))
        left = self._work(saved, saved.octave_steps_left)
        for octave in saved.octaves[saved.octave + 1 :]:
            left += self._pixels(octave) * (octave.steps + TARGETS_WORK)
        return left * seconds / work

    def _version_notes(self, saved: SavedRun, version: int) -> tuple[str, ...]:
        """A note where another version than before continued the run."""
        if not saved.can_resume or version == saved.model_version:
            return ()
        left = f"version {saved.model_version} of the model {{}} after {saved.steps_done} steps"
        if self._version_went_away:
            return (left.format("went away") + "; the newest continued",)
        return (left.format("was left") + f"; version {version}, which was asked for, continued",)

    def _result(self, saved: SavedRun, image: Image.Image, file: bytes) -> StylizedResult:
        pictures = self._pictures
        whole = self.done and pictures is not None and not pictures.content_regions  # outside regions the content stays
        unchanged = unchanged_notes(pictures, image, saved.controls) if whole and pictures is not None else ()
        return StylizedResult(
            image=image,
            image_bytes=file,
            losses=saved.losses,
            octaves=saved.octaves,
            recipe=saved.recipe,
            timings=self._timings,
            notes=(*saved.notes, *unchanged),
        )


def _state_size(saved: SavedRun) -> StateSize:
    return StateSize.of(saved.controls, saved.pictures)
