"""The command `stylize`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from styleserve import contract

from . import printing
from .controls import Controls
from .errors import ControlError, OutputError
from .intermediate import IntermediateOutputs, stylize_in_chunks
from .options import (
    ContentWeight,
    Json,
    MaxSide,
    OptimizerName,
    Steps,
    StyleWeight,
    Timeout,
    TvWeight,
    control,
    loaded,
    or_unset,
)
from .outputs import (
    EXTENSIONS,
    check_output,
    is_same_file,
    largest_picture_bytes,
    save_image,
    save_or_fall_back,
)
from .signatures import DEFAULT_OPTIMIZER, Optimizer

if TYPE_CHECKING:
    from .client import StyleClient
    from .images import Picture
    from .saved import SavedRun


class _Signature(str, Enum):
    STYLIZE_LBFGS_ENCODED = contract.STYLIZE_LBFGS_ENCODED
    STYLIZE_LBFGS = contract.STYLIZE_LBFGS
    STYLIZE_ENCODED = contract.STYLIZE_ENCODED
    SERVING_DEFAULT = contract.SERVING_DEFAULT


_PANEL: Final = "Intermediate results"
_FRAME: Final = re.compile(r"\d{6,}\.png")


def _intermediate(metavar: str, text: str, **more: Any) -> Any:  # noqa: ANN401 - as Typer types it
    return typer.Option(metavar=metavar, help=text, rich_help_panel=_PANEL, show_default=False, **more)


def stylize(
    client: StyleClient,
    content: Annotated[Path, typer.Argument(help="The picture to paint.", show_default=False)],
    style: Annotated[Path, typer.Argument(help="The painting to follow.", show_default=False)],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help=f"Where to save the result: {', '.join(EXTENSIONS)}.", show_default=False),
    ],
    *,
    optimizer: Annotated[
        OptimizerName | None,
        typer.Option(
            help="L-BFGS comes to the same loss in fewer steps; Adam is the tutorial's.", show_default=DEFAULT_OPTIMIZER
        ),
    ] = None,
    steps: Steps = None,
    content_weight: ContentWeight = None,
    style_weight: StyleWeight = None,
    tv_weight: TvWeight = None,
    learning_rate: Annotated[
        float | None, control("--learning-rate", contract.LEARNING_RATE, " Needs --optimizer adam.")
    ] = None,
    max_side: MaxSide = None,
    timeout: Timeout = None,
    signature: Annotated[
        _Signature | None,
        typer.Option(
            help="Call this signature of the model, in place of the optimiser's own that takes files: "
            f"{contract.STYLIZE_LBFGS} and {contract.SERVING_DEFAULT} (Adam) take numbers, resized here.",
            show_default=False,
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Also write a report image to this path.", show_default=False)
    ] = None,
    preview: Annotated[Path | None, _intermediate("FILE", "Write the picture so far to this path.")] = None,
    frames: Annotated[Path | None, _intermediate("DIR", "Write the picture after each chunk to this folder.")] = None,
    gif: Annotated[Path | None, _intermediate("FILE", "Write an animation of these pictures.")] = None,
    save_state: Annotated[Path | None, _intermediate("FILE", "Write the state of the run, for --resume.")] = None,
    resume: Annotated[
        Path | None, _intermediate("FILE", "Resume from a --save-state file (same CONTENT and STYLE).")
    ] = None,
    chunk_steps: Annotated[
        int | None, _intermediate("N", "Steps of each chunk; by default sized so that chunks cost little.", min=1)
    ] = None,
    keep_partial: Annotated[
        bool,
        typer.Option(help="Save picture and state of a run that fails or is stopped.", rich_help_panel=_PANEL),
    ] = True,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    as_json: Json = False,
) -> None:
    """Paint CONTENT in the style of STYLE.

    On a terminal, or with an option of "Intermediate results", a run is asked for in chunks.
    """
    outputs = IntermediateOutputs(preview=preview, frames=frames, gif=gif, state=save_state, partial=keep_partial)
    written = {"result": output, "report": report, **outputs.named}
    _refuse_collisions(written, {"content": content, "style": style, "saved run": resume})
    if signature is not None and (outputs.named or resume is not None or chunk_steps is not None):
        raise ControlError(
            f"the signature {signature.value} is one call, without intermediate results",
            hint="Leave out --signature, or those options; --optimizer may be named.",
        )
    pictures = loaded(content), loaded(style)
    options: dict[str, Any] = {
        "content_weight": or_unset(content_weight),
        "style_weight": or_unset(style_weight),
        "total_variation_weight": or_unset(tv_weight),
        "steps": or_unset(steps),
        "learning_rate": or_unset(learning_rate),
        "max_side": or_unset(max_side),
        "optimizer": None if optimizer is None else optimizer.value,
        "timeout_s": timeout,
    }
    _check_space(outputs, output, report, pictures[0], max_side, options["optimizer"] or DEFAULT_OPTIMIZER)
    watched = printing.is_watched(quiet=quiet or as_json)
    result = None
    if signature is None and (watched or outputs.named or resume is not None or chunk_steps is not None):
        result = stylize_in_chunks(
            client,
            pictures,
            {**options, "chunk_steps": chunk_steps},
            outputs,
            output,
            resume=None if resume is None else _saved_run(resume),
            sources=(content, style),
            bar=watched,
        )
        if result is None:
            printing.say(f"Note: the model on {client.server} has no runs in chunks; this is one call.")
    if result is None:
        with printing.spinner(f"Painting, on {client.server}", quiet=quiet):
            result = client.stylize(*pictures, **options, signature=None if signature is None else signature.value)
        save_or_fall_back(result.save, output)  # first, before the report
    for note in result.notes:
        printing.say(f"Note: {note}.")
    if not as_json:
        typer.echo(printing.stylized_line(result, output))
    if report is not None:
        with printing.spinner("Drawing the report", quiet=quiet):
            drawing = client.report(*pictures, result, timeout_s=timeout)
        save_image(drawing, report, text=result.facts())
    if as_json:
        printing.print_json(printing.stylized_json(result, output, report))
    elif report is not None:
        typer.echo(f"{report}: the report")


def _refuse_collisions(outputs: Mapping[str, Path | None], inputs: Mapping[str, Path | None]) -> None:
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
    content: Picture | Path,
    max_side: int | None,
    optimizer: Optimizer,
) -> None:
    """Checks that every file can be written, and that its disk has room for it.

    Raises:
        OutputError: One of them cannot be written.
    """
    from .pace import usual_state_bytes  # noqa: PLC0415 - brings NumPy

    side = Controls(max_side=or_unset(max_side)).expected_max_side
    width, height = (side, side) if isinstance(content, Path) else content.size_within(side)
    picture_bytes = largest_picture_bytes(width * height)
    check_output(output, needed_bytes=picture_bytes)
    if report is not None:
        check_output(report)
    outputs.check(picture_bytes, usual_state_bytes(width * height, optimizer))


def _saved_run(path: Path) -> SavedRun:
    from .saved import SavedRun  # noqa: PLC0415 - brings NumPy

    return SavedRun.load(path)
