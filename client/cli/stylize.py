"""The command `stylize`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ..errors import ControlError, OutputError
from ..images.save import (
    check_output,
    is_same_file,
    largest_picture_bytes,
    save_image,
    save_or_fall_back,
)
from ..inputs.controls import Controls
from ..inputs.picture_set import PictureSet
from . import printing
from .options import Json, Timeout, loaded
from .picture_options import Content, Reference, ReferenceMask, Region, Start, StyleRegion, Styles, paths
from .stylize_progress import IntermediateOutputs, command_to_resume, stylize_in_chunks

if TYPE_CHECKING:
    from ..api.checkpoint import SavedRun
    from ..api.client import StyleClient
    from ..images.source import PictureSource
    from ..wire.results import StylizedResult

_PANEL: Final = "Intermediate results"
_FRAME: Final = re.compile(r"\d{6,}\.png")


def _intermediate(metavar: str, text: str, **more: Any) -> Any:  # noqa: ANN401 - as Typer types it
    return typer.Option(metavar=metavar, help=text, rich_help_panel=_PANEL, show_default=False, **more)


Output = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="FILE", help="Result: .png, .jpg, .webp, .avif, .tif, .bmp."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]


def stylize(
    client: StyleClient,
    content: Content,
    style: Styles,
    output: Output,
    *,
    region: Region = None,
    style_region: StyleRegion = None,
    start: Start = None,
    reference: Reference = None,
    reference_mask: ReferenceMask = None,
    controls: Controls,
    report: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Also write a report image.", show_default=False)
    ] = None,
    preview: Annotated[Path | None, _intermediate("FILE", "Write the picture so far.")] = None,
    frames: Annotated[Path | None, _intermediate("DIR", "Write the picture of each chunk.")] = None,
    gif: Annotated[Path | None, _intermediate("FILE", "Animate these pictures.")] = None,
    save_state: Annotated[Path | None, _intermediate("FILE", "Write the state for --resume.")] = None,
    resume: Annotated[Path | None, _intermediate("FILE", "Resume from a --save-state file.")] = None,
    chunk_steps: Annotated[int | None, _intermediate("N", "Steps of each chunk.", min=1)] = None,
    keep_partial: Annotated[
        bool,
        typer.Option(help="Save a run that ends early.", rich_help_panel=_PANEL),
    ] = True,
    timeout: Timeout = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Paint CONTENT in the style of one or more STYLE pictures.

    On a terminal, or with an option of "Intermediate results", a run is asked for in chunks.
    """
    outputs = IntermediateOutputs(preview=preview, frames=frames, gif=gif, state=save_state, partial=keep_partial)
    given = paths(content, style, region, style_region, start, reference, reference_mask)
    paint_and_show(
        client,
        given,
        controls,
        output,
        outputs=outputs,
        report=report,
        resume=resume,
        chunk_steps=chunk_steps,
        timeout_s=timeout,
        quiet=quiet,
        as_json=as_json,
    )


def paint_and_show(
    client: StyleClient,
    given: PictureSet[Path],
    controls: Controls,
    output: Path,
    *,
    outputs: IntermediateOutputs | None = None,
    report: Path | None = None,
    resume: Path | None = None,
    chunk_steps: int | None = None,
    timeout_s: float | None,
    quiet: bool,
    as_json: bool,
) -> StylizedResult:
    """Result of a run that was painted, saved and reported as by the command `stylize`.

    Args:
        client: Client of the server that paints.
        given: Paths of the pictures.
        controls: Controls of the run.
        output: File for the result.
        outputs: Files that are written during the run.
        report: File for the report.
        resume: File with the run to resume.
        chunk_steps: Evaluations of each chunk; None sizes chunks from measurements.
        timeout_s: Deadline of each request.
        quiet: Whether to show no progress.
        as_json: Whether to print an object instead of lines.

    Raises:
        StyleServeError: The run failed, or a file cannot be read or written.
    """
    outputs = IntermediateOutputs() if outputs is None else outputs
    written = {"result": output, "report": report, **outputs.named}
    refuse_collisions(written, {**dict(given.items()), "saved run": resume})
    if controls.image_format == "png16" and output.suffix.lower() != ".png":
        raise ControlError(f"bits is 16, but {output} is no .png file", hint="Name a .png file, or leave --bits out.")
    given.check(controls)
    pictures: PictureSet[PictureSource] = given.map(lambda path, _: loaded(path))
    _check_space(outputs, output, report, pictures, controls)
    watched = printing.is_watched(quiet=quiet or as_json)
    if watched or outputs.named or resume is not None or chunk_steps is not None:
        result = stylize_in_chunks(
            client,
            pictures,
            controls,
            outputs,
            output,
            resume=None if resume is None else _saved_run(resume),
            chunk_steps=chunk_steps,
            timeout_s=timeout_s,
            resume_command=lambda state: command_to_resume(client, given, output, state),
            bar=watched,
        )
    else:
        with printing.spinner(f"Painting, on {client.server}", quiet=quiet):
            result = client.stylize(**pictures.arguments(), controls=controls, timeout_s=timeout_s)
        save_or_fall_back(result.save, output)  # first, before the report
    _show(client, pictures, result, output, report, timeout_s=timeout_s, quiet=quiet, as_json=as_json)
    return result


def _show(
    client: StyleClient,
    pictures: PictureSet[PictureSource],
    result: StylizedResult,
    output: Path,
    report: Path | None,
    *,
    timeout_s: float | None,
    quiet: bool,
    as_json: bool,
) -> None:
    for note in result.notes:
        printing.say(f"Note: {note}.")
    if not as_json:
        typer.echo(printing.stylized_line(result, output))
    if report is not None:
        with printing.spinner("Drawing the report", quiet=quiet):
            drawing = client.report(pictures.content, pictures.styles, result, timeout_s=timeout_s)
        save_image(drawing, report, text=result.facts(report.absolute().parent))
    if as_json:
        printing.print_json(printing.stylized_json(result, output, report))
    elif report is not None:
        typer.echo(f"{report}: the report")


def refuse_collisions(outputs: Mapping[str, Path | None], inputs: Mapping[str, Path | None]) -> None:
    """Refuses an output that is an input or another output.

    Raises:
        OutputError: Two names lead to one file. A saved run alone may be written over, by the state that replaces it.
    """
    named = [(name, path) for name, path in {**inputs, **outputs}.items() if path is not None]
    for (name, path), (other, other_path) in combinations(named, 2):
        if other in inputs or (name, other) == ("saved run", "--save-state"):
            continue
        frames = "--frames" in (name, other)
        if not (_is_a_frame(path, other_path, other == "--frames") if frames else is_same_file(path, other_path)):
            continue
        if name in inputs:
            raise OutputError(f"{other_path} is the {name}; the {other} would replace it", hint="Give another name.")
        raise OutputError(f"{path} is named for both the {name} and the {other}", hint="Give them two names.")


def _is_a_frame(one: Path, other: Path, other_is_folder: bool) -> bool:
    """Whether a file has the name of a frame in the folder, or is a frame in it by a link."""
    file, folder = (one, other) if other_is_folder else (other, one)
    if _FRAME.fullmatch(file.name) and is_same_file(file.parent, folder):
        return True
    there = list(folder.iterdir()) if folder.is_dir() else []
    return any(_FRAME.fullmatch(frame.name) and is_same_file(frame, file) for frame in there)


def _check_space(
    outputs: IntermediateOutputs,
    output: Path,
    report: Path | None,
    pictures: PictureSet[PictureSource],
    controls: Controls,
) -> None:
    """Checks that every file can be written, and that its disk has room for it.

    Raises:
        OutputError: One of them cannot be written.
    """
    from ..api.chunk_size import usual_state_bytes  # noqa: PLC0415 - brings NumPy
    from ..images.picture import Picture  # noqa: PLC0415 - brings Pillow

    side, content = controls.expected_max_side, pictures.content
    width, height = content.size_within(side) if isinstance(content, Picture) else (side, side)
    picture_bytes = largest_picture_bytes(width * height, channel_bytes=2 if controls.image_format == "png16" else 1)
    check_output(output, needed_bytes=picture_bytes)
    if report is not None:
        check_output(report)
    state_bytes = usual_state_bytes(
        width * height,
        controls.expected_optimizer,
        regions=pictures.regions,
        has_reference=pictures.reference is not None,
    )
    outputs.check(picture_bytes, state_bytes)


def _saved_run(path: Path) -> SavedRun:
    from ..api.checkpoint import SavedRun  # noqa: PLC0415 - brings NumPy

    return SavedRun.load(path)
