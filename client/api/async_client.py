"""The client for event loops: the operations of the blocking client, with the same arguments."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from types import TracebackType

from PIL import Image

from ..images.picture import Picture
from ..images.source import PictureSource
from ..inputs.controls import Controls
from ..inputs.pictures import Regions, StyleSources, picture_set
from ..transport.drivers import AsyncConnection
from ..transport.settings import ADMIN_TIMEOUT_S
from ..wire.results import Description, Metadata, StylizedResult, VersionStatus
from .checkpoint import SavedRun
from .chunked_run import ChunkedRun
from .client_base import ClientBase
from .progress import Progress
from .run_plan import RunOptions, pictures_of_run


class AsyncStyleClient(ClientBase[AsyncConnection]):
    """Client of one model on one server for event loops: one, or several, one after another or at once.

    `StyleClient` documents the arguments and errors of each method. A task that is cancelled cancels its call on the
    server.

    Close it after its last call, or use it as a context manager::

        async with AsyncStyleClient("127.0.0.1:8500") as client:
            (await client.stylize("photo.jpg", "painting.jpg")).save("result.png")
    """

    async def __aenter__(self) -> AsyncStyleClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection, which cancels its calls."""
        await self._connection.close()

    def _connect(self) -> AsyncConnection:
        return AsyncConnection(self.settings)

    async def stylize(
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
    ) -> StylizedResult:
        """Result of `StyleClient.stylize`."""
        pictures = picture_set(
            content,
            styles,
            content_regions=content_regions,
            style_regions=style_regions,
            start=start,
            reference=reference,
            reference_mask=reference_mask,
        )
        options = RunOptions(whole=True, timeout_s=timeout_s, request_id=request_id)
        return await self._connection.run(self._operations.run(pictures, controls, options).finish())

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
    ) -> AsyncGenerator[Progress]:
        """Progress as from `StyleClient.stylize_iter`."""
        pictures = pictures_of_run(
            content,
            styles,
            content_regions=content_regions,
            style_regions=style_regions,
            start=start,
            reference=reference,
            reference_mask=reference_mask,
        )
        options = RunOptions(
            images=images,
            final_state=final_state,
            chunk_s=chunk_s,
            chunk_steps=chunk_steps,
            timeout_s=timeout_s,
            request_id=request_id,
        )
        return self._chunks(self._operations.run(pictures, controls, options, resume_from))

    async def _chunks(self, run: ChunkedRun) -> AsyncGenerator[Progress]:
        while not run.done:
            yield await self._connection.run(run.advance())

    async def describe(
        self,
        image: PictureSource,
        *,
        size: tuple[int, int] | int | None = None,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> Description:
        """Result of `StyleClient.describe`."""
        operation = self._operations.describe(image, size=size, timeout_s=timeout_s, request_id=request_id)
        return await self._connection.run(operation)

    async def report(
        self,
        content: PictureSource,
        styles: StyleSources,
        result: StylizedResult,
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> Image.Image:
        """Result of `StyleClient.report`."""
        pictures = picture_set(content, styles)
        operation = self._operations.report(pictures, result, timeout_s=timeout_s, request_id=request_id)
        return await self._connection.run(operation)

    async def load_picture(
        self,
        source: PictureSource,
        *,
        keep_16_bits: bool = False,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> Picture:
        """Result of `StyleClient.load_picture`."""
        operation = self._operations.load_picture(
            source, keep_16_bits=keep_16_bits, timeout_s=timeout_s, request_id=request_id
        )
        return await self._connection.run(operation)

    async def status(
        self, *, timeout_s: float = ADMIN_TIMEOUT_S, request_id: str | None = None
    ) -> tuple[VersionStatus, ...]:
        """Result of `StyleClient.status`."""
        return await self._connection.run(self._operations.status(timeout_s, request_id))

    async def metadata(self, *, timeout_s: float = ADMIN_TIMEOUT_S, request_id: str | None = None) -> Metadata:
        """Result of `StyleClient.metadata`."""
        return await self._connection.run(self._operations.metadata(timeout_s, request_id))

    async def wait_until_ready(self, timeout_s: float = 120.0, *, request_id: str | None = None) -> VersionStatus:
        """Result of `StyleClient.wait_until_ready`."""
        return await self._connection.run(self._operations.wait_until_ready(timeout_s, request_id))
