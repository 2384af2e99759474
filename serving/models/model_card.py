"""Reader of a version's model card: exporter, limits and precision. It does not import TensorFlow."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from styleserve.processor import BFLOAT16_FLAGS, cpu_flags
from styleserve.version_directories import MODEL_CARD_FILE

_VERSION: Final = re.compile(r"\d+\.\d+")


@dataclass(frozen=True)
class CallLimits:
    """Limits of a version that determine the memory of a call.

    Attributes:
        max_batch: Most examples.
        max_pixels: Most pixels of an image.
        max_batch_pixels: Most pixels of all images together.
        max_encoded_pixels: Most pixels of a file.
        memory: Bytes beyond which the images of a call are tiled; None for a version without tiles.
    """

    max_batch: int
    max_pixels: int
    max_batch_pixels: int
    max_encoded_pixels: int
    memory: int | None

    def call_pixels(self, rows: int) -> int:
        """Most pixels of all images of a call with at most `rows` examples."""
        return min(self.max_batch_pixels, min(rows, self.max_batch) * self.max_pixels)


def exporter_of(version_dir: Path) -> str | None:
    """Version of TensorFlow that exported a version, as in "2.20.0"; None without a card."""
    found = _of_card(version_dir, "versions", "tensorflow")
    return found if isinstance(found, str) and _VERSION.match(found) else None


def limits_of(version_dir: Path) -> CallLimits | None:
    """Limits of a call by a version's card; None if the card lacks them."""
    names = ("max_batch", "max_pixels", "max_batch_pixels", "max_encoded_pixels")
    numbers = [_of_card(version_dir, "limits", name) for name in names]
    if not all(isinstance(number, int) and number >= 1 for number in numbers):
        return None
    memory = _of_card(version_dir, "memory")
    return CallLimits(*numbers, memory=memory if isinstance(memory, int) else None)


def _in_bfloat16(version_dir: Path) -> bool:
    """Whether a version computes in bfloat16, by its card."""
    return _of_card(version_dir, "precision") == "bfloat16"


def slow_on_this_machine(version_dir: Path) -> str | None:
    """Warning for a version that computes in bfloat16 on a machine without a GPU and without bfloat16 units.

    None for other versions, and if the version has no card or the processor no flags.
    """
    flags = cpu_flags()
    if not flags or flags.intersection(BFLOAT16_FLAGS) or not _in_bfloat16(version_dir):
        return None
    return (
        f"computes in bfloat16, for which this machine has no units ({', '.join(BFLOAT16_FLAGS)}): a step takes about "
        "ten times as long as in float32. Export it with --precision float32."
    )


def _of_card(version_dir: Path, *way: str) -> Any:  # noqa: ANN401 - any JSON
    try:
        found = json.loads((version_dir / MODEL_CARD_FILE).read_bytes())
        for name in way:
            found = found[name]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found
