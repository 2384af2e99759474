"""The command `stylize`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ControlError
from ..images.save import SIXTEEN_BIT_EXTENSIONS, save_image, save_or_fall_back
from ..inputs.controls import Controls
from ..inputs.picture_set import PictureSet, keeps_16_bits
from .formatting import stylized_json, stylized_line
from .options import Json, Timeout
from .output_checks import check_space, refuse_collisions
from .picture_options import Content, Reference, ReferenceMask, Region, Start, StyleRegion, Styles, paths
from .print_options import Dpi, PrintOptions, Size
from .printing import print_json, print_message
from .progress_display import PANEL, Progress, Quiet, spinner
from .stylize_progress import IntermediateOutputs, command_to_resume, stylize_in_chunks

if TYPE_CHECKING:
    from ..api.checkpoint import SavedRun
    from ..api.client import StyleClient
    from ..images.picture import Picture
    from ..wire.results import StylizedResult


def _intermediate(metavar: str, text: str, **more: Any) -> Any:  # noqa: ANN401 - as Typer types it
    return typer.Option(metavar=metavar, help=text, rich_help_panel=PANEL, show_default=False, **more)


Output = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="FILE", help="Result: .png, .jpg, .webp, .avif, .tif, .bmp."),
]


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
    dpi: Dpi = None,
    size: Size = None,
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
        typer.Option(help="Save a run that ends early.", rich_help_panel=PANEL),
    ] = True,
    timeout: Timeout = None,
    progress: Progress = True,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Paint CONTENT in the style of one or more STYLE pictures."""
    outputs = IntermediateOutputs(preview=preview, frames=frames, gif=gif, state=save_state, partial=keep_partial)
    given = paths(content, style, region, style_region, start, reference, reference_mask)
    run_and_print(
        client,
        given,
        controls,
        output,
        prints=PrintOptions.given(dpi, size, controls),
        outputs=outputs,
        report=report,
        resume=resume,
        chunk_steps=chunk_steps,
        timeout_s=timeout,
        progress=progress and not quiet,
        as_json=as_json,
    )


def run_and_print(
    client: StyleClient,
    given: PictureSet[Path],
    controls: Controls,
    output: Path,
    *,
    prints: PrintOptions,
    outputs: IntermediateOutputs | None = None,
    report: Path | None = None,
    resume: Path | None = None,
    chunk_steps: int | None = None,
    timeout_s: float | None,
    progress: bool,
    as_json: bool,
) -> StylizedResult:
    """Result of a run, painted, saved and printed.

    Args:
        client: Client of the server that paints.
        given: Paths of the pictures.
        controls: Controls of the run.
        output: File for the result.
        prints: Resolution and size of the print.
        outputs: Files that are written during the run.
        report: File for the report.
        resume: File with the run to resume.
        chunk_steps: Evaluations of each chunk; None sizes chunks from measurements.
        timeout_s: Deadline of each request.
        progress: Whether to paint in chunks and show progress; without, and without options that need chunks, each
            octave is one call.
        as_json: Whether to print an object instead of lines.

    Raises:
        StyleServeError: The run failed, or a file cannot be read or written.
    """
    outputs = IntermediateOutputs() if outputs is None else outputs
    written = {"result": output, "report": report, **outputs.named}
    refuse_collisions(written, {**dict(given.items()), "saved run": resume})
    if controls.image_format == "png16" and output.suffix.lower() not in SIXTEEN_BIT_EXTENSIONS:
        raise ControlError(
            f"bits is 16, but {output} cannot hold them",
            hint=f"Name it with one of: {', '.join(SIXTEEN_BIT_EXTENSIONS)}. Or leave --bits out.",
        )
    given.check(controls)
    pictures = given.map(lambda path, role: client.load_picture(path, keep_16_bits=keeps_16_bits(role)))
    controls = prints.sized(controls, pictures.content)
    check_space(outputs, output, report, pictures, controls)
    if progress or outputs.named or resume is not None or chunk_steps is not None:
        result = stylize_in_chunks(
            client,
            pictures,
            controls,
            outputs,
            output,
            resume=None if resume is None else _saved_run(resume),
            chunk_steps=chunk_steps,
            timeout_s=timeout_s,
            dpi=prints.dpi,
            resume_command=lambda state: command_to_resume(client, given, output, state, dpi=prints.dpi),
            progress=progress,
        )
    else:
        result = client.stylize(**pictures.arguments(), controls=controls, timeout_s=timeout_s)
        save_or_fall_back(partial(result.save, dpi=prints.dpi), output)  # first, before the report
    _print_result(client, pictures, result, output, report, timeout_s=timeout_s, progress=progress, as_json=as_json)
    return result


def _print_result(
    client: StyleClient,
    pictures: PictureSet[Picture],
    result: StylizedResult,
    output: Path,
    report: Path | None,
    *,
    timeout_s: float | None,
    progress: bool,
    as_json: bool,
) -> None:
    for note in result.notes:
        print_message(f"Note: {note}.")
    if not as_json:
        typer.echo(stylized_line(result, output))
    if report is not None:
        with spinner("Drawing the report", shown=progress):
            drawing = client.report(pictures.content, pictures.styles, result, timeout_s=timeout_s)
        save_image(drawing, report, text=result.facts(report.absolute().parent))
    if as_json:
        print_json(stylized_json(result, output, report))
    elif report is not None:
        typer.echo(f"{report}: the report")


def _saved_run(path: Path) -> SavedRun:
    from ..api.checkpoint import SavedRun  # noqa: PLC0415 - brings NumPy

    return SavedRun.load(path)
