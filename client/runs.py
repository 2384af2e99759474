"""A painting in chunks: each call goes on from the state that the one before gave back, so the server keeps nothing.

Any replica can take the next chunk, a chunk that failed can be asked for again, and what is there can be looked at, or
saved, between two of them.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from styleserve import contract

from . import replies
from .calling import PREDICT, Caller, checked_request_id
from .controls import Controls, Unset
from .defaults import default_timeout_s
from .errors import ControlError, ModelNotFound, RequestRefused, ServiceError, StateRefused
from .flow import Flow, work
from .images import Picture
from .progress import FIRST_CHUNK, Pace, Progress
from .protos import PredictRequest, PredictResponse
from .questions import Questions
from .requests import Target, resume_request, stylize_request
from .results import Floats, StylizedResult, Timings
from .saved import SavedRun, sha256
from .signatures import Optimizer, choose_resumable_signature, optimizer_of, refuse_foreign_controls
from .sources import Pair, PictureSource


@dataclass(frozen=True, eq=False)
class _Chunk:
    state: bytes
    losses: Floats
    picture: Picture | None
    version: int
    decode_s: float


class Run:
    """A run, chunk by chunk.

    Args:
        caller: makes the requests.
        target: the model as the caller named it. Where a run is gone on with and no version is named, it is that of
            `saved`. The version of the first reply holds for all later ones, unless it goes away.
        pictures: content and style; may be None where `saved` is given.
        saved: to go on with.
        controls: of a new run; of one that is gone on with, its steps alone may differ.
        optimizer: "lbfgs" or "adam"; that of `saved`, or else L-BFGS, if None.
        images: whether each chunk brings the picture.
        chunk_s: how long a chunk is to take, in seconds.
        timeout_s: for each chunk, with all its tries; `default_timeout_s` if None.
        request_id: goes with every call of the run; a random one if None.

    Raises:
        ControlError: a control is out of its range, or not that of the saved run.
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
        chunk_s: float,
        timeout_s: float | None,
        request_id: str | None,
    ) -> None:
        if not 0 < chunk_s < math.inf:
            raise ControlError(f"chunk_s is {chunk_s}; it must be over 0 and finite")
        if saved is None:
            signature = choose_resumable_signature(optimizer)
            refuse_foreign_controls(signature, controls)
        else:
            saved, signature = _continued(saved, target, controls, optimizer), saved.signature
        self._caller: Final = caller
        self._target: Final = target
        self._pictures: Final = pictures
        self._controls: Final = controls
        self._signature: Final = signature
        self._images: Final = images
        self._chunk_s: Final = chunk_s
        self._timeout_s: Final = timeout_s
        self._request_id: Final = checked_request_id(request_id)
        self._pair: Pair | None = None
        self._saved = saved
        self._version = None if saved is None or target.names_version else saved.model_version
        self._version_went_away = False
        self._pace: Pace | None = None
        self._timings = Timings(0.0, 0.0, 0.0)
        self.done = False

    def advance(self) -> Flow[Progress]:
        """Where the run is after one more chunk.

        Raises:
            ImageError: a picture cannot be used.
            SavedRunError: a picture is not that of the saved run.
            StateRefused: the model cannot go on from the run's state.
            ServiceError: one of its subclasses says what else went wrong; what was there before is still good.
        """
        saved = yield from self._begun()
        remaining = saved.steps_total - saved.steps_done
        steps = min(remaining, FIRST_CHUNK if self._pace is None else self._pace.steps_in(self._chunk_s))
        started = time.perf_counter()
        try:
            chunk = yield from self._call(saved, steps, picture=self._images or steps == remaining)
        except ModelNotFound as error:
            if not self._may_leave_version(error):
                raise
            self._version, self._version_went_away = None, True
            return (yield from self.advance())
        except RequestRefused as error:
            if saved.state and "state" in error.server_text.lower():
                message = f"the model does not go on from the state of this run: {error.server_text}"
                raise StateRefused(message, saved=saved, cause=error) from error
            raise
        seconds = time.perf_counter() - started
        return self._progress(saved, chunk, Pace(max(1, steps), seconds))

    def _begun(self) -> Flow[SavedRun]:
        """Where the run is; at first, the pictures are read."""
        if self._pair is None and self._pictures is not None:
            started, pictures = time.perf_counter(), self._pictures
            self._pair = yield from Questions(self._caller, self._target).within_limit(
                lambda max_pixels: Pair.loaded(*pictures, max_pixels=max_pixels), self._timeout_s, self._request_id
            )
            if self._saved is not None:
                self._saved.check_pictures(self._pair)
            self._timings = replace(self._timings, prepare_s=time.perf_counter() - started)
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

    def _call(self, saved: SavedRun, steps: int, *, picture: bool) -> Flow[_Chunk]:
        controls = replace(saved.controls, steps=steps)
        side = controls.expected_max_side
        pixels = side**2 if self._pair is None else self._pair.pixels(side)
        timeout_s = default_timeout_s(pixels, steps) if self._timeout_s is None else self._timeout_s
        outputs = [contract.STATE.name, contract.LOSSES.name, *([contract.PNG_BYTES.name] if picture else [])]

        def prepare() -> PredictRequest:
            target = self._target if self._version is None else self._target.pinned(self._version)
            if saved.state:
                request = resume_request(target, saved.signature, saved.state, controls)
            else:
                assert self._pair is not None  # noqa: S101 - else `_begun` has refused
                request = stylize_request(target, saved.signature, self._pair, controls)
            request.output_filter.extend(outputs)
            return request

        def read(reply: PredictResponse) -> _Chunk:
            answered = time.perf_counter()
            return _Chunk(
                losses=replies.losses(reply, steps, saved.signature, before=saved.steps_done),
                state=replies.state(reply),
                picture=replies.picture(reply, saved.signature) if picture else None,
                version=reply.model_spec.version.value,
                decode_s=time.perf_counter() - answered,
            )

        request = yield from work(prepare)
        return (yield from self._caller.call(PREDICT, request, read, timeout_s, request_id=self._request_id))

    def _may_leave_version(self, error: ServiceError) -> bool:
        """Whether the version went away that the first reply chose, and not one that the caller named."""
        chosen = self._version is not None and self._target.version is None
        return chosen and error.status == "NOT_FOUND" and "specific(" in error.server_text.lower()

    def _progress(self, saved: SavedRun, chunk: _Chunk, pace: Pace) -> Progress:
        saved = self._saved = replace(
            saved,
            state=chunk.state,
            losses=np.concatenate([saved.losses, chunk.losses]),
            model_version=chunk.version,
            notes=(*saved.notes, *self._changed(saved, chunk.version)),
        )
        self._version, self._version_went_away, self._pace = chunk.version, False, pace
        self._timings = Timings(
            self._timings.prepare_s,
            self._timings.call_s + pace.seconds - chunk.decode_s,
            self._timings.decode_s + chunk.decode_s,
        )
        remaining = saved.steps_total - saved.steps_done
        self.done = remaining <= 0
        return Progress(
            saved=saved,
            image=None if chunk.picture is None else chunk.picture.image,
            seconds=self._timings.call_s + self._timings.decode_s,
            seconds_left=remaining * pace.seconds / pace.steps,
            result=self._result(saved, chunk.picture) if self.done and chunk.picture is not None else None,
        )

    def _changed(self, saved: SavedRun, version: int) -> tuple[str, ...]:
        """A note, where another version went on than the one before."""
        if not saved.state or version == saved.model_version:
            return ()
        left = f"version {saved.model_version} of the model {{}} after {saved.steps_done} steps"
        if self._version_went_away:
            return (left.format("went away") + "; the newest went on",)
        return (left.format("was left") + f"; version {version}, which was asked for, went on",)

    def _result(self, saved: SavedRun, picture: Picture) -> StylizedResult:
        return StylizedResult(
            image=picture.image,
            png_bytes=picture.encoded,
            losses=saved.losses,
            model_name=saved.model_name,
            model_version=saved.model_version,
            signature=saved.signature,
            parameters=saved.controls.sent(),
            timings=self._timings,
            notes=saved.notes,
        )


def _continued(saved: SavedRun, target: Target, controls: Controls, optimizer: Optimizer | None) -> SavedRun:
    """The saved run, with as many steps in all as are asked for now.

    Raises:
        ControlError: what is asked for now is not what the run was begun with.
    """
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
