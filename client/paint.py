"""The command `stylize`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from styleserve import contract

from . import printing
from .errors import ControlError, OutputError
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
from .outputs import EXTENSIONS, check_output, save_image
from .signatures import DEFAULT_OPTIMIZER
from .watch import OnTheWay, painted

if TYPE_CHECKING:
    from .client import StyleClient


class _Signature(str, Enum):
    STYLIZE_LBFGS_ENCODED = contract.STYLIZE_LBFGS_ENCODED
    STYLIZE_LBFGS = contract.STYLIZE_LBFGS
    STYLIZE_ENCODED = contract.STYLIZE_ENCODED
    SERVING_DEFAULT = contract.SERVING_DEFAULT


_WAY: Final = "On the way"


def _way(metavar: str, text: str) -> Any:  # noqa: ANN401 - as Typer types it
    return typer.Option(metavar=metavar, help=text, rich_help_panel=_WAY, show_default=False)


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
        Path | None, typer.Option(metavar="PNG", help="Also draw what happened, there.", show_default=False)
    ] = None,
    preview: Annotated[Path | None, _way("FILE", "Keep the picture as it is there, anew after each chunk.")] = None,
    frames: Annotated[Path | None, _way("DIR", "Keep all these pictures in a folder.")] = None,
    gif: Annotated[Path | None, _way("FILE", "Make an animation of them.")] = None,
    save_state: Annotated[
        Path | None, _way("FILE", "Keep there, after each chunk, what it takes to go on with --resume.")
    ] = None,
    resume: Annotated[
        Path | None, _way("FILE", "Go on from what --save-state kept, also after a crash; the pictures are the same.")
    ] = None,
    keep_partial: Annotated[
        bool, typer.Option(help="On Ctrl-C, save the picture so far.", rich_help_panel=_WAY)
    ] = True,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    as_json: Json = False,
) -> None:
    """Paint CONTENT in the style of STYLE.

    On a terminal, or with an option of those under "On the way", the work is asked for in chunks of a few seconds.
    """
    kept = OnTheWay(preview=preview, frames=frames, gif=gif, state=save_state, partial=keep_partial)
    _check_outputs({"result": output, "report": report, **kept.named})
    kept.check()
    if signature is not None and (kept.named or resume is not None):
        raise ControlError(
            f"the signature {signature.value} is one call, with nothing on the way",
            hint="Leave --signature out, or what is wanted on the way; --optimizer may be named.",
        )
    pictures = loaded(content), loaded(style)
    asked: dict[str, Any] = {
        "content_weight": or_unset(content_weight),
        "style_weight": or_unset(style_weight),
        "total_variation_weight": or_unset(tv_weight),
        "steps": or_unset(steps),
        "learning_rate": or_unset(learning_rate),
        "max_side": or_unset(max_side),
        "optimizer": None if optimizer is None else optimizer.value,
        "timeout_s": timeout,
    }
    watched = printing.is_watched(quiet=quiet or as_json)
    result = None
    if signature is None and (watched or kept.named or resume is not None):
        result = painted(client, pictures, asked, kept, output, resume=resume, bar=watched)
        if result is None:
            call = "this is one call, with nothing on the way"
            printing.say(f"Note: the model on {client.server} does not paint in chunks; {call}.")
    if result is None:
        with printing.spinner(f"Painting, on {client.server}", quiet=quiet):
            result = client.stylize(*pictures, **asked, signature=None if signature is None else signature.value)
        result.save(output)  # first: whatever becomes of the report, the picture is there
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


def _check_outputs(named: Mapping[str, Path | None]) -> None:
    """Refuses a file that is named twice, and the result and the report where they cannot be written."""
    seen: dict[Path, str] = {}
    for name, path in named.items():
        if path is None:
            continue
        if not name.startswith("--"):
            check_output(path)
        if (other := seen.setdefault(path.absolute(), name)) != name:
            raise OutputError(f"{path} is named for both the {other} and the {name}", hint="Give them two names.")
