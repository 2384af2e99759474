"""Warnings about a model that does not fit its server, from the model cards of its versions.

A server of an older TensorFlow may not load the model. A call that needs more memory than the server has may end it.
With batching, a model with a lower limit than a full batch fails all requests of the batch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from styleserve.sizing import DEFAULT_MEMORY, MIB, pixels_for, server_mib
from styleserve.version_directories import versions_on_disk

from ..models.model_card import exporter_of, limits_of
from .deployment import BATCHED_ROWS, Deployment, Target

_SERVING_IMAGE: Final = re.compile(r"(?:.*/)?tensorflow/serving:(\d+\.\d+)[^@]*(?:@.*)?")
"""Images whose tag is a version of TensorFlow, in any registry."""


def notes(deployment: Deployment) -> Iterator[str]:
    """Memory of a server or worker, and a warning for each version that does not fit it."""
    side, pictures = deployment.max_side, deployment.max_batch
    holder = "worker" if deployment.target is Target.ray else "server"
    yield (
        f"Memory of a {holder}: {deployment.memory_mib} MiB, for {deployment.calls} calls at a time, each with up to "
        f"{pictures} {'picture' if pictures == 1 else 'pictures'} of {side} x {side} pixels."
    )
    directory = deployment.model_directory
    if deployment.target is Target.compose and not directory.is_dir():
        yield f"Note: no directory {directory} yet; `styleserve export` makes it."
    versions = _served_versions(deployment)
    for version, directory in versions.items():
        yield from _newer_tensorflow(version, directory, deployment)
        yield from _larger_calls(version, directory, deployment)
        yield from _refused_batches(version, directory, deployment)
    if not versions or not all(map(limits_of, versions.values())):
        yield f"A larger call may end the server; the model refuses it if you {_export(deployment)}."


def _newer_tensorflow(version: int, directory: Path, deployment: Deployment) -> Iterator[str]:
    exporter, image = exporter_of(directory), _SERVING_IMAGE.fullmatch(deployment.image_name)
    if exporter and image and _minor(exporter) > _minor(image[1]):
        yield (
            f"Warning: version {version} was exported with TensorFlow {exporter}, newer than {deployment.image_name}: "
            f"the server may not load it. Export it with TensorFlow {image[1]} (`pip install --constraint "
            "requirements.lock`), or set a newer --image."
        )


def _larger_calls(version: int, directory: Path, deployment: Deployment) -> Iterator[str]:
    limits = limits_of(directory)
    if limits is None:
        return
    calls, file_pixels = deployment.calls, limits.max_encoded_pixels
    pixels = limits.call_pixels(BATCHED_ROWS if deployment.batching else limits.max_batch)
    sizes = {"calls": calls, "images": calls, "pixels": pixels, "encoded_pixels": file_pixels}
    needed_mib = server_mib(**sizes, memory=limits.memory)
    if needed_mib > deployment.memory_mib:
        side = math.isqrt(max(pixels, pixels_for(file_pixels)) - 1) + 1
        memory = ""
        if limits.memory is not None and limits.memory > deployment.call_memory:
            memory = f" --memory {-(-limits.memory // MIB)}MiB"
        yield (
            f"Warning: version {version} accepts calls for which a server needs {needed_mib} MiB; such a call may end "
            f"the server. Deploy with --max-batch 1 --max-side {side}{memory}, or {_export(deployment)}."
        )


def _refused_batches(version: int, directory: Path, deployment: Deployment) -> Iterator[str]:
    limits = limits_of(directory)
    if deployment.batching and limits and limits.call_pixels(BATCHED_ROWS) < BATCHED_ROWS * limits.max_pixels:
        pixels = BATCHED_ROWS * limits.max_pixels
        yield (
            f"Warning: version {version} refuses a batch of {BATCHED_ROWS} of its largest pictures, and then each "
            f"request in it fails. Export it with --max-batch {BATCHED_ROWS} --max-batch-pixels {pixels}, or deploy "
            "without --batching."
        )


def _export(deployment: Deployment) -> str:
    side, rows = deployment.max_side, deployment.max_batch
    batch = "" if rows == 1 else f" --max-batch {rows} --max-batch-pixels {rows * side**2}"
    memory = "" if deployment.call_memory == DEFAULT_MEMORY else f" --memory {deployment.memory}"
    return f"export it with --max-side {side}{batch}{memory}"


def _served_versions(deployment: Deployment) -> dict[int, Path]:
    """Directories of the versions that the server loads; empty if they are not on this machine."""
    try:
        present = versions_on_disk(deployment.model_directory) if deployment.target is Target.compose else {}
    except OSError:
        return {}
    served = set(deployment.labels.values()) if deployment.label else sorted(present)[-1:]
    return {version: present[version] for version in served if version in present}


def _minor(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:2]]
