"""The commands of the shell: `stylize`, `batch`, `describe`, `status`, `metadata`, `wait`, `version`.

Results go to stdout, everything else to stderr. With `--json` stdout carries one JSON object, and nothing else.

NumPy, Pillow and gRPC are imported by the commands that need them, so that `--help` is quick.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from styleserve import __version__, contract

from . import printing
from .batch_command import batch
from .controls import UNSET, Unset, allowed_range
from .defaults import ADMIN_TIMEOUT_S, DEFAULT_SERVER
from .errors import ModelNotReady, OutputError, exit_codes
from .outputs import EXTENSIONS, check_output, save_image
from .signatures import DEFAULT_OPTIMIZER

if TYPE_CHECKING:
    from .client import StyleClient
    from .images import Picture

_T = TypeVar("_T")

_EPILOG: Final = "Exit codes: " + " ".join(f"{code}: {meaning}" for code, meaning in exit_codes().items())

_Server = Annotated[str, typer.Option("--server", metavar="HOST:PORT", help="gRPC address of the server.")]
_ModelName = Annotated[str, typer.Option("--model-name", help="Name under which the server has the model.")]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, and nothing else there.")]
_Timeout = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", help="Deadline of each call; by default it grows with the work."),
]
_AdminTimeout = Annotated[float, typer.Option("--timeout", metavar="SECONDS", help="Deadline of the call.")]


class _Optimizer(str, Enum):
    LBFGS = "lbfgs"
    ADAM = "adam"


class _Signature(str, Enum):
    STYLIZE_LBFGS_ENCODED = contract.STYLIZE_LBFGS_ENCODED
    STYLIZE_LBFGS = contract.STYLIZE_LBFGS
    STYLIZE_ENCODED = contract.STYLIZE_ENCODED
    SERVING_DEFAULT = contract.SERVING_DEFAULT


def _control(option: str, control: contract.Control, remark: str = "") -> Any:  # noqa: ANN401 - as Typer types it
    defaults = f"{control.tutorial:g}" + (f" or {control.relative:g}" if control.relative != control.tutorial else "")
    text = (
        f"{control.help}{remark} Allowed: {allowed_range(control)}. The default is the model's own, usually {defaults}."
    )
    return typer.Option(option, help=text, metavar="N" if control.dtype == "int32" else "X", show_default=False)


def register(app: typer.Typer) -> None:
    """Adds the client's commands to an application."""
    for command in (stylize, batch, describe, status, metadata, wait, version):
        app.command(epilog=_EPILOG)(command)


def stylize(
    content: Annotated[Path, typer.Argument(help="The picture to paint.", show_default=False)],
    style: Annotated[Path, typer.Argument(help="The painting to follow.", show_default=False)],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help=f"Where to save the result: {', '.join(EXTENSIONS)}.", show_default=False),
    ],
    *,
    server: _Server = DEFAULT_SERVER,
    model_name: _ModelName = contract.DEFAULT_MODEL_NAME,
    optimizer: Annotated[
        _Optimizer | None,
        typer.Option(
            help="L-BFGS comes to the same loss in fewer steps; Adam is the tutorial's.", show_default=DEFAULT_OPTIMIZER
        ),
    ] = None,
    steps: Annotated[int | None, _control("--steps", contract.STEPS)] = None,
    content_weight: Annotated[float | None, _control("--content-weight", contract.CONTENT_WEIGHT)] = None,
    style_weight: Annotated[float | None, _control("--style-weight", contract.STYLE_WEIGHT)] = None,
    tv_weight: Annotated[float | None, _control("--tv-weight", contract.TOTAL_VARIATION_WEIGHT)] = None,
    learning_rate: Annotated[
        float | None, _control("--learning-rate", contract.LEARNING_RATE, " Needs --optimizer adam.")
    ] = None,
    max_side: Annotated[int | None, _control("--max-side", contract.MAX_SIDE)] = None,
    timeout: _Timeout = None,
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
    as_json: _Json = False,
) -> None:
    """Paint CONTENT in the style of STYLE."""
    with printing.reported(as_json):
        _check_outputs(output, report)
        pictures = _loaded(content), _loaded(style)
        with _connected(server, model_name) as client:
            with printing.spinner(f"Painting, on {server}"):
                result = client.stylize(
                    *pictures,
                    content_weight=_or_unset(content_weight),
                    style_weight=_or_unset(style_weight),
                    total_variation_weight=_or_unset(tv_weight),
                    optimizer=None if optimizer is None else optimizer.value,
                    steps=_or_unset(steps),
                    learning_rate=_or_unset(learning_rate),
                    max_side=_or_unset(max_side),
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


def describe(
    image: Annotated[Path, typer.Argument(help="The picture to look at.", show_default=False)],
    *,
    server: _Server = DEFAULT_SERVER,
    model_name: _ModelName = contract.DEFAULT_MODEL_NAME,
    max_side: Annotated[
        int, typer.Option(metavar="N", min=int(contract.MAX_SIDE.minimum), help="Shrink the picture to this first.")
    ] = int(contract.MAX_SIDE.tutorial),
    timeout: _Timeout = None,
    as_json: _Json = False,
) -> None:
    """Show what the network sees in IMAGE: statistics of each layer and of its Gram matrix."""
    with printing.reported(as_json):
        picture = _loaded(image)
        size = picture.size_within(min(max_side, max(picture.image.size)))
        with _connected(server, model_name) as client, printing.spinner(f"Looking, on {server}"):
            found = client.describe(picture, size=size, timeout_s=timeout)
        if as_json:
            printing.print_json({"image": str(image), "model": model_name, **printing.description_json(found)})
            return
        for note in found.notes:
            printing.say(f"Note: {image}: {note}.")
        typer.echo(printing.description_table(found, f"{image}: {found.width} x {found.height} pixels"))


def status(
    *,
    server: _Server = DEFAULT_SERVER,
    model_name: _ModelName = contract.DEFAULT_MODEL_NAME,
    timeout: _AdminTimeout = ADMIN_TIMEOUT_S,
    as_json: _Json = False,
) -> None:
    """Show which versions of the model the server has; fails if none is available."""
    with printing.reported(as_json):
        with _connected(server, model_name) as client:
            found = client.status(timeout_s=timeout)
        if not any(each.available for each in found):
            versions = ", ".join(map(str, found)) or "no version"
            raise ModelNotReady(f"{model_name!r} at {server}: {versions}", hint="Wait for it with `styleserve wait`.")
        if as_json:
            printing.print_json({"model": model_name, "server": server, "versions": printing.versions_json(found)})
            return
        for each in found:
            typer.echo(f"{model_name} version {each.version}: {each.state} {each.error}".rstrip())


def metadata(
    *,
    server: _Server = DEFAULT_SERVER,
    model_name: _ModelName = contract.DEFAULT_MODEL_NAME,
    timeout: _AdminTimeout = ADMIN_TIMEOUT_S,
    as_json: _Json = False,
) -> None:
    """Show the signatures of the model, with inputs, defaults and outputs."""
    with printing.reported(as_json):
        with _connected(server, model_name) as client:
            found = client.metadata(timeout_s=timeout)
        if as_json:
            printing.print_json(printing.metadata_json(found))
        else:
            typer.echo("\n".join(printing.metadata_lines(found)))


def wait(
    *,
    server: _Server = DEFAULT_SERVER,
    model_name: _ModelName = contract.DEFAULT_MODEL_NAME,
    timeout: Annotated[float, typer.Option("--timeout", metavar="SECONDS", help="How long to wait.")] = 120.0,
    as_json: _Json = False,
) -> None:
    """Wait until the model is available."""
    with printing.reported(as_json):
        where = f"{model_name} at {server}"
        with _connected(server, model_name) as client, printing.spinner(f"Waiting for {where}"):
            ready = client.wait_until_ready(timeout)
        if as_json:
            printing.print_json({"model": model_name, "server": server, "version": ready.version})
        else:
            typer.echo(f"{model_name} version {ready.version}: {ready.state}")


def version(*, as_json: _Json = False) -> None:
    """Show the version of this program and of the wire contract."""
    if as_json:
        printing.print_json({"styleserve": __version__, "contract": contract.CONTRACT_VERSION})
    else:
        typer.echo(f"styleserve {__version__}, wire contract {contract.CONTRACT_VERSION}")


def _connected(server: str, model_name: str) -> StyleClient:
    from .client import StyleClient  # noqa: PLC0415

    return StyleClient(server, model_name=model_name)


def _loaded(path: Path) -> Picture:
    from .images import load_picture  # noqa: PLC0415

    return load_picture(path)


def _or_unset(value: _T | None) -> _T | Unset:
    return UNSET if value is None else value


def _check_outputs(output: Path, report: Path | None) -> None:
    check_output(output)
    if report is not None and check_output(report).absolute() == output.absolute():
        raise OutputError(f"{output} is named for both the result and the report", hint="Give them two names.")
