"""The blocking client. `Operations` does the work, for both clients."""

from __future__ import annotations

from collections.abc import Generator
from types import TracebackType

from PIL import Image

from ..images.picture import Picture
from ..images.source import PictureSource
from ..inputs.controls import Controls
from ..inputs.pictures import Regions, StyleSources, picture_set
from ..transport.drivers import Connection
from ..transport.settings import ADMIN_TIMEOUT_S
from ..wire.results import Description, Metadata, StylizedResult, VersionStatus
from .checkpoint import SavedRun
from .chunked_run import ChunkedRun
from .client_base import ClientBase
from .progress import Progress
from .run_plan import RunOptions, pictures_of_run


class StyleClient(ClientBase[Connection]):
    """Client of one model on one server, whose calls block; safe to use from several threads.

    Close it after its last call, or use it as a context manager::

        with StyleClient("127.0.0.1:8500") as client:
            client.stylize("photo.jpg", "painting.jpg").save("result.png")
    """

    def __enter__(self) -> StyleClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection, which cancels its calls."""
        self._connection.close()

    def _connect(self) -> Connection:
        return Connection(self.settings)

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
    ) -> StylizedResult:
        """The content painted in the styles, by one call for each octave.

        A control that is not set takes the model's own default.

        Args:
            content: Picture to paint: a path, the bytes of a file, an image of Pillow, an array; see `load_picture`.
            styles: Painting to follow, or several, in any of these forms.
            controls: Controls of the run; `PRESETS` has some.
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
        return self._connection.run(self._operations.run(pictures, controls, options).finish())

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
    ) -> Generator[Progress]:
        """Progress of painting the content in the styles, chunk by chunk; the last one has the result.

        The server keeps nothing, so the iteration may end at any time, and its last `saved` can be resumed. The version
        of the model that began a run does all of it. If that version goes away, the newest one continues, and a note of
        the run says so.

        Chunks are sized from measurements of this server: each takes `chunk_s` or longer, so that moving the state
        stays below a tenth of the run. Over a slow link a short run is one chunk for each octave.

        Args:
            content: Picture to paint, in any form that `stylize` takes.
            styles: Painting or paintings, likewise.
            controls: Controls of the run. Steps count those before `resume_from`.
            content_regions: As for `stylize`, like all further pictures.
            style_regions: Likewise.
            start: Likewise.
            reference: Likewise.
            reference_mask: Likewise.
            images: Whether each chunk brings the picture; the last one always does.
            final_state: Whether the finished run can be extended. Without it, an octave in one chunk is a plain call,
                which brings no state.
            chunk_s: Shortest time between two chunks, in seconds; the first may be shorter.
            chunk_steps: Evaluations of each chunk; None sizes the chunks from measurements.
            resume_from: Run to resume, with the version that began it unless the client names another. Controls may be
                left out then, and pictures in its last octave; those given must be the ones of the run.
            timeout_s: Deadline of each chunk, with all its tries; `default_timeout_s` if None.
            request_id: Sent with each call, and part of errors; a random one if None.

        Raises:
            ControlError: A control is out of its range, does not suit the pictures, or is not that of the saved run.
            ImageError: A picture cannot be used.
            SavedRunError: A picture is missing or not that of the saved run, or the run ended without a state.
            StateRefused: The model does not accept the state of the run.
            ContractMismatch: The model speaks another version of the wire contract.
            ServiceError: One of its subclasses says what else went wrong; `saved` of the chunk before can be resumed.
        """
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

    def _chunks(self, run: ChunkedRun) -> Generator[Progress]:
        while not run.done:
            yield self._connection.run(run.advance())

    def describe(
        self,
        image: PictureSource,
        *,
        size: tuple[int, int] | int | None = None,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> Description:
        """Activations of the network for a picture, and differences of neighbouring pixels.

        Args:
            image: Picture: a path, the bytes of a file, an image of Pillow, an array; see `load_picture`.
            size: Width and height to resize it to first, or its longest side alone, in pixels. None limits the longest
                side to the model's default `max_side`.
            timeout_s: Deadline of all tries together; `default_timeout_s` of one step if None.
            request_id: Sent with each try, and part of errors; a random one if None.

        Raises:
            ImageError: The picture cannot be used.
            ServiceError: One of its subclasses says what went wrong.
        """
        operation = self._operations.describe(image, size=size, timeout_s=timeout_s, request_id=request_id)
        return self._connection.run(operation)

    def report(
        self,
        content: PictureSource,
        styles: StyleSources,
        result: StylizedResult,
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> Image.Image:
        """One picture of a run: its pictures, its losses, and the descriptions of content and result.

        Args:
            content: Content of the run.
            styles: Style or styles of the run.
            result: Result of the run.
            timeout_s: Deadline of each of the two requests; `default_timeout_s` of one step if None.
            request_id: Sent with both requests, and part of errors; a random one if None.

        Raises:
            ImageError: A picture cannot be used.
            ServiceError: One of its subclasses says what went wrong.
        """
        pictures = picture_set(content, styles)
        operation = self._operations.report(pictures, result, timeout_s=timeout_s, request_id=request_id)
        return self._connection.run(operation)

    def load_picture(
        self,
        source: PictureSource,
        *,
        keep_16_bits: bool = False,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> Picture:
        """Picture of a source, reduced to the most pixels that the model accepts.

        The other methods load their pictures likewise. The model is asked only about pictures over the default limit.

        Args:
            source: Picture: a path, the bytes of a file, an image of Pillow, an array; see `load_picture`.
            keep_16_bits: Whether the picture is sent with 16 bits a channel if its file has more than 8.
            timeout_s: Deadline of the query, with all tries; `default_timeout_s` of no work if None.
            request_id: Sent with the query, and part of errors; a random one if None.

        Raises:
            ImageError: The picture cannot be used.
            ServiceError: The query failed; one of its subclasses says why.
        """
        operation = self._operations.load_picture(
            source, keep_16_bits=keep_16_bits, timeout_s=timeout_s, request_id=request_id
        )
        return self._connection.run(operation)

    def status(self, *, timeout_s: float = ADMIN_TIMEOUT_S, request_id: str | None = None) -> tuple[VersionStatus, ...]:
        """Versions of the model that the server has or had, newest first.

        Args:
            timeout_s: Deadline of all tries together.
            request_id: Sent with each try, and part of errors; a random one if None.

        Raises:
            ModelNotFound: The server never had the model.
            ServiceError: One of its subclasses says what went wrong.
        """
        return self._connection.run(self._operations.status(timeout_s, request_id))

    def metadata(self, *, timeout_s: float = ADMIN_TIMEOUT_S, request_id: str | None = None) -> Metadata:
        """Signatures of the model, with the defaults of their inputs, and its limits.

        Args:
            timeout_s: Deadline of all tries together.
            request_id: Sent with each try, and part of errors; a random one if None.

        Raises:
            ServiceError: One of its subclasses says what went wrong.
        """
        return self._connection.run(self._operations.metadata(timeout_s, request_id))

    def wait_until_ready(self, timeout_s: float = 120.0, *, request_id: str | None = None) -> VersionStatus:
        """Newest version that is available, as soon as there is one.

        Args:
            timeout_s: Longest time to wait.
            request_id: Sent with each request; a random one if None.

        Raises:
            ModelNotReady: No version was available in time; the message has the last status.
            ServiceError: The server can never become ready.
        """
        return self._connection.run(self._operations.wait_until_ready(timeout_s, request_id))
