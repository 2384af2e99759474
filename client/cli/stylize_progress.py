"""The command `stylize` in chunks: progress bar, intermediate pictures, and what is saved when a run ends early."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import OutputError
from ..images.save import check_output, save_image, save_or_fall_back
from ..inputs.octaves import work_done
from ..report.animation import Animation
from ..transport.settings import DEFAULT_SERVER
from ..transport.signals import Stopped, signal_number, stop_reason
from .picture_options import picture_arguments
from .printing import print_message
from .progress_display import progress_display, progress_facts

if TYPE_CHECKING:
    from ..api.checkpoint import SavedRun
    from ..api.client import StyleClient
    from ..api.progress import Progress
    from ..images.picture import Picture
    from ..inputs.controls import Controls
    from ..inputs.picture_set import PictureSet
    from ..wire.results import StylizedResult


@dataclass(frozen=True, kw_only=True)
class IntermediateOutputs:
    """Files that are written during a run.

    Attributes:
        preview: File with the latest picture.
        frames: Folder with the picture after each chunk, named after the steps.
        gif: File for these pictures as an animation.
        state: File with the latest state of the run.
        partial: Whether a run that ends early saves its picture and state.
    """

    preview: Path | None = None
    frames: Path | None = None
    gif: Path | None = None
    state: Path | None = None
    partial: bool = True
    _animation: Animation = field(default_factory=Animation, init=False, repr=False)
    _failures: list[OutputError] = field(default_factory=list["OutputError"], init=False, repr=False)

    @property
    def named(self) -> Mapping[str, Path]:
        """The files and folders, by their options."""
        given = {"--preview": self.preview, "--frames": self.frames, "--gif": self.gif, "--save-state": self.state}
        return {option: path for option, path in given.items() if path is not None}

    def check(self, picture_bytes: int, state_bytes: int) -> None:
        """Checks that all of them can be written, before minutes of work; makes the folder for the frames.

        Args:
            picture_bytes: Expected size of a picture.
            state_bytes: Expected size of a state.

        Raises:
            OutputError: One of them cannot be written.
        """
        if self.preview is not None:
            check_output(self.preview, needed_bytes=picture_bytes)
        if self.gif is not None:
            check_output(self.gif, extensions=(".gif",), needed_bytes=picture_bytes)
        if self.state is not None:
            check_output(self.state, extensions=None, needed_bytes=state_bytes)
        if self.frames is not None:
            try:
                self.frames.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(f"cannot make the folder {self.frames}: {error.strerror}") from error
            check_output(self._frame(0), needed_bytes=picture_bytes)

    def write(self, progress: Progress) -> None:
        """Writes the files of one chunk; the run continues if one fails, which `finish` returns."""
        if self.state is not None and progress.saved.can_resume:
            self._attempt(progress.saved.save, self.state)
        image = progress.image
        if image is None:
            return
        text = {"Steps": f"{progress.steps_done} of {progress.steps_total}"}
        if self.preview is not None:
            self._attempt(lambda path: save_image(image, path, text=text), self.preview)
        if self.frames is not None:
            self._attempt(lambda path: save_image(image, path, text=text), self._frame(progress.steps_done))
        if self.gif is not None:
            self._animation.add(image)

    def finish(self) -> OutputError | None:
        """Writes the animation; the first error of all files, or None."""
        if self.gif is not None:
            try:
                self._animation.save(self.gif)
            except OutputError as error:
                self._failures.append(error)
        return self._failures[0] if self._failures else None

    def _attempt(self, save: Callable[[Path], object], path: Path) -> None:
        try:
            save(path)
        except OutputError as error:
            if not self._failures:
                print_message(f"Note: {error.message}; the run continues.")
            self._failures.append(error)

    def _frame(self, steps: int) -> Path:
        assert self.frames is not None  # noqa: S101 - callers have checked
        return self.frames / f"{steps:06d}.png"


def stylize_in_chunks(
    client: StyleClient,
    pictures: PictureSet[Picture],
    controls: Controls,
    outputs: IntermediateOutputs,
    output: Path,
    *,
    resume: SavedRun | None,
    chunk_steps: int | None,
    timeout_s: float | None,
    dpi: int | None,
    resume_command: Callable[[Path], str],
    progress: bool,
) -> StylizedResult:
    """Result of a run in chunks, saved as `output`.

    Args:
        client: Client of the server that paints.
        pictures: Pictures of the run.
        controls: Controls of the run.
        outputs: Files to write during the run.
        output: File for the result, or for the picture so far if the run ends early.
        resume: Run to resume.
        chunk_steps: Evaluations of each chunk; None sizes chunks from measurements.
        timeout_s: Deadline of each chunk; by default it grows with the work.
        dpi: Resolution in the file of the result; None writes none.
        resume_command: Makes the command that resumes the run from a file with its state.
        progress: Whether to show progress.

    Raises:
        KeyboardInterrupt: The message says what was saved.
        StyleServeError: The run failed; notes on stderr say what was saved.
    """
    run = client.stylize_iter(
        **pictures.arguments(),
        controls=controls,
        images=True,
        final_state=outputs.state is not None,
        chunk_steps=chunk_steps,
        resume_from=resume,
        timeout_s=timeout_s,
    )
    last: Progress | None = None
    saved = False
    try:
        with progress_display("Painting", shown=progress) as show:
            if resume is not None:
                begun = resume.with_steps(controls.steps)
                show(work_done(begun.octaves, begun.steps_done), progress_facts(begun, None))
            for last in run:
                if last.result is not None:  # first, before the other files
                    saved = True  # perhaps in another folder, which the error names
                    save_or_fall_back(partial(last.result.save, dpi=dpi), output)
                outputs.write(last)
                show(last.fraction, progress_facts(last.saved, last.seconds_left))
    except BaseException as error:
        lines = [] if last is None or saved else list(_save_partial(last, outputs, output, dpi, resume_command))
        if (unwritten := outputs.finish()) is not None and unwritten is not error:
            lines.append(unwritten.message)
        if isinstance(error, KeyboardInterrupt) and last is not None:
            stopped = f"{stop_reason(error)} after {last.steps_done} of {last.steps_total} steps"
            raise Stopped("\n".join([stopped, *lines]), signal_number(error)) from error
        for line in lines:
            print_message(f"Note: {line}")
        raise
    assert last is not None and last.result is not None  # noqa: S101, PT018 - the last chunk brings it
    if (unwritten := outputs.finish()) is not None:
        raise OutputError(unwritten.message, hint=f"The picture itself is saved: {output}")
    return last.result


def _save_partial(
    last: Progress,
    outputs: IntermediateOutputs,
    output: Path,
    dpi: int | None,
    resume_command: Callable[[Path], str],
) -> Iterator[str]:
    """Saves picture and state of a run that ended early; yields a line about each, and the command that resumes it."""
    state = outputs.state
    if outputs.partial:
        if last.partial is not None:
            so_far = f"the picture after {last.steps_done} of {last.steps_total} steps"
            yield _save(so_far, partial(last.partial.save, dpi=dpi), output)[1]
        state, line = _save("the state of the run", last.saved.save, state or output.with_name(f"{output.name}.state"))
        yield line
    if state is not None:
        yield f"Resume with: {resume_command(state)}"


def _save(what: str, save: Callable[[Path], Path], path: Path) -> tuple[Path | None, str]:
    """Path of the file that was saved, here or in another folder, and a line about it."""
    written: list[Path] = []

    def remember(target: Path) -> Path:
        written.append(save(target))
        return written[-1]

    try:
        save_or_fall_back(remember, path)
    except OutputError as error:
        if not written:
            return None, f"{what} could not be saved: {error.message}"
        return written[-1], f"{what} is {written[-1]}, because of: {error.message}"
    return path, f"{what} is {path}"


def command_to_resume(
    client: StyleClient, pictures: PictureSet[Path], output: Path, state: Path, *, dpi: int | None = None
) -> str:
    """Command line that resumes a saved run; it has no secrets and no intermediate files."""
    settings = client.settings
    options = {
        "--dpi": dpi,
        "--server": settings.server if settings.server != DEFAULT_SERVER else None,
        "--model-name": settings.model_name if settings.model_name != type(settings).model_name else None,
        "--ca": settings.ca,
        "--cert": settings.cert,
        "--key": settings.key,
    }
    parts = ["styleserve", "stylize", *picture_arguments(pictures), "-o", str(output), "--resume", str(state)]
    for option, value in options.items():
        parts += [] if value is None else [option, str(value)]
    return shlex.join([*parts, *(["--tls"] if settings.tls else [])])
