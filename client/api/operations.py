"""Operations of a client, written once for clients that block and for those that await."""

from __future__ import annotations

from typing import Final

from PIL import Image

from ..errors import ControlError
from ..images.source import PictureSource, load_picture
from ..inputs.controls import Controls
from ..inputs.pictures import Regions, StyleSources, load_pictures, picture_set
from ..report.run_report import draw_report
from ..transport.call import PREDICT, Caller, checked_request_id
from ..transport.defaults import default_timeout_s
from ..transport.effects import Flow, work
from ..wire import replies
from ..wire.requests import Target, describe_request
from ..wire.results import Description, StylizedResult
from .checkpoint import SavedRun
from .chunk_size import Pace
from .chunked_run import Run
from .model_queries import Questions
from .run_plan import RunOptions


class Operations(Questions):
    """The operations of one model on one server, as flows."""

    def __init__(self, caller: Caller, target: Target) -> None:
        super().__init__(caller, target)
        self._pace: Final = Pace()

    def stylize(
        self,
        content: PictureSource,
        styles: StyleSources,
        controls: Controls | None = None,
        *,
        content_regions: Regions = None,
        style_regions: Regions = None,
        start: PictureSource | None = None,
        reference: PictureSource | None = None,
        reference_mask: PictureSource | None = None,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> Flow[StylizedResult]:
        """The content painted in the styles, by one call for each octave.

        A control that is not set takes the model's own default.

        Args:
            content: Picture to paint: a path, the bytes of a file, an image of Pillow, an array; see `load_picture`.
            styles: Painting to follow, or several, in any of these forms.
            controls: Controls of the run, `PRESETS` has some.
            content_regions: Grey masks of where each style applies in the content: one for each style, or one for all.
                None in place of a mask means everywhere. The content stays where no style applies.
            style_regions: Grey masks of the parts of the styles to learn from, likewise.
            start: Picture to start from; the content if None.
            reference: Picture whose pixels the result is pulled towards.
            reference_mask: Grey mask of where the reference counts; everywhere if None.
            timeout_s: Deadline of the run, with all tries; `default_timeout_s` of each octave if None.
            request_id: Sent with each call, and part of errors; a random one if None.

        Raises:
            ControlError: A control is out of its range, or does not suit the pictures or the other controls.
            ImageError: A picture cannot be used.
            ContractMismatch: The model speaks another version of the wire contract.
            ServiceError: One of its subclasses says what else went wrong.
        """
        run = Run(
            self,
            sources=picture_set(
                content,
                styles,
                content_regions=content_regions,
                style_regions=style_regions,
                start=start,
                reference=reference,
                reference_mask=reference_mask,
            ),
            saved=None,
            controls=controls or Controls(),
            options=RunOptions(whole=True, timeout_s=timeout_s, request_id=request_id),
            pace=self._pace,
        )
        return (yield from run.finish())

    def stylize_iter(
        self,
        content: PictureSource | None = None,
        styles: StyleSources | None = None,
        controls: Controls | None = None,
        *,
        content_regions: Regions = None,
        style_regions: Regions = None,
        start: PictureSource | None = None,
        reference: PictureSource | None = None,
        reference_mask: PictureSource | None = None,
        images: bool = False,
        final_state: bool = False,
        chunk_s: float = 2.0,
        chunk_steps: int | None = None,
        resume_from: SavedRun | None = None,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> Run:
        """Progress of painting the content in the styles, chunk by chunk; the last one has the result.

        The server keeps nothing, so an iteration may be left at any time, and its last `saved` resumed. All of a run is
        done by the version of the model that began it, unless that goes away; then the newest version continues, and
        the notes of the run say so.

        Chunks are sized from measurements of this server: each takes `chunk_s` or longer, so that moving the state
        stays below a tenth of the run. Over a slow link a short run is one chunk for each octave.

        Args:
            content: Picture to paint, in any form that `stylize` takes.
            styles: Painting or paintings, likewise.
            controls: Controls of the run. Steps count those before `resume_from`.
            content_regions: As for `stylize`, and so are all pictures.
            style_regions: Likewise.
            start: Likewise.
            reference: Likewise.
            reference_mask: Likewise.
            images: Whether each chunk brings the picture; the last one always does.
            final_state: Whether the finished run can be extended. Without, an octave in one chunk is a plain call,
                which brings no state.
            chunk_s: Shortest time between two chunks, in seconds; the first may be shorter.
            chunk_steps: Evaluations of each chunk; None sizes the chunks from measurements.
            resume_from: Run to resume, with the version that began it unless the client names another. Controls may be
                left out then, and in its last octave pictures, too; those given must be the ones of the run.
            timeout_s: Deadline of each chunk, with all its tries; `default_timeout_s` if None.
            request_id: Sent with each call, and part of errors; a random one if None.

        Raises:
            ControlError: A control is out of its range, does not suit the pictures, or is not that of the saved run.
            ImageError: A picture cannot be used.
            SavedRunError: A picture is missing or not that of the saved run, or the run ended without a state.
            StateRefused: The model does not accept the state of the saved run, which the error holds.
            ContractMismatch: The model speaks another version of the wire contract.
            ServiceError: One of its subclasses says what else went wrong; `saved` of the chunk before is still good.
        """
        if (content is None) != (styles is None):
            raise ControlError(
                f"the {'content' if content is None else 'style'} is missing",
                hint="Give content and style, or neither and a saved run.",
            )
        further = (content_regions, style_regions, start, reference, reference_mask)
        if content is None and any(each is not None for each in further):
            raise ControlError("masks or pictures are given without the content", hint="Give all pictures, or none.")
        sources = None
        if content is not None and styles is not None:
            sources = picture_set(
                content,
                styles,
                content_regions=content_regions,
                style_regions=style_regions,
                start=start,
                reference=reference,
                reference_mask=reference_mask,
            )
        return Run(
            self,
            sources=sources,
            saved=resume_from,
            controls=controls or Controls(),
            options=RunOptions(
                images=images,
                final_state=final_state,
                chunk_s=chunk_s,
                chunk_steps=chunk_steps,
                timeout_s=timeout_s,
                request_id=request_id,
            ),
            pace=self._pace,
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
            facts = yield from self.facts(timeout_s, request_id)
            size = min(facts.max_side, max(picture.image.size))
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

    def report(
        self,
        content: PictureSource,
        styles: StyleSources,
        result: StylizedResult,
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> Flow[Image.Image]:
        """One picture that shows a run: its pictures, its losses, and what `describe` returns before and after.

        Args:
            content: Picture that was painted.
            styles: Painting or paintings that were followed.
            result: Result of the run.
            timeout_s: Deadline of each of the two requests; `default_timeout_s` of one step if None.
            request_id: Sent with both requests, and part of errors; a random one if None.

        Raises:
            ImageError: A picture cannot be used.
            ServiceError: One of its subclasses says what went wrong.
        """
        request_id = checked_request_id(request_id)
        sources = picture_set(content, styles)
        pictures = yield from self.within_limit(
            lambda max_pixels: load_pictures(sources, max_pixels=max_pixels), timeout_s, request_id
        )
        size = result.image.size
        before = yield from self.describe(pictures.content, size=size, timeout_s=timeout_s, request_id=request_id)
        after = yield from self.describe(result.image, size=size, timeout_s=timeout_s, request_id=request_id)
        return (yield from work(lambda: draw_report(pictures.content, pictures.styles, result, before, after)))
