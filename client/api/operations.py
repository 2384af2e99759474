"""Operations on one model: runs, descriptions and reports, for both clients."""

from __future__ import annotations

from typing import Final

from PIL import Image

from ..images.picture import Picture
from ..images.source import PictureSource, load_picture
from ..inputs.controls import Controls
from ..inputs.picture_set import PictureSet
from ..inputs.pictures import load_pictures
from ..report.run_report import draw_report
from ..transport.actions import Operation, run_blocking
from ..transport.call import PREDICT, RpcClient, checked_request_id
from ..transport.settings import default_timeout_s
from ..wire import replies
from ..wire.requests import Target, describe_request
from ..wire.results import Description, StylizedResult
from .checkpoint import SavedRun
from .chunk_size import ChunkSizer
from .chunked_run import ChunkedRun
from .model_queries import ModelQueries
from .run_plan import RunOptions


class Operations(ModelQueries):
    """Operations on one model of one server. `StyleClient` documents their arguments and errors."""

    def __init__(self, rpc: RpcClient, target: Target) -> None:
        super().__init__(rpc, target)
        self._sizer: Final = ChunkSizer()

    def run(
        self,
        pictures: PictureSet[PictureSource] | None,
        controls: Controls | None,
        options: RunOptions,
        saved: SavedRun | None = None,
    ) -> ChunkedRun:
        """A new run, or one that resumes `saved`."""
        return ChunkedRun(
            self, sources=pictures, saved=saved, controls=controls or Controls(), options=options, sizer=self._sizer
        )

    def load_picture(
        self, source: PictureSource, *, keep_16_bits: bool, timeout_s: float | None, request_id: str | None
    ) -> Operation[Picture]:
        """Picture of a source, within the limit of the model."""

        def load(max_pixels: int, reduce: bool) -> Picture:
            return load_picture(source, max_pixels=max_pixels, reduce=reduce, keep_16_bits=keep_16_bits)

        return (yield from self.load_within_limit(load, timeout_s, checked_request_id(request_id)))

    def describe(
        self,
        image: PictureSource,
        *,
        size: tuple[int, int] | int | None,
        timeout_s: float | None,
        request_id: str | None,
    ) -> Operation[Description]:
        """Activations of the network for a picture."""
        request_id = checked_request_id(request_id)
        picture = yield from self.load_picture(image, keep_16_bits=False, timeout_s=timeout_s, request_id=request_id)
        if size is None:
            facts = yield from self.facts(timeout_s, request_id)
            size = min(facts.max_side, max(picture.image.size))
        width, height = picture.size_within(size) if isinstance(size, int) else size
        if timeout_s is None:
            timeout_s = default_timeout_s(width * height, steps=1)
        request = yield from run_blocking(lambda: describe_request(self.target, picture, (width, height)))
        return (
            yield from self.rpc.call(
                PREDICT,
                request,
                lambda reply: replies.description(reply, picture.notes),
                timeout_s,
                request_id=request_id,
            )
        )

    def report(
        self,
        sources: PictureSet[PictureSource],
        result: StylizedResult,
        *,
        timeout_s: float | None,
        request_id: str | None,
    ) -> Operation[Image.Image]:
        """One picture of a run: its pictures, its losses, and descriptions of content and result."""
        request_id = checked_request_id(request_id)
        pictures = yield from self.load_within_limit(
            lambda most, reduce: load_pictures(sources, max_pixels=most, reduce=reduce), timeout_s, request_id
        )
        size = result.image.size
        before = yield from self.describe(pictures.content, size=size, timeout_s=timeout_s, request_id=request_id)
        after = yield from self.describe(result.image, size=size, timeout_s=timeout_s, request_id=request_id)
        return (yield from run_blocking(lambda: draw_report(pictures.content, pictures.styles, result, before, after)))
