"""Options that several commands share."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

import typer

from styleserve import contract

from .controls import allowed_range

ModelName = Annotated[str, typer.Option("--model-name", help="Name under which the server has the model.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, and nothing else there.")]
CallTimeout = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", help="Deadline of each call; by default it grows with the work."),
]


class OptimizerName(str, Enum):
    """`signatures.Optimizer`, for Typer."""

    LBFGS = "lbfgs"
    ADAM = "adam"


def control_option(option: str, control: contract.Control, remark: str = "") -> Any:  # noqa: ANN401 - as Typer types it
    """An option for a control, with its range and its default in the help."""
    defaults = f"{control.tutorial:g}" + (f" or {control.relative:g}" if control.relative != control.tutorial else "")
    text = (
        f"{control.help}{remark} Allowed: {allowed_range(control)}. The default is the model's own, usually {defaults}."
    )
    return typer.Option(option, help=text, metavar="N" if control.dtype == "int32" else "X", show_default=False)
