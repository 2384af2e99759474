"""What a model was exported with, held against the server that is to run it: TensorFlow, memory, and processor.

TensorFlow reads what older ones wrote, and not the other way round: a newer one may use operations, or attributes of
operations, that the server has never heard of. It is the model alone that refuses a call which is too large. And its
precision is fast or slow by the machine. All is read from the model's card, which needs no TensorFlow.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Final

from styleserve.processor import BFLOAT16_FLAGS
from styleserve.sizing import pixels_for, server_mib
from styleserve.version_directories import versions_on_disk

from ..models.model_card import SLOW, VERSION, exporter_of, in_bfloat16, limits_of
from .deployment import BATCHED_ROWS, Deployment, Device

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
    """Advice where a call may take more memory than the server has; None where the model refuses such calls.

    Args:
        model: directory of the model; None where it cannot be read from here.
        deployment: that is to serve it.
    """
    versions = [] if model is None else [(each, limits_of(path)) for each, path in _served(model, deployment).items()]
    for version, limits in versions:
        if limits is None:
            continue
        pixels = limits.call_pixels(BATCHED_ROWS if deployment.batching else limits.max_batch)
        needed = server_mib(
            calls=deployment.calls,
            images=deployment.calls,
            pixels=pixels,
            encoded_pixels=limits.max_encoded_pixels,
        )
        if needed > deployment.memory_mib:
            side = math.isqrt(max(pixels, pixels_for(limits.max_encoded_pixels)) - 1) + 1
            return (
                f"Warning: version {version} of the model takes calls of {pixels} pixels and files of "
                f"{limits.max_encoded_pixels} pixels, for which a server needs {needed} MiB; with less, such calls may "
                f"end it. Deploy with --max-batch 1 --max-side {side}, or {_export_for(deployment)}."
            )
    if versions and all(limits for _, limits in versions):
        return None
    return f"Larger calls may end it, and the model alone refuses them: {_export_for(deployment)}."


def refuses_batches(model: Path, deployment: Deployment) -> str | None:
    """Advice where the server joins requests to batches that a version refuses, so that each of them fails."""
    if not deployment.batching:
        return None
    for version, path in _served(model, deployment).items():
        limits = limits_of(path)
        if limits is not None and limits.call_pixels(BATCHED_ROWS) < BATCHED_ROWS * limits.max_pixels:
            return (
                f"version {version} of the model refuses batches of {BATCHED_ROWS} of its largest images, and all "
                f"requests in such a batch fail: {_export_for(deployment)}."
            )
    return None


def _export_for(deployment: Deployment) -> str:
    side, rows = deployment.max_side, deployment.max_batch
    deploy = ""
    if deployment.batching and rows < BATCHED_ROWS:  # which the model has to take, or it refuses the batches
        rows = BATCHED_ROWS
        deploy = f"deploy with --max-batch {rows}, and "
    together = "" if rows == 1 else f" --max-batch {rows} --max-batch-pixels {rows * side**2}"
    return f"{deploy}export the model with --max-side {side}{together}"


def slow_on_a_cpu(model: Path, deployment: Deployment) -> str | None:
    """What to know where CPUs, which may have no units for it, are to serve a version that computes in bfloat16."""
    if deployment.device is not Device.cpu:
        return None
    slow = [version for version, version_dir in _served(model, deployment).items() if in_bfloat16(version_dir)]
    if not slow:
        return None
    return (
        f"version {slow[0]} of the model computes in bfloat16. On a CPU without {' or '.join(BFLOAT16_FLAGS)} {SLOW}: "
        "for such a CPU export the model with --precision float32."
    )


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
    found = VERSION.match(version)
    assert found is not None  # noqa: S101 - both callers have looked
    return int(found[1]), int(found[2])
