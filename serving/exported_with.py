"""Which TensorFlow a model was exported with, held against the one of the image that is to serve it.

TensorFlow reads what older ones wrote, and not the other way round: a newer one may use operations, or attributes of
operations, that the server has never heard of. It is read from the model's card, which needs no TensorFlow.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

from .deployment import Deployment

CARD_NAME: Final = "assets.extra/model_card.json"
"""In the directory of a version; `styleserve export` writes it."""

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
    for version in _served(model, deployment):
        exporter = exporter_of(model / str(version))
        if exporter is not None and _minor(exporter) > _minor(image["version"]):
            return (
                f"version {version} of the model was exported with TensorFlow {exporter}, which is newer than that of "
                f"{deployment.image_name}: it may not load. Export it with TensorFlow "
                f"{'.'.join(map(str, _minor(image['version'])))} (`pip install --constraint requirements.lock`), or "
                "name a newer image with --image."
            )
    return None


def exporter_of(version_dir: Path) -> str | None:
    """The version of TensorFlow that a version was exported with, as in "2.20.0"; None where it has no card."""
    try:
        found = json.loads((version_dir / CARD_NAME).read_bytes())["versions"]["tensorflow"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) and _VERSION.match(found) else None


def _served(model: Path, deployment: Deployment) -> list[int]:
    """The versions that the server is to load: those with a label, or else the newest."""
    if deployment.labels:
        return sorted({version for _, version in deployment.labels})
    try:
        return sorted(int(path.name) for path in model.iterdir() if path.name.isascii() and path.name.isdigit())[-1:]
    except OSError:
        return []


def _minor(version: str) -> tuple[int, int]:
    found = _VERSION.match(version)
    assert found is not None  # noqa: S101 - both callers have looked
    return int(found[1]), int(found[2])
