"""What a client can do with pictures, written once for clients that block and for those that await."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final

from PIL import Image

from styleserve import contract

from . import replies
from .calling import PREDICT, Caller, checked_request_id
from .comparison import unchanged_notes
from .controls import UNSET, Controls, Unset
from .defaults import ADMIN_TIMEOUT_S, default_timeout_s
from .errors import ControlError
from .flow import Flow, work
from .pace import Pace
from .protos import PredictRequest, PredictResponse
from .questions import Questions
from .report import draw_report
from .requests import Target, describe_request, stylize_request
from .results import Description, StylizedResult, Timings
from .runs import Run
from .saved import SavedRun
from .signatures import Optimizer, StylizeSignature, choose_signature, refuse_foreign_controls, sends_files
from .sources import Pair, PictureSource, load_picture


class Operations(Questions):
    """The operations of one model on one server, as flows."""

    def __init__(self, caller: Caller, target: Target) -> None:
        super().__init__(caller, target)
        self._pace: Final = Pace()

    def stylize(
        self,
        content: PictureSource,
        style: PictureSource,
        *,
        content_weight: float | Unset = UNSET,
        style_weight: float | Unset = UNSET,
        total_variation_weight: float | Unset = UNSET,
        steps: int | Unset = UNSET,
        learning_rate: float | Unset = UNSET,
        max_side: int | Unset = UNSET,
        optimizer: Optimizer | None = None,
        signature: StylizeSignature | None = None,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> Flow[StylizedResult]:
        """The content painted in the style.

        A control that is not given is not sent, so that the model's own default holds.

        Args:
            content: picture: a path, the bytes of a file, an image of Pillow, an array; see `load_picture`.
            style: painting, in any of these forms.
            content_weight: how much the content counts.
            style_weight: how much the style counts.
            total_variation_weight: how much smoothness counts.
            steps: of the optimisation, each an evaluation of the network; 0 returns the content.
            learning_rate: of Adam; L-BFGS has none.
            max_side: longest side that both pictures are resized to, in pixels.
            optimizer: "lbfgs" or "adam"; if None, the one of `signature`, or else L-BFGS.
            signature: to call in place of the optimiser's own that takes files, "stylize_lbfgs_encoded" or
                "stylize_encoded": for "stylize_lbfgs" and "serving_default" pictures are resized here and sent as
                numbers.
            timeout_s: for all tries together; `default_timeout_s` if None.
            request_id: goes with each try, and into errors; a random one if None.

        Raises:
            ControlError: a control is out of its range, or the optimiser has no such control.
            ImageError: a picture cannot be used.
            ServiceError: one of its subclasses says what went wrong.
        """
        started = time.perf_counter()
        controls = Controls(
            content_weight=content_weight,
            style_weight=style_weight,
            total_variation_weight=total_variation_weight,
            steps=steps,
            learning_rate=learning_rate,
            max_side=max_side,
        )
        signature = choose_signature(optimizer, signature)
        refuse_foreign_controls(signature, controls)
        request_id = checked_request_id(request_id)
        if isinstance(max_side, Unset) and not sends_files(signature):  # resized here, so the model cannot choose
            controls = replace(controls, max_side=(yield from self._own_max_side(timeout_s, request_id)))

        def prepare(max_pixels: int) -> tuple[Pair, PredictRequest]:
            pair = Pair.loaded(content, style, max_pixels=max_pixels)
            return pair, stylize_request(self.target, signature, pair, controls)

        pair, request = yield from self.within_limit(prepare, timeout_s, request_id)
        if timeout_s is None:
            timeout_s = default_timeout_s(pair.pixels(controls.expected_max_side), controls.expected_steps)
        prepared = time.perf_counter()

        def read(reply: PredictResponse) -> StylizedResult:
            answered = time.perf_counter()
            losses = replies.losses(reply, None if isinstance(steps, Unset) else steps, signature)
            result = replies.picture(reply, signature)
            return StylizedResult(
                image=result.image,
                png_bytes=result.encoded,
                losses=losses,
                model_name=self.target.model_name,
                model_version=reply.model_spec.version.value,
                signature=signature,
                parameters=controls.sent(),
                timings=Timings(prepared - started, answered - prepared, time.perf_counter() - answered),
                notes=(*pair.notes, *unchanged_notes(pair, result.image, controls)),
            )

        return (yield from self.caller.call(PREDICT, request, read, timeout_s, request_id=request_id))

    def stylize_iter(
        self,
        content: PictureSource | None = None,
        style: PictureSource | None = None,
        *,
        content_weight: float | Unset = UNSET,
        style_weight: float | Unset = UNSET,
        total_variation_weight: float | Unset = UNSET,
        steps: int | Unset = UNSET,
        learning_rate: float | Unset = UNSET,
        max_side: int | Unset = UNSET,
        optimizer: Optimizer | None = None,
        images: bool = False,
        final_state: bool = False,
        chunk_s: float = 2.0,
        chunk_steps: int | None = None,
        resume_from: SavedRun | None = None,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> Run:
        """Progress of painting the content in the style, chunk by chunk; the last one has the result.

        The server keeps nothing, so an iteration may be left at any time, and its last `saved` resumed. All of a run is
        done by the version of the model that began it, unless that goes away; then the newest version continues, and
        the notes of the run say so.

        Chunks are sized from measurements of this server: each takes `chunk_s` or longer, so that moving the state
        stays below a tenth of the run. Over a slow link a short run is one chunk.

        Args:
            content: Picture, in any form that `stylize` takes.
            style: Painting, likewise.
            content_weight: As for `stylize`, and so are all controls.
            style_weight: Likewise.
            total_variation_weight: Likewise.
            steps: Evaluations of the whole run, those before `resume_from` included.
            learning_rate: Likewise.
            max_side: Likewise.
            optimizer: "lbfgs" or "adam"; if None, that of `resume_from`, or else L-BFGS.
            images: Whether each chunk brings the picture; the last one always does.
            final_state: Whether the finished run can be extended. Without, a run in one chunk is a plain call, which
                brings no state.
            chunk_s: Shortest time between two chunks, in seconds; the first may be shorter.
            chunk_steps: Evaluations of each chunk; None sizes the chunks from measurements.
            resume_from: Run to resume, with the version that began it unless the client names another. Pictures and
                controls may be left out then; those given must be the ones of the run.
            timeout_s: For each chunk, with all its tries; `default_timeout_s` if None.
            request_id: Sent with each call, and part of errors; a random one if None.

        Raises:
            ControlError: A control is out of its range, or is not that of the saved run.
            ImageError: A picture cannot be used.
            SavedRunError: A picture is not that of the saved run, or the run ended without a state.
            StateRefused: The model does not accept the state of the saved run, which the error holds.
            ServiceError: One of its subclasses says what else went wrong; `saved` of the chunk before is still good.
        """
        if (content is None) != (style is None):
            raise ControlError("one picture is given", hint="Give content and style, or neither and a saved run.")
        return Run(
            self.caller,
            self.target,
            pictures=None if content is None or style is None else (content, style),
            saved=resume_from,
            controls=Controls(
                content_weight=content_weight,
                style_weight=style_weight,
                total_variation_weight=total_variation_weight,
                steps=steps,
                learning_rate=learning_rate,
                max_side=max_side,
            ),
            optimizer=optimizer,
            images=images,
            final_state=final_state,
            chunk_s=chunk_s,
            chunk_steps=chunk_steps,
            pace=self._pace,
            timeout_s=timeout_s,
            request_id=request_id,
        )

    def describe(
        self,
        image: PictureSource,
        *,
        size: tuple[int, int] | int | None = None,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> Flow[Description]:
        """What the network sees in a picture.

        Args:
            image: picture: a path, the bytes of a file, an image of Pillow, an array; see `load_picture`.
            size: width and height to resize it to first, or its longest side alone, in pixels; if None, a picture that
                is larger than what the model makes of one by itself is made that small.
            timeout_s: for all tries together; `default_timeout_s` of one step if None.
            request_id: goes with each try, and into errors; a random one if None.

        Raises:
            ImageError: the picture cannot be used.
            ServiceError: one of its subclasses says what went wrong.
        """
        request_id = checked_request_id(request_id)
        picture = yield from self.within_limit(
            lambda max_pixels: load_picture(image, max_pixels=max_pixels), timeout_s, request_id
        )
        if size is None:
            most = yield from self._own_max_side(timeout_s, request_id)
            size = min(most, max(picture.image.size))
        width, height = picture.size_within(size) if isinstance(size, int) else size
        if timeout_s is None:
            timeout_s = default_timeout_s(width * height, steps=1)
        request = yield from work(lambda: describe_request(self.target, picture, (width, height)))
        return (
            yield from self.caller.call(
                PREDICT,
                request,
                lambda reply: replies.description(reply, picture.notes),
                timeout_s,
                request_id=request_id,
            )
        )

    def _own_max_side(self, timeout_s: float | None, request_id: str) -> Flow[int]:
        """The longest side that the model resizes files to unless told otherwise."""
        most = Controls().expected_max_side
        timeout_s = ADMIN_TIMEOUT_S if timeout_s is None else min(timeout_s, ADMIN_TIMEOUT_S)
        found = yield from self._signatures(timeout_s, request_id)
        declared = [
            int(field.default)
            for signature in found.signatures
            for field in signature.inputs
            if field.name == contract.MAX_SIDE.name and field.default
        ]
        return min([most, *declared])

    def report(
        self,
        content: PictureSource,
        style: PictureSource,
        result: StylizedResult,
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> Flow[Image.Image]:
        """One picture that shows a run: its pictures, its losses, and what `describe` tells of before and after.

        Args:
            content: that was painted.
            style: that was followed.
            result: of the run.
            timeout_s: for each of the two requests; `default_timeout_s` of one step if None.
            request_id: goes with both requests, and into errors; a random one if None.

        Raises:
            ImageError: a picture cannot be used.
            ServiceError: one of its subclasses says what went wrong.
        """
        request_id = checked_request_id(request_id)
        pair = yield from self.within_limit(
            lambda max_pixels: Pair.loaded(content, style, max_pixels=max_pixels), timeout_s, request_id
        )
        size = result.image.size
        before = yield from self.describe(pair.content, size=size, timeout_s=timeout_s, request_id=request_id)
        after = yield from self.describe(result.png_bytes, size=size, timeout_s=timeout_s, request_id=request_id)
        return (yield from work(lambda: draw_report(pair.content, pair.style, result, before, after)))
