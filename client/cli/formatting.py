"""Results and descriptions as lines, tables and JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from styleserve import contract

from ..inputs.controls import OPTIMIZER_NAMES

if TYPE_CHECKING:
    from ..wire.results import (
        Description,
        LayerDescription,
        Metadata,
        StylizedResult,
        TensorDescription,
        VersionStatus,
    )

_PIPE_WIDTH: Final = 120
"""Width of a table where stdout is not a terminal."""


def stylized_line(result: StylizedResult, saved: Path) -> str:
    """Line about a result."""
    loss = f", loss {result.losses[0, 0]:.4g} -> {result.losses[-1, 0]:.4g}" if result.steps else ""
    steps = f"{result.steps} step{'' if result.steps == 1 else 's'} of {OPTIMIZER_NAMES[result.optimizer]}"
    if len(result.octaves) > 1:
        steps += f" at {', '.join(str(octave.max_side) for octave in result.octaves)} px"
    return (
        f"{saved}: {result.image.width} x {result.image.height} pixels, {steps}{loss}, "
        f"{result.timings.call_s:.1f} s, {result.model_name} version {result.model_version}"
    )


def stylized_json(result: StylizedResult, saved: Path, report: Path | None) -> dict[str, Any]:
    """Result as a JSON object."""
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
    """Description as a table, one row for each layer."""
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
    """Description as a JSON object, without its images and matrices."""
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
    """Versions as JSON objects."""
    return [{"version": each.version, "state": each.state, "error": each.error} for each in found]


def metadata_lines(found: Metadata) -> Iterator[str]:
    """Lines about a model: version, limits and signatures."""
    contract_text = "" if found.contract_version is None else f", wire contract {found.contract_version}"
    yield f"{found.model_name} version {found.model_version}{contract_text}"
    if found.fingerprint is not None:
        yield f"fingerprint {found.fingerprint}"
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
    """Version, limits and signatures of a model as a JSON object."""
    return {
        "model": found.model_name,
        "model_version": found.model_version,
        "contract_version": found.contract_version,
        "fingerprint": found.fingerprint,
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
