"""Version directories of a model: their names, the files in them, and the errors of a path without any.

The exporter, which writes them, and the servers share this module. It is free of TensorFlow.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final, NamedTuple

from .contract import DEFAULT_MODEL_NAME

DEFAULT_BASE_PATH: Final = Path("models") / DEFAULT_MODEL_NAME
"""Default base path of an export and of a server."""

SAVED_MODEL_FILES: Final = ("saved_model.pb", "saved_model.pbtxt")
"""Names of the main file of a SavedModel, of which each has one."""

EXTRA_ASSETS: Final = "assets.extra"
"""Directory in a version for files that TensorFlow does not write."""

MODEL_CARD_FILE: Final = f"{EXTRA_ASSETS}/model_card.json"
"""Path of the model card in a version directory."""

WARMUP_FILE: Final = f"{EXTRA_ASSETS}/tf_serving_warmup_requests"
"""Path of the warm-up requests in a version directory, as TensorFlow Serving expects it."""

MAX_VERSION: Final = 2**63 - 1

_NUMBER: Final = re.compile(r"[ \t-\r]*[+-]?[0-9]+[ \t-\r]*")
"""Syntax of absl::SimpleAtoi, which parses the names in TensorFlow Serving 2.20."""


def version_number(name: str) -> int | None:
    """Version number in the name of a directory, parsed as in TensorFlow Serving; None if the name is no number.

    Leading zeros, a sign, and blanks around the number are allowed.

    >>> [version_number(name) for name in ("00000123", "-7", "1.5", ".staging-1", "9223372036854775808")]
    [123, -7, None, None, None]
    """
    if _NUMBER.fullmatch(name) is None:
        return None
    number = int(name)
    return number if -MAX_VERSION - 1 <= number <= MAX_VERSION else None


def versions_on_disk(base_path: Path) -> dict[int, Path]:
    """Version directories below a base path, by number. Other names, such as staging directories, are ignored.

    If two names have the same number (`0001` and `1`), the last one in alphabetical order counts, as in TensorFlow
    Serving.

    Raises:
        OSError: The directory does not exist or cannot be read. An empty directory is no error.
    """
    with os.scandir(base_path) as entries:
        names = sorted(entry.name for entry in entries if version_number(entry.name) is not None and entry.is_dir())
    return {number: base_path / name for name in names if (number := version_number(name)) is not None}


def other_names(version_dir: Path) -> list[str]:
    """Names of the other directories with the number of a version, in alphabetical order."""
    number = version_number(version_dir.name)
    try:
        with os.scandir(version_dir.parent) as entries:
            same = sorted(entry.name for entry in entries if version_number(entry.name) == number and entry.is_dir())
    except OSError:
        return []
    return [name for name in same if name != version_dir.name]


class Misplaced(NamedTuple):
    """Fault of a path that is not a base path, and the right path.

    Attributes:
        fault: Error text that follows the path and ends before the right path.
        base_path: Right path; None if a directory must be moved first.
    """

    fault: str
    base_path: Path | None


def misplaced(path: Path) -> Misplaced | None:
    """The fault of a path that is one level too low or too high for a base path; None for any other path."""
    if (below := inside_a_version(path)) is not None:
        return below
    if (file := _saved_model_file(path)) is not None:
        where = path / "1"
        return Misplaced(f"holds {file}, which must be in a directory named by a number. Move all to {where}", None)
    models = _models_in(path)
    return Misplaced(f"has no version in it, but {models[0].name} in it has. Give that", models[0]) if models else None


def inside_a_version(path: Path) -> Misplaced | None:
    """The fault of a path that is a version directory or inside one; None for any other path."""
    for place in (path, *path.parents, path.resolve()):
        if version_number(place.name) is not None and (file := _saved_model_file(place)) is not None:
            what = "is a version of a model" if place in (path, path.resolve()) else f"is in {place}, a version"
            return Misplaced(f"{what}: it holds {file}. Give the directory above", place.parent)
    return None


def _saved_model_file(directory: Path) -> str | None:
    return next((name for name in SAVED_MODEL_FILES if os.path.isfile(directory / name)), None)  # noqa: PTH113 - raises nothing


def _models_in(directory: Path) -> list[Path]:
    """Base paths of models in a directory, by name."""
    try:
        return [path for path in sorted(directory.iterdir()) if path.is_dir() and _has_a_model(path)]
    except OSError:
        return []


def _has_a_model(base_path: Path) -> bool:
    return any(_saved_model_file(version_dir) for version_dir in versions_on_disk(base_path).values())
