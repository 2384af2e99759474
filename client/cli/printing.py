"""Output of the commands: lines and tables for people, JSON for programs, and one exit code per cause."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from styleserve import contract

from ..errors import ServiceError, StyleServeError
from ..inputs.controls import OPTIMIZER_NAMES
from ..transport.signals import signal_number, stop_reason, stoppable

if TYPE_CHECKING:
    from ..api.checkpoint import SavedRun
    from ..wire.results import (
        Description,
        LayerDescription,
        Metadata,
        StylizedResult,
        TensorDescription,
        VersionStatus,
    )

_SIGNALLED = 128  # plus the signal's number: the exit code of a shell for a program that a signal ended
_PIPE_WIDTH = 120


def say(text: str) -> None:
    """Prints a line for people on stderr."""
    typer.echo(text, err=True)


def print_json(value: Mapping[str, Any]) -> None:
    """Prints an object for programs on stdout."""
    typer.echo(json.dumps(value, allow_nan=False))


@contextmanager
def reported(as_json: bool) -> Generator[None]:
    """Turns every error of the block into a message on stderr and the exit code of its cause.

    Args:
        as_json: also print the error as an object on stdout.
    """
    try:
        with stoppable():
            yield
    except StyleServeError as error:
        facts = {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
        if isinstance(error, ServiceError):
            facts |= {"status": error.status, "request_id": error.request_id, "tries": error.tries}
        _leave(error.exit_code, str(error), facts, as_json)
    except KeyboardInterrupt as error:
        text = str(error) or stop_reason(error)
        message, _, hint = text.partition("\n")
        code = _SIGNALLED + signal_number(error)
        _leave(code, text, {"kind": "KeyboardInterrupt", "message": message, "hint": hint}, as_json)


def _leave(code: int, text: str, facts: Mapping[str, str | int], as_json: bool) -> NoReturn:
    say(f"Error: {text}")
    if as_json:
        print_json({"error": {**facts, "exit_code": code}})
    raise typer.Exit(code)


def is_watched(*, quiet: bool) -> bool:
    """Whether stderr is a terminal, and progress is wanted there."""
    return sys.stderr.isatty() and not quiet


@contextmanager
def spinner(text: str, *, quiet: bool = False) -> Generator[None]:
    """Shows that something is going on, and for how long, where stderr is a terminal."""
    # Imported here, because they would make every --help slower.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(
        *columns, console=Console(stderr=True), transient=True, disable=not is_watched(quiet=quiet)
    ) as progress:
        progress.add_task(text, total=None)
        yield


@contextmanager
def progress_bar(text: str, *, shown: bool) -> Generator[Callable[[float, Sequence[str]], None]]:
    """Shows a progress bar; yields a function of the share that is done, and of facts to show beside it.

    Args:
        text: Description of the work.
        shown: Whether to show anything.
    """
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=16),  # leaves room for the rest in 80 columns
        TextColumn("{task.fields[facts]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not shown) as bar:
        task = bar.add_task(text, total=None, facts="")
        yield lambda fraction, facts: bar.update(task, completed=fraction, total=1.0, facts=", ".join(facts))


def progress_facts(saved: SavedRun, seconds_left: float | None) -> list[str]:
    """Facts to show beside the bar of a run."""
    facts = [f"{saved.steps_done}/{saved.steps_total} steps"]
    facts += [f"{saved.octaves[saved.octave].max_side} px"] if len(saved.octaves) > 1 else []
    facts += [f"loss {saved.losses[-1, 0]:.4g}"] if len(saved.losses) else []
    return [*facts, *([] if seconds_left is None else [f"{seconds_left:.0f} s left"])]


def stylized_line(result: StylizedResult, saved: Path) -> str:
    """A result in one line."""
    loss = f", loss {result.losses[0, 0]:.4g} -> {result.losses[-1, 0]:.4g}" if result.steps else ""
    steps = f"{result.steps} step{'' if result.steps == 1 else 's'} of {OPTIMIZER_NAMES[result.optimizer]}"
    if len(result.octaves) > 1:
        steps += f" at {', '.join(str(octave.max_side) for octave in result.octaves)} px"
    return (
        f"{saved}: {result.image.width} x {result.image.height} pixels, {steps}{loss}, "
        f"{result.timings.call_s:.1f} s, {result.model_name} version {result.model_version}"
    )


def stylized_json(result: StylizedResult, saved: Path, report: Path | None) -> dict[str, Any]:
    """A result as an object."""
    return {
        "output": str(saved),
        "report": None if report is None else str(report),
        "width": result.image.width,
        "height": result.image.height,
        "model": result.model_name,
        "model_version": result.model_version,
        "controls": result.controls.given(),
        "octaves": [octave._asdict() for octave in result.octaves],
        "steps": result.steps,
        "loss_columns": contract.LOSS_COLUMNS,
        "losses": result.losses.tolist(),
        "seconds": {
            "prepare": round(result.timings.prepare_s, 4),
            "call": round(result.timings.call_s, 4),
            "decode": round(result.timings.decode_s, 4),
        },
        "notes": list(result.notes),
    }


def description_table(found: Description, title: str) -> str:
    """A description as a table, one row a layer."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table("layer", title=Text(title), title_justify="left")
    for heading in ("shape", "min", "max", "mean", "Gram min", "Gram max", "Gram mean"):
        table.add_column(heading, justify="right")
    for layer in found.layers:
        gram = _gram_statistics(layer)
        statistics = (layer.minimum, layer.maximum, layer.mean, *(gram.values() if gram else ()))
        table.add_row(
            layer.name,
            f"{layer.height} x {layer.width} x {layer.channels}",
            *(f"{value:.4g}" for value in statistics),
        )
    console = Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    with console.capture() as captured:
        console.print(table)
    return captured.get() + f"Total variation: {found.total_variation:.6g}"


def description_json(found: Description) -> dict[str, Any]:
    """A description as an object, without its images and matrices."""
    return {
        "width": found.width,
        "height": found.height,
        "total_variation": found.total_variation,
        "layers": [
            {
                "name": layer.name,
                "shape": [layer.height, layer.width, layer.channels],
                "min": layer.minimum,
                "max": layer.maximum,
                "mean": layer.mean,
                "gram": _gram_statistics(layer),
            }
            for layer in found.layers
        ],
        "model_version": found.model_version,
        "notes": list(found.notes),
    }


def versions_json(found: tuple[VersionStatus, ...]) -> list[dict[str, Any]]:
    """Versions as objects."""
    return [{"version": each.version, "state": each.state, "error": each.error} for each in found]


def metadata_lines(found: Metadata) -> Iterator[str]:
    """A model's signatures, line by line."""
    spoken = "" if found.contract_version is None else f", wire contract {found.contract_version}"
    yield f"{found.model_name} version {found.model_version}{spoken}"
    if found.limits is not None:
        yield "\nlimits"
        helps = {field.name: field.help for field in contract.LIMIT_FIELDS}
        for name, limit in found.limits.items():
            yield f"  {name}: {limit:{',' if isinstance(limit, int) else ',.6g'}}  {helps[name]}"
    for signature in found.signatures:
        yield f"\n{signature.name}"
        for title, tensors in (("inputs", signature.inputs), ("outputs", signature.outputs)):
            yield f"  {title}"
            for tensor in tensors:
                yield f"    {tensor.name}: {tensor.dtype} {_shape(tensor)}{_default(tensor)}"


def metadata_json(found: Metadata) -> dict[str, Any]:
    """A model's signatures as an object."""
    return {
        "model": found.model_name,
        "model_version": found.model_version,
        "contract_version": found.contract_version,
        "limits": None if found.limits is None else dict(found.limits),
        "signatures": {
            signature.name: {
                "inputs": {tensor.name: _tensor_json(tensor) for tensor in signature.inputs},
                "outputs": {tensor.name: _tensor_json(tensor) for tensor in signature.outputs},
            }
            for signature in found.signatures
        },
    }


def _gram_statistics(layer: LayerDescription) -> dict[str, float] | None:
    if layer.gram is None or not layer.gram.size:
        return None
    return {"min": float(layer.gram.min()), "max": float(layer.gram.max()), "mean": float(layer.gram.mean())}


def _default(tensor: TensorDescription) -> str:
    if tensor.default is None:
        return ""
    if tensor.default == "":
        return "  may be left out"
    return f"  default {tensor.default}" if isinstance(tensor.default, str) else f"  default {tensor.default:g}"


def _tensor_json(tensor: TensorDescription) -> dict[str, Any]:
    return {"dtype": tensor.dtype, "shape": tensor.shape, "default": tensor.default}


def _shape(tensor: TensorDescription) -> str:
    if tensor.shape is None:
        return "of any rank"
    return "[" + ", ".join("?" if size is None else str(size) for size in tensor.shape) + "]"
