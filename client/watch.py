"""A painting in chunks, for somebody who looks on: a bar, pictures on the way, a state to go on from, Ctrl-C."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import printing
from .animation import Animation
from .errors import ModelNotFound, OutputError, StyleServeError
from .outputs import check_output, save_image

if TYPE_CHECKING:
    from .client import StyleClient
    from .progress import Progress
    from .results import StylizedResult
    from .sources import PictureSource


@dataclass(frozen=True, kw_only=True)
class OnTheWay:
    """What is kept while a picture is painted.

    Attributes:
        preview: file that always holds the picture as it is.
        frames: folder for the picture after each chunk, named after the steps.
        gif: file for these pictures as an animation.
        state: file that always holds the run as it is, to be gone on with.
        partial: whether Ctrl-C leaves the picture so far under the name of the result.
    """

    preview: Path | None = None
    frames: Path | None = None
    gif: Path | None = None
    state: Path | None = None
    partial: bool = True
    _animation: Animation = field(default_factory=Animation, init=False, repr=False)

    @property
    def named(self) -> Mapping[str, Path]:
        """The files and folders, by their options."""
        given = {"--preview": self.preview, "--frames": self.frames, "--gif": self.gif, "--save-state": self.state}
        return {option: path for option, path in given.items() if path is not None}

    @property
    def needs_images(self) -> bool:
        """Whether each chunk has to bring the picture."""
        return bool({"--preview", "--frames", "--gif"} & set(self.named))

    def check(self) -> None:
        """Makes sure that all of it can be written, before minutes of work; makes the folder for the frames.

        Raises:
            OutputError: something cannot.
        """
        if self.preview is not None:
            check_output(self.preview)
        if self.gif is not None:
            check_output(self.gif, extensions=(".gif",))
        if self.state is not None:
            check_output(self.state, extensions=None)
        if self.frames is not None:
            try:
                self.frames.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(f"cannot make the folder {self.frames}: {error.strerror}") from error
            check_output(self._frame(self.frames, 0))

    def keep(self, progress: Progress) -> None:
        """Keeps what one chunk brought.

        Raises:
            OutputError: it cannot be written.
        """
        if self.state is not None:
            progress.saved.save(self.state)
        if progress.image is None:
            return
        text = {"Steps": f"{progress.steps_done} of {progress.steps_total}"}
        if self.preview is not None:
            save_image(progress.image, self.preview, text=text)
        if self.frames is not None:
            save_image(progress.image, self._frame(self.frames, progress.steps_done), text=text)
        if self.gif is not None:
            self._animation.add(progress.image)

    @staticmethod
    def _frame(folder: Path, steps: int) -> Path:
        return folder / f"{steps:06d}.png"

    def finish(self) -> OutputError | None:
        """Writes the animation; returns why it cannot be written, which is not to hide what ended the run."""
        if self.gif is not None:
            try:
                self._animation.save(self.gif)
            except OutputError as error:
                return error
        return None


def painted(
    client: StyleClient,
    pictures: tuple[PictureSource, PictureSource],
    asked: Mapping[str, Any],
    kept: OnTheWay,
    output: Path,
    *,
    resume: Path | None,
    bar: bool,
) -> StylizedResult | None:
    """The result of a run in chunks, which is saved; None where the model has none.

    Args:
        client: paints.
        pictures: content and style.
        asked: more arguments of `StyleClient.stylize_iter`.
        kept: what is wanted on the way.
        output: where the result goes, and the picture so far if Ctrl-C is pressed.
        resume: file of a run to go on with.
        bar: whether to show how far it is.

    Raises:
        KeyboardInterrupt: says what was left of the run.
        StyleServeError: what went wrong.
    """
    from .saved import SavedRun  # noqa: PLC0415

    saved = None if resume is None else SavedRun.load(resume)
    run = client.stylize_iter(*pictures, **asked, images=kept.needs_images, resume_from=saved)
    last = there = failure = None
    try:
        with printing.progress_bar(f"Painting, on {client.server}", shown=bar) as show:
            for last in run:
                if last.result is not None:
                    there = last.result.save(output)  # first: whatever becomes of the rest, the picture is there
                kept.keep(last)
                show(last)
    except KeyboardInterrupt as stop:
        if last is None:
            raise
        raise KeyboardInterrupt(_left(client, last, kept, output)) from stop
    except StyleServeError as error:
        if isinstance(error, ModelNotFound) and last is None and resume is None and "_resumable" in error.server_text:
            return None
        failure = error
    unwritten = kept.finish()
    if failure is not None and unwritten is not None:
        printing.say(f"Note: {unwritten.message}.")
    failure = failure or unwritten
    if failure is not None:
        raise failure if there is None else OutputError(failure.message, hint=f"The picture itself is saved: {there}")
    return None if last is None else last.result


def _left(client: StyleClient, last: Progress, kept: OnTheWay, output: Path) -> str:
    """Leaves the picture so far, and says what was left."""
    text = f"stopped with Ctrl-C after {last.steps_done} of {last.steps_total} steps"
    if kept.partial:
        try:
            if last.result is None:
                (last,) = client.stylize_iter(resume_from=last.saved, steps=last.steps_done)
            assert last.result is not None  # noqa: S101 - not a step is left
            text += f"; the picture so far is {last.result.save(output)}"
        except StyleServeError as error:
            text += f"; the picture so far could not be saved: {error.message}"
    if (unwritten := kept.finish()) is not None:
        text += f"; {unwritten.message}"
    return text + (f"\nGo on with --resume {kept.state}" if kept.state is not None else "")
