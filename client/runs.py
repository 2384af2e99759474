"""Runs in chunks: each call resumes from the state that the previous one returned, so the server keeps nothing.

Any replica can take the next chunk, a failed chunk can be repeated, and between two chunks the picture can be shown and
the run saved.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from styleserve import contract

from . import replies
from .calling import PREDICT, Caller, checked_request_id
from .comparison import unchanged_notes
from .controls import Controls, Unset
from .defaults import default_timeout_s
from .errors import ControlError, ModelNotFound, RequestRefused, SavedRunError, ServiceError, StateRefused
from .flow import Flow, work
from .images import Picture
from .pace import TARGETS_WORK, CallCost, Pace, usual_state_bytes
from .progress import Progress
from .protos import PredictRequest, PredictResponse
from .questions import Questions
from .requests import Target, resume_request, stylize_request
from .results import Floats, StylizedResult, Timings
from .saved import SavedRun, sha256
from .signatures import (
    Optimizer,
    ResumableSignature,
    StylizeSignature,
    choose_resumable_signature,
    choose_signature,
    optimizer_of,
    refuse_foreign_controls,
)
from .sources import Pair, PictureSource


@dataclass(frozen=True, eq=False)
class _Chunk:
    state: bytes
    losses: Floats
    picture: Picture | None
    signature: StylizeSignature | ResumableSignature
    version: int
    seconds: float
    decode_s: float


class Run:
    """A run, chunk by chunk.

    Args:
        caller: Makes the requests.
        target: The model as the caller named it. A resumed run without a named version stays with that of `saved`. The
            version of the first reply holds for all later ones, unless it goes away.
        pictures: Content and style; may be None where `saved` is given.
        saved: Run to resume.
        controls: Of a new run; of a resumed one only the steps may differ.
        optimizer: "lbfgs" or "adam"; None is that of `saved`, or else L-BFGS.
        images: Whether each chunk brings the picture.
        final_state: Whether a run in one chunk brings its state, with which it can be extended.
        chunk_s: Shortest time between two chunks, in seconds.
        chunk_steps: Evaluations of each chunk; None lets `pace` decide.
        pace: Measurements of the server, shared by the runs of a client.
        timeout_s: For each chunk, with all its tries; `default_timeout_s` if None.
        request_id: Sent with every call of the run; a random one if None.
        clock: Seconds, from any moment on.

    Raises:
        ControlError: A control is out of its range, or not that of the saved run.
        SavedRunError: The saved run has ended without a state, and more steps are asked for.
    """

    def __init__(
        self,
        caller: Caller,
        target: Target,
        *,
        pictures: tuple[PictureSource, PictureSource] | None,
        saved: SavedRun | None,
        controls: Controls,
        optimizer: Optimizer | None,
        images: bool,
        final_state: bool,
        chunk_s: float,
        chunk_steps: int | None,
        pace: Pace,
        timeout_s: float | None,
        request_id: str | None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if not 0 < chunk_s < math.inf:
            raise ControlError(f"chunk_s is {chunk_s}; it must be over 0 and finite")
        if chunk_steps is not None and chunk_steps < 1:
            raise ControlError(f"chunk_steps is {chunk_steps}; it must be at least 1")
        if saved is None:
            signature = choose_resumable_signature(optimizer)
            refuse_foreign_controls(signature, controls)
        else:
            saved, signature = _continued(saved, target, controls, optimizer), saved.signature
        self._caller: Final = caller
        self._questions: Final = Questions(caller, target)
        self._target: Final = target
        self._pictures: Final = pictures
        self._controls: Final = controls
        self._signature: Final = signature
        self._images: Final = images
        self._final_state: Final = final_state
        self._chunk_s: Final = chunk_s
        self._chunk_steps = chunk_steps
        self._pace: Final = pace
        self._timeout_s: Final = timeout_s
        self._request_id: Final = checked_request_id(request_id)
        self._clock: Final = clock
        self._pair: Pair | None = None
        self._pixels = (controls if saved is None else saved.controls).expected_max_side ** 2
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
        remaining = saved.steps_total - saved.steps_done
        steps = yield from self._next_steps(saved, remaining)
        last = steps == remaining
        one_call = last and not saved.state and not self._final_state
        outputs = [contract.LOSSES]
        outputs += [] if one_call else [contract.STATE]
        outputs += [contract.PNG_BYTES] if self._images or last else []
        try:
            chunk = yield from self._call(saved, steps, outputs)
        except ModelNotFound as error:
            if not self._may_leave_version(error):
                raise
            self._version, self._version_went_away = None, True
            return (yield from self.advance())
        except RequestRefused as error:
            if saved.state and "state" in error.server_text.lower():
                message = f"the model does not accept the state of this run: {error.server_text}"
                raise StateRefused(message, saved=saved, cause=error) from error
            if steps == 1 or not error.server_text.startswith(f"{contract.STEPS.name} must be"):
                raise
            self._chunk_steps = steps // 2  # more than the model does in one call
            return (yield from self.advance())
        return self._progress(saved, chunk)

    def _begun(self) -> Flow[SavedRun]:
        """The run so far; the first call reads the pictures."""
        if self._pair is None and self._pictures is not None:
            started, pictures = self._clock(), self._pictures
            self._pair = yield from self._questions.within_limit(
                lambda max_pixels: Pair.loaded(*pictures, max_pixels=max_pixels), self._timeout_s, self._request_id
            )
            if self._saved is not None:
                self._saved.check_pictures(self._pair)
            controls = self._controls if self._saved is None else self._saved.controls
            self._pixels = self._pair.pixels(controls.expected_max_side)
            self._timings = replace(self._timings, prepare_s=self._clock() - started)
        if self._saved is None:
            if self._pair is None:
                raise ControlError("a new run needs two pictures", hint="Give content and style, or a saved run.")
            self._saved = SavedRun(
                signature=self._signature,
                controls=replace(self._controls, steps=self._controls.expected_steps),
                losses=np.zeros((0, len(contract.LOSS_COLUMNS)), np.float32),
                state=b"",
                model_name=self._target.model_name,
                model_version=0,
                content_sha256=sha256(self._pair.content),
                style_sha256=sha256(self._pair.style),
                notes=self._pair.notes,
            )
        return self._saved

    def _next_steps(self, saved: SavedRun, remaining: int) -> Flow[int]:
        """Evaluations of the next chunk; a server without measurements is measured first."""
        if remaining <= 1 or self._chunk_steps is not None:
            return min(remaining, self._chunk_steps or 1)
        pace = self._pace
        if pace.round_trip_s is None and pace.seconds(remaining, self._pixels) > self._chunk_s:
            pace.round_trip_s = yield from self._questions.round_trip_s(self._request_id, self._clock)
        steps = self._paced_steps(saved, remaining)
        if steps < remaining and not pace.measured and not saved.state:
            # Moving a state may take longer than the whole run, so the first measurement does without one. It brings
            # the picture, of which the size is not known before.
            yield from self._call(saved, 0, [contract.LOSSES, contract.PNG_BYTES])
            steps = self._paced_steps(saved, remaining)
        return steps

    def _paced_steps(self, saved: SavedRun, remaining: int) -> int:
        steps = self._pace.next_steps(
            remaining,
            pixels=self._pixels,
            state_bytes=len(saved.state) or usual_state_bytes(self._pixels, optimizer_of(saved.signature)),
            chunk_s=self._chunk_s,
        )
        if self._timeout_s is None:
            return steps
        step_s = max(self._pace.seconds(1, self._pixels), 1e-9)
        return max(1, min(steps, int(self._timeout_s / 2 / step_s)))

    def _call(self, saved: SavedRun, steps: int, outputs: Sequence[contract.Field]) -> Flow[_Chunk]:
        """One call, by the signature of plain calls if no state is wanted."""
        resumable = contract.STATE in outputs
        signature = saved.signature if resumable else choose_signature(optimizer_of(saved.signature), None)
        controls = replace(saved.controls, steps=steps)
        timeout_s = default_timeout_s(self._pixels, steps) if self._timeout_s is None else self._timeout_s

        def prepare() -> PredictRequest:
            target = self._target if self._version is None else self._target.pinned(self._version)
            if saved.state:
                request = resume_request(target, saved.signature, saved.state, controls)
            else:
                assert self._pair is not None  # noqa: S101 - else `_begun` has refused
                request = stylize_request(target, signature, self._pair, controls)
            request.output_filter.extend(field.name for field in outputs)
            return request

        def read(reply: PredictResponse) -> _Chunk:
            answered = self._clock()
            picture = replies.picture(reply, signature) if contract.PNG_BYTES in outputs else None
            if picture is not None:
                self._pixels = picture.image.width * picture.image.height
            self._pace.add(
                CallCost(
                    moved_bytes=request.ByteSize() + reply.ByteSize(),
                    work=self._pixels * (steps if saved.state else steps + TARGETS_WORK),
                    seconds=answered - started,
                    has_steps=steps > 0,
                )
            )
            return _Chunk(
                losses=replies.losses(reply, steps, signature, before=saved.steps_done),
                state=replies.state(reply) if resumable else b"",
                picture=picture,
                signature=signature,
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

    def _progress(self, saved: SavedRun, chunk: _Chunk) -> Progress:
        saved = self._saved = replace(
            saved,
            state=chunk.state,
            losses=np.concatenate([saved.losses, chunk.losses]),
            model_version=chunk.version,
            notes=(*saved.notes, *self._changed(saved, chunk.version)),
        )
        self._version, self._version_went_away = chunk.version, False
        self._timings = Timings(
            self._timings.prepare_s,
            self._timings.call_s + chunk.seconds,
            self._timings.decode_s + chunk.decode_s,
        )
        remaining = saved.steps_total - saved.steps_done
        self.done = remaining <= 0
        return Progress(
            saved=saved,
            seconds=self._timings.call_s + self._timings.decode_s,
            seconds_left=self._pace.seconds(remaining, self._pixels),
            partial=None if chunk.picture is None else self._result(saved, chunk.picture, chunk.signature),
        )

    def _changed(self, saved: SavedRun, version: int) -> tuple[str, ...]:
        """A note, where another version went on than the one before."""
        if not saved.state or version == saved.model_version:
            return ()
        left = f"version {saved.model_version} of the model {{}} after {saved.steps_done} steps"
        if self._version_went_away:
            return (left.format("went away") + "; the newest continued",)
        return (left.format("was left") + f"; version {version}, which was asked for, continued",)

    def _result(
        self, saved: SavedRun, picture: Picture, signature: StylizeSignature | ResumableSignature
    ) -> StylizedResult:
        unchanged = unchanged_notes(self._pair, picture.image, saved.controls) if self.done and self._pair else ()
        return StylizedResult(
            image=picture.image,
            png_bytes=picture.encoded,
            losses=saved.losses,
            model_name=saved.model_name,
            model_version=saved.model_version,
            signature=signature,
            parameters=saved.controls.sent(),
            timings=self._timings,
            notes=(*saved.notes, *unchanged),
        )


def _continued(saved: SavedRun, target: Target, controls: Controls, optimizer: Optimizer | None) -> SavedRun:
    """The saved run, with the total number of steps that is asked for now.

    Raises:
        ControlError: A control is not that of the saved run.
        SavedRunError: The saved run has ended without a state.
    """
    if saved.steps_done and not saved.state:
        raise SavedRunError(
            f"the saved run ended after {saved.steps_done} steps without a state, so it cannot be resumed",
            hint="To extend finished runs, paint with --save-state (in Python, final_state=True).",
        )
    its_own: dict[str, object] = {
        **saved.controls.sent(),
        "optimizer": optimizer_of(saved.signature),
        "model_name": saved.model_name,
    }
    asked: dict[str, object] = {**controls.sent(), "model_name": target.model_name}
    if optimizer is not None:
        asked["optimizer"] = optimizer
    asked.pop(contract.STEPS.name, None)
    for name, value in asked.items():
        if its_own.get(name) != value:
            raise ControlError(
                f"{name} is {value}, but the saved run was begun with {its_own.get(name, 'the default of the model')}",
                hint="Leave it out, or begin a new run. Only the steps may be others.",
            )
    if isinstance(controls.steps, Unset):
        return saved
    if controls.steps < saved.steps_done:
        raise ControlError(
            f"steps is {controls.steps}, but the saved run has done {saved.steps_done} already",
            hint="Give the steps of the whole run.",
        )
    return replace(saved, controls=replace(saved.controls, steps=controls.steps))
