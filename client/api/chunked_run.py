"""Runs in chunks: each call resumes from the state that the previous one returned, so the server keeps nothing.

Any replica can take the next chunk, a failed chunk can be repeated, and between two chunks the picture can be shown and
the run saved. A coarse-to-fine run is one such run for each octave, which starts from the picture of the one before.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from PIL import Image

from styleserve import contract

from ..errors import (
    ControlError,
    ModelNotFound,
    RequestRefused,
    ServiceError,
    StateRefused,
)
from ..images.picture import Picture
from ..images.source import PictureSource
from ..inputs.controls import UNSET, Controls, refuse_foreign_controls
from ..inputs.octaves import Octave
from ..inputs.picture_set import PictureSet
from ..inputs.pictures import facts_of, load_pictures, notes_of, result_pixels
from ..transport.call import PREDICT, checked_request_id
from ..transport.defaults import default_timeout_s
from ..transport.effects import Flow, work
from ..wire import replies
from ..wire.messages import PredictRequest, PredictResponse
from ..wire.requests import paint_request, resume_request
from ..wire.results import Floats, StylizedResult, Timings
from .checkpoint import SavedRun
from .chunk_size import TARGETS_WORK, CallCost, Pace, usual_state_bytes
from .comparison import unchanged_notes
from .model_queries import Questions
from .progress import Progress
from .run_plan import RunOptions, continued, planned


@dataclass(frozen=True, eq=False)
class _Chunk:
    state: bytes
    file: bytes
    image: Image.Image | None
    losses: Floats
    version: int
    seconds: float
    decode_s: float


class Run:
    """A run, chunk by chunk.

    Args:
        questions: Questions about the model, and what makes the requests. A resumed run without a named version stays
            with that of `saved`. The version of the first reply holds for all later ones, unless it goes away.
        sources: Pictures; may be None where `saved` is in its last octave.
        saved: Run to resume.
        controls: Controls of a new run; of a resumed one only the steps may differ.
        options: Further options.
        pace: Measurements of the server, shared by the runs of a client.
        clock: Seconds, from any moment on.

    Raises:
        ControlError: A control is out of its range, does not suit the pictures, or is not that of the saved run.
        SavedRunError: The saved run has ended without a state, or has octaves left and no pictures are given.
    """

    def __init__(
        self,
        questions: Questions,
        *,
        sources: PictureSet[PictureSource] | None,
        saved: SavedRun | None,
        controls: Controls,
        options: RunOptions,
        pace: Pace,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        target = questions.target
        if saved is not None:
            saved = continued(saved, target.model_name, controls, has_pictures=sources is not None)
        elif sources is None:
            raise ControlError("a new run needs pictures", hint="Give content and style, or a saved run.")
        else:
            refuse_foreign_controls(controls)
            sources.check(controls)
        self._questions: Final = questions
        self._caller: Final = questions.caller
        self._target: Final = target
        self._sources: Final = sources
        self._controls: Final = controls
        self._options: Final = options
        self._chunk_steps = options.chunk_steps
        self._pace: Final = pace
        self._request_id: Final = checked_request_id(options.request_id)
        self._clock: Final = clock
        self._deadline_s = math.inf
        self._pictures: PictureSet[Picture] | None = None
        self._seen_pixels = 0
        self._saved = saved
        self._version = None if saved is None or target.names_version else saved.model_version
        self._version_went_away = False
        self._timings = Timings(0.0, 0.0, 0.0)
        self.done = False

    def advance(self) -> Flow[Progress]:
        """Progress of the run after one more chunk.

        Raises:
            ImageError: A picture cannot be used.
            SavedRunError: A picture is not that of the saved run.
            StateRefused: The model does not accept the state of the run.
            ServiceError: One of its subclasses says what else went wrong; what was there before is still good.
        """
        saved = yield from self._begun()
        remaining = saved.octave_steps_left
        steps = yield from self._next_steps(saved, remaining)
        ends_octave = steps == remaining
        is_last = saved.octave == len(saved.octaves) - 1
        in_one_call = ends_octave and not saved.state and not self._options.final_state
        outputs = [contract.LOSSES]
        outputs += [] if in_one_call or (ends_octave and not is_last) else [contract.STATE]
        outputs += [contract.IMAGE_BYTES] if self._options.images or ends_octave else []
        shows = self._options.images or (ends_octave and is_last)
        try:
            chunk = yield from self._call(saved, steps, outputs, shows=shows, lossless=ends_octave and not is_last)
        except ModelNotFound as error:
            if not self._may_leave_version(error):
                raise
            self._version, self._version_went_away = None, True
            return (yield from self.advance())
        except RequestRefused as error:
            if saved.state and "state" in error.server_text.lower():
                message = f"the model does not accept the state of this run: {error.server_text}"
                raise StateRefused(message, saved=saved, cause=error) from error
            too_many = error.server_text.startswith(f"{contract.STEPS.name} must be")
            if steps == 1 or not too_many or self._options.whole:
                raise
            self._chunk_steps = steps // 2  # more than the model does in one call
            return (yield from self.advance())
        return self._progress(saved, chunk)

    def finish(self) -> Flow[StylizedResult]:
        """Result of the run, after all its chunks.

        Raises:
            StyleServeError: All that `advance` raises.
        """
        while True:
            progress = yield from self.advance()
            if progress.result is not None:
                return progress.result

    def _begun(self) -> Flow[SavedRun]:
        """The run so far; the first call reads the pictures and plans the octaves."""
        timeout_s = self._options.timeout_s
        if self._deadline_s == math.inf and self._options.whole and timeout_s is not None:
            self._deadline_s = self._clock() + timeout_s
        if self._pictures is None and (sources := self._sources) is not None:
            started = self._clock()
            self._pictures = yield from self._questions.within_limit(
                lambda max_pixels: load_pictures(sources, max_pixels=max_pixels), self._left_s(), self._request_id
            )
            if self._saved is not None:
                self._saved.check_pictures(self._pictures)
            self._timings = replace(self._timings, prepare_s=self._clock() - started)
        if self._saved is None:
            assert self._pictures is not None  # noqa: S101 - else `__init__` has refused
            controls, octaves = yield from planned(self._questions, self._controls, self._left_s(), self._request_id)
            self._saved = SavedRun(
                controls=controls,
                octaves=octaves,
                losses=np.zeros((0, len(contract.LOSS_COLUMNS)), np.float32),
                state=b"",
                start=b"",
                model_name=self._target.model_name,
                model_version=0,
                pictures=facts_of(self._pictures),
                notes=notes_of(self._pictures),
            )
        return self._saved

    def _left_s(self) -> float | None:
        """Time for the next call; None for the default."""
        if self._deadline_s == math.inf:
            return self._options.timeout_s
        return max(self._deadline_s - self._clock(), 1e-3)

    def _pixels(self, octave: Octave) -> int:
        """Pixels of the result of an octave."""
        if self._pictures is not None:
            return result_pixels(self._pictures, octave.max_side)
        return self._seen_pixels or octave.max_side**2

    def _next_steps(self, saved: SavedRun, remaining: int) -> Flow[int]:
        """Evaluations of the next chunk; a server without measurements is measured first."""
        if remaining <= 1 or self._options.whole or self._chunk_steps is not None:
            return min(remaining, self._chunk_steps or remaining)
        pace, pixels = self._pace, self._pixels(saved.octaves[saved.octave])
        if pace.round_trip_s is None and pace.seconds(remaining, pixels) > self._options.chunk_s:
            pace.round_trip_s = yield from self._questions.round_trip_s(self._request_id, self._clock)
        steps = self._paced_steps(saved, remaining, pixels)
        if steps < remaining and not pace.measured and not saved.state:
            # Moving a state may take longer than the whole run, so the first measurement does without one. It brings
            # the picture, of which the size is not known before.
            yield from self._call(saved, 0, [contract.LOSSES, contract.IMAGE_BYTES], shows=False)
            steps = self._paced_steps(saved, remaining, pixels)
        return steps

    def _paced_steps(self, saved: SavedRun, remaining: int, pixels: int) -> int:
        steps = self._pace.next_steps(
            remaining,
            pixels=pixels,
            state_bytes=len(saved.state) or self._state_bytes(saved, pixels),
            chunk_s=self._options.chunk_s,
        )
        if self._options.timeout_s is None:
            return steps
        step_s = max(self._pace.seconds(1, pixels), 1e-9)
        return max(1, min(steps, int(self._options.timeout_s / 2 / step_s)))

    def _state_bytes(self, saved: SavedRun, pixels: int) -> int:
        return usual_state_bytes(
            pixels,
            saved.controls.expected_optimizer,
            regions=saved.pictures.regions,
            has_reference=saved.pictures.reference is not None,
        )

    def _call(
        self, saved: SavedRun, steps: int, outputs: Sequence[contract.Field], *, shows: bool, lossless: bool = False
    ) -> Flow[_Chunk]:
        """One call of the current octave.

        Args:
            saved: The run so far.
            steps: Evaluations of the call.
            outputs: Outputs to ask for.
            shows: Whether the picture is decoded.
            lossless: Whether the picture is for the next octave, which wants a lossless file.
        """
        octave = saved.octaves[saved.octave]
        controls = replace(saved.controls, steps=steps, max_side=octave.max_side)
        if lossless:
            controls = replace(controls, image_format="png")
        if saved.octave:
            controls = replace(controls, start_noise=UNSET, seed=UNSET)
        pixels, optimizer = self._pixels(octave), controls.expected_optimizer
        timeout_s = self._left_s()
        timeout_s = default_timeout_s(pixels, steps) if timeout_s is None else timeout_s

        return_state = contract.STATE in outputs

        def prepare() -> PredictRequest:
            target = self._target if self._version is None else self._target.pinned(self._version)
            if saved.state:
                request = resume_request(target, saved.state, controls, return_state=return_state)
            else:
                assert self._pictures is not None  # noqa: S101 - else `continued` has refused
                request = paint_request(target, self._pictures, controls, start=saved.start, return_state=return_state)
            request.output_filter.extend(field.name for field in outputs)
            return request

        def read(reply: PredictResponse) -> _Chunk:
            answered = self._clock()
            file = replies.painted_file(reply) if contract.IMAGE_BYTES in outputs else b""
            image = replies.painted_image(file) if shows else None
            if image is not None:
                self._seen_pixels = image.width * image.height
            self._pace.add(
                CallCost(
                    moved_bytes=request.ByteSize() + reply.ByteSize(),
                    work=pixels * (steps if saved.state else steps + TARGETS_WORK),
                    seconds=answered - started,
                    has_steps=steps > 0,
                )
            )
            return _Chunk(
                losses=replies.losses(reply, steps, optimizer, before=saved.steps_done),
                state=replies.state(reply) if return_state else b"",
                file=file,
                image=image,
                version=reply.model_spec.version.value,
                seconds=answered - started,
                decode_s=self._clock() - answered,
            )

        request = yield from work(prepare)
        started = self._clock()
        return (yield from self._caller.call(PREDICT, request, read, timeout_s, request_id=self._request_id))

    def _may_leave_version(self, error: ServiceError) -> bool:
        """Whether the version went away that the first reply chose, and not one that the caller named."""
        chosen = self._version is not None and self._target.version is None
        return chosen and error.status == "NOT_FOUND" and "specific(" in error.server_text.lower()

    def _progress(self, before: SavedRun, chunk: _Chunk) -> Progress:
        saved = replace(
            before,
            state=chunk.state,
            start=b"",
            losses=np.concatenate([before.losses, chunk.losses]),
            model_version=chunk.version,
            notes=(*before.notes, *self._changed(before, chunk.version)),
        )
        if saved.octave > before.octave:
            saved = replace(saved, start=chunk.file)
        self._saved = saved
        self._version, self._version_went_away = chunk.version, False
        self._questions.saw_version(chunk.version)
        self._timings = Timings(
            self._timings.prepare_s,
            self._timings.call_s + chunk.seconds,
            self._timings.decode_s + chunk.decode_s,
        )
        self.done = saved.steps_done >= saved.steps_total
        return Progress(
            saved=saved,
            seconds=self._timings.call_s + self._timings.decode_s,
            seconds_left=self._seconds_left(saved),
            partial=None if chunk.image is None else self._result(saved, chunk.image, chunk.file),
        )

    def _seconds_left(self, saved: SavedRun) -> float:
        later = saved.octaves[saved.octave + 1 :]
        steps = [(saved.octave_steps_left, saved.octaves[saved.octave]), *((octave.steps, octave) for octave in later)]
        return sum(self._pace.seconds(left, self._pixels(octave)) for left, octave in steps)

    def _changed(self, saved: SavedRun, version: int) -> tuple[str, ...]:
        """A note, where another version continued than the one before."""
        if not saved.can_resume or version == saved.model_version:
            return ()
        left = f"version {saved.model_version} of the model {{}} after {saved.steps_done} steps"
        if self._version_went_away:
            return (left.format("went away") + "; the newest continued",)
        return (left.format("was left") + f"; version {version}, which was asked for, continued",)

    def _result(self, saved: SavedRun, image: Image.Image, file: bytes) -> StylizedResult:
        pictures = self._pictures
        whole = self.done and pictures is not None and not pictures.content_regions  # where no style is, content stays
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
