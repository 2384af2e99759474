"""What a model was exported with, held against the server that is to run it: TensorFlow, memory, and processor.

TensorFlow reads what older ones wrote, and not the other way round: a newer one may use operations, or attributes of
operations, that the server has never heard of. It is the model alone that refuses a call which is too large. And its
precision is fast or slow by the machine. All is read from the model's card, which needs no TensorFlow.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, Final

from styleserve.processor import BFLOAT16_FLAGS, cpu_flags
from styleserve.version_directories import versions_on_disk

from .deployment import BATCHED_ROWS, Deployment, Device

CARD_NAME: Final = "assets.extra/model_card.json"
"""In the directory of a version; `styleserve export` writes it."""

_SLOW: Final = "a step takes about ten times as long as in float32"
_VERSION: Final = re.compile(r"(\d+)\.(\d+)")
_SERVER: Final = re.compile(r"(.*/)?tensorflow/serving:(?P<version>\d+\.\d+[^@]*)(@.*)?")
"""Images whose tag is a version of TensorFlow; in any registry."""


def newer_than_the_server(model: Path, deployment: Deployment) -> str | None:
    """What is wrong where a version that is to be served was exported with a newer TensorFlow than the server's.

    None also where that cannot be told: the model has no card, or the image's tag is no version of TensorFlow.
    """
    image = _SERVER.fullmatch(deployment.image_name)
    if image is None:
        return None
    for version, version_dir in _served(model, deployment).items():
        exporter = exporter_of(version_dir)
        if exporter is not None and _minor(exporter) > _minor(image["version"]):
            return (
                f"version {version} of the model was exported with TensorFlow {exporter}, which is newer than that of "
                f"{deployment.image_name}: it may not load. Export it with TensorFlow "
                f"{'.'.join(map(str, _minor(image['version'])))} (`pip install --constraint requirements.lock`), or "
                "name a newer image with --image."
            )
    return None


def larger_than_the_memory(model: Path | None, deployment: Deployment) -> str | None:
    """What to do where a call may take more memory than the server has; None where the model refuses such calls.

    Args:
        model: directory of the model; None where it cannot be read from here.
        deployment: that is to serve it.
    """
    side, rows = deployment.max_side, deployment.max_batch
    if deployment.batching and rows < BATCHED_ROWS:  # which the model has to take, or it refuses the batches
        rows = BATCHED_ROWS
        remedy = f"deploy with --max-batch {rows}, and export the model with --max-batch {rows} --max-side {side}"
    else:
        remedy = f"export the model with --max-batch {rows} --max-side {side}"
    versions = [] if model is None else [(each, limits_of(path)) for each, path in _served(model, deployment).items()]
    for version, limits in versions:
        if limits is None:
            continue
        batch, pixels = (min(limits[0], rows) if deployment.batching else limits[0]), limits[1]
        if (needed := deployment.memory_mib_for(batch, pixels)) > deployment.memory_mib:
            return (
                f"Warning: version {version} of the model takes calls of {batch} x {pixels} pixels, for which a server "
                f"needs {needed} MiB; without them such calls may end it. Deploy with --max-batch {batch} --max-side "
                f"{math.isqrt(pixels - 1) + 1}, or {remedy}."
            )
    if versions and all(limits for _, limits in versions):
        return None
    return f"Larger calls may end it, and the model alone refuses them: {remedy}."


def slow_on_a_cpu(model: Path, deployment: Deployment) -> str | None:
    """What to know where CPUs, which may have no units for it, are to serve a version that computes in bfloat16."""
    if deployment.device is not Device.cpu:
        return None
    slow = [version for version, version_dir in _served(model, deployment).items() if _in_bfloat16(version_dir)]
    if not slow:
        return None
    return (
        f"version {slow[0]} of the model computes in bfloat16. On a CPU without {' or '.join(BFLOAT16_FLAGS)} {_SLOW}: "
        "for such a CPU export the model with --precision float32."
    )


def slow_on_this_machine(version_dir: Path) -> str | None:
    """What to know where a version computes in bfloat16, and this machine, which has no GPU, has no units for it.

    None also where that cannot be told: the version has no card, or the processor has no flags.
    """
    flags = cpu_flags()
    if not flags or flags.intersection(BFLOAT16_FLAGS) or not _in_bfloat16(version_dir):
        return None
    return (
        f"computes in bfloat16, for which this machine has no units ({', '.join(BFLOAT16_FLAGS)}): {_SLOW}. Export it "
        "with --precision float32."
    )


def exporter_of(version_dir: Path) -> str | None:
    """The version of TensorFlow that a version was exported with, as in "2.20.0"; None where it has no card."""
    found = _of_card(version_dir, "versions", "tensorflow")
    return found if isinstance(found, str) and _VERSION.match(found) else None


def limits_of(version_dir: Path) -> tuple[int, int] | None:
    """Most examples of a call and most pixels of each, by the card of a version; None where it does not say so."""
    batch, pixels = (_of_card(version_dir, "limits", name) for name in ("max_batch", "max_pixels"))
    return (batch, pixels) if isinstance(batch, int) and isinstance(pixels, int) and min(batch, pixels) > 0 else None


def _in_bfloat16(version_dir: Path) -> bool:
    return _of_card(version_dir, "precision") == "bfloat16"


def _of_card(version_dir: Path, *way: str) -> Any:  # noqa: ANN401 - whatever stands there
    try:
        found = json.loads((version_dir / CARD_NAME).read_bytes())
        for name in way:
            found = found[name]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found


def _served(model: Path, deployment: Deployment) -> dict[int, Path]:
    """Versions that the server is to load, with their directories: those with a label, or else the newest."""
    try:
        present = versions_on_disk(model)
    except OSError:
        present = {}
    if deployment.labels:
        numbers = sorted({version for _, version in deployment.labels})
        return {number: present.get(number, model / str(number)) for number in numbers}
    return {number: present[number] for number in sorted(present)[-1:]}


def _minor(version: str) -> tuple[int, int]:
    found = _VERSION.match(version)
    assert found is not None  # noqa: S101 - both callers have looked
    return int(found[1]), int(found[2])
