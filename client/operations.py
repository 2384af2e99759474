"""What a client can ask for, each written once, for clients that block and for those that await."""

from __future__ import annotations

import time
from typing import Final

from PIL import Image

from . import replies
from .calling import GET_MODEL_METADATA, GET_MODEL_STATUS, PREDICT, Caller, checked_request_id
from .controls import UNSET, Controls, Unset, checked_timeout_s
from .defaults import ADMIN_TIMEOUT_S, default_timeout_s
from .errors import DeadlineExceeded, ModelNotFound, ModelNotReady, Overloaded, ServerUnavailable
from .flow import Flow, Sleep, work
from .protos import GetModelMetadataRequest, GetModelStatusRequest, PredictRequest, PredictResponse
from .report import draw_report
from .requests import Target, describe_request, stylize_request
from .results import Description, Metadata, StylizedResult, Timings, VersionStatus
from .retrying import RetryPolicy
from .signatures import Optimizer, StylizeSignature, choose_signature, refuse_foreign_controls
from .sources import Pair, PictureSource, load_picture

_POLL_S: Final = 0.25
_ONCE: Final = RetryPolicy(tries=1)


class Operations:
    """The operations of one model on one server, as flows.

    Args:
        caller: makes the requests.
        target: the model.
    """

    def __init__(self, caller: Caller, target: Target) -> None:
        self.caller: Final = caller
        self.target: Final = target

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

        def prepare() -> tuple[Pair, PredictRequest]:
            pair = Pair.loaded(content, style)
            return pair, stylize_request(self.target, signature, pair.content, pair.style, controls)

        pair, request = yield from work(prepare)
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
                notes=pair.notes,
            )

        return (yield from self.caller.call(PREDICT, request, read, timeout_s, request_id=request_id))

    def describe(
        self,
        image: PictureSource,
        *,
        size: tuple[int, int] | None = None,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> Flow[Description]:
        """What the network sees in a picture.

        Args:
            image: picture: a path, the bytes of a file, an image of Pillow, an array; see `load_picture`.
            size: width and height to resize it to first, in pixels; if None, a picture with a side over the
                contract's default of `max_side` is made that small.
            timeout_s: for all tries together; `default_timeout_s` of one step if None.
            request_id: goes with each try, and into errors; a random one if None.

        Raises:
            ImageError: the picture cannot be used.
            ServiceError: one of its subclasses says what went wrong.
        """
        picture = yield from work(lambda: load_picture(image))
        if size is None:
            size = picture.size_within(min(Controls().expected_max_side, max(picture.image.size)))
        if timeout_s is None:
            timeout_s = default_timeout_s(size[0] * size[1], steps=1)
        request = yield from work(lambda: describe_request(self.target, picture, size))
        return (
            yield from self.caller.call(
                PREDICT,
                request,
                lambda reply: replies.description(reply, picture.notes),
                timeout_s,
                request_id=request_id,
            )
        )

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
        pair = yield from work(lambda: Pair.loaded(content, style))
        size = result.image.size
        before = yield from self.describe(pair.content, size=size, timeout_s=timeout_s, request_id=request_id)
        after = yield from self.describe(result.png_bytes, size=size, timeout_s=timeout_s, request_id=request_id)
        return (yield from work(lambda: draw_report(pair.content, pair.style, result, before, after)))

    def status(
        self, *, timeout_s: float = ADMIN_TIMEOUT_S, request_id: str | None = None
    ) -> Flow[tuple[VersionStatus, ...]]:
        """The versions of the model that the server has or had, newest first.

        Args:
            timeout_s: for all tries together.
            request_id: goes with each try, and into errors; a random one if None.

        Raises:
            ModelNotFound: it never had the model.
            ServiceError: one of its subclasses says what went wrong.
        """
        return (yield from self._status(timeout_s, request_id))

    def metadata(self, *, timeout_s: float = ADMIN_TIMEOUT_S, request_id: str | None = None) -> Flow[Metadata]:
        """The signatures of the model, with the defaults of their inputs.

        Args:
            timeout_s: for all tries together.
            request_id: goes with each try, and into errors; a random one if None.

        Raises:
            ServiceError: one of its subclasses says what went wrong.
        """
        request = GetModelMetadataRequest(model_spec=self.target.spec(), metadata_field=[replies.SIGNATURE_DEF])
        return (
            yield from self.caller.call(GET_MODEL_METADATA, request, replies.metadata, timeout_s, request_id=request_id)
        )

    def wait_until_ready(self, timeout_s: float = 120.0, *, request_id: str | None = None) -> Flow[VersionStatus]:
        """The newest version that is available, as soon as there is one.

        Args:
            timeout_s: how long to wait.
            request_id: goes with each question; a random one if None.

        Raises:
            ModelNotReady: there was none in time; the message says what was seen last.
            ServiceError: what answers can never become ready.
        """
        request_id = checked_request_id(request_id)
        deadline = time.monotonic() + checked_timeout_s(timeout_s)
        seen = "nothing"
        while (left_s := deadline - time.monotonic()) > 0:
            try:
                found = yield from self._status(min(left_s, ADMIN_TIMEOUT_S), request_id, _ONCE)
            except (ServerUnavailable, ModelNotFound, Overloaded, DeadlineExceeded) as error:
                seen = error.message
            else:
                for status in found:
                    if status.available:
                        return status
                seen = ", ".join(map(str, found)) or "no version"
            yield Sleep(max(0.0, min(_POLL_S, deadline - time.monotonic())))
        raise ModelNotReady(
            f"{self.target.model_name!r} at {self.caller.settings.server} was not available within {timeout_s:g} s; "
            f"last seen: {seen}",
            hint="Is the server running, with that model? See its log.",
            request_id=request_id,
        )

    def _status(
        self, timeout_s: float, request_id: str | None, retry: RetryPolicy | None = None
    ) -> Flow[tuple[VersionStatus, ...]]:
        request = GetModelStatusRequest(model_spec=self.target.spec())
        return (
            yield from self.caller.call(
                GET_MODEL_STATUS, request, replies.versions, timeout_s, request_id=request_id, retry=retry
            )
        )
