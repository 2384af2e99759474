"""The command `stylize`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from styleserve import contract

from . import printing
from .errors import OutputError
from .options import Json, Timeout, control, loaded, or_unset
from .outputs import EXTENSIONS, check_output, save_image
from .signatures import DEFAULT_OPTIMIZER

if TYPE_CHECKING:
    from .client import StyleClient


class _Optimizer(str, Enum):
    LBFGS = "lbfgs"
    ADAM = "adam"


class _Signature(str, Enum):
    STYLIZE_LBFGS_ENCODED = contract.STYLIZE_LBFGS_ENCODED
    STYLIZE_LBFGS = contract.STYLIZE_LBFGS
    STYLIZE_ENCODED = contract.STYLIZE_ENCODED
    SERVING_DEFAULT = contract.SERVING_DEFAULT


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
        _Optimizer | None,
        typer.Option(
            help="L-BFGS comes to the same loss in fewer steps; Adam is the tutorial's.", show_default=DEFAULT_OPTIMIZER
        ),
    ] = None,
    steps: Annotated[int | None, control("--steps", contract.STEPS)] = None,
    content_weight: Annotated[float | None, control("--content-weight", contract.CONTENT_WEIGHT)] = None,
    style_weight: Annotated[float | None, control("--style-weight", contract.STYLE_WEIGHT)] = None,
    tv_weight: Annotated[float | None, control("--tv-weight", contract.TOTAL_VARIATION_WEIGHT)] = None,
    learning_rate: Annotated[
        float | None, control("--learning-rate", contract.LEARNING_RATE, " Needs --optimizer adam.")
    ] = None,
    max_side: Annotated[int | None, control("--max-side", contract.MAX_SIDE)] = None,
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
    as_json: Json = False,
) -> None:
    """Paint CONTENT in the style of STYLE."""
    _check_outputs(output, report)
    pictures = loaded(content), loaded(style)
    with printing.spinner(f"Painting, on {client.server}"):
        result = client.stylize(
            *pictures,
            content_weight=or_unset(content_weight),
            style_weight=or_unset(style_weight),
            total_variation_weight=or_unset(tv_weight),
            optimizer=None if optimizer is None else optimizer.value,
            steps=or_unset(steps),
            learning_rate=or_unset(learning_rate),
            max_side=or_unset(max_side),
            signature=None if signature is None else signature.value,
            timeout_s=timeout,
        )
    saved = result.save(output)  # first: whatever becomes of the report, the picture is there
    for note in result.notes:
        printing.say(f"Note: {note}.")
    if not as_json:
        typer.echo(printing.stylized_line(result, saved))
    if report is not None:
        with printing.spinner("Drawing the report"):
            drawing = client.report(*pictures, result, timeout_s=timeout)
        save_image(drawing, report, text=result.facts())
    if as_json:
        printing.print_json(printing.stylized_json(result, saved, report))
    elif report is not None:
        typer.echo(f"{report}: the report")


def _check_outputs(output: Path, report: Path | None) -> None:
    check_output(output)
    if report is not None and check_output(report).absolute() == output.absolute():
        raise OutputError(f"{output} is named for both the result and the report", hint="Give them two names.")
