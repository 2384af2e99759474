"""Cards of the presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from styleserve.client import PRESETS

DEFAULT_PRESET: Final = "painter"

_MEANINGS: Final[Mapping[str, str]] = {
    "painter": "Balanced strokes, from large to fine",
    "bold": "The painting takes over",
    "subtle": "A light touch; the photo stays clear",
    "keep-colors": "Strokes of the painting, colours of the photo",
    "tutorial": "The published method, step by step; slow",
}


@dataclass(frozen=True)
class PresetCard:
    """A preset to choose.

    Attributes:
        name: Name of the preset.
        label: Name to show.
        meaning: Its meaning, in one line.
    """

    name: str
    label: str
    meaning: str


def preset_cards() -> list[PresetCard]:
    """Cards of all presets, the default first.

    >>> [card.label for card in preset_cards()]
    ['Painter', 'Bold', 'Subtle', 'Keep colors', 'Tutorial']
    """
    order = [*_MEANINGS, *(name for name in PRESETS if name not in _MEANINGS)]
    return [
        PresetCard(name, name.replace("-", " ").capitalize(), _MEANINGS.get(name, _values_text(name)))
        for name in order
        if name in PRESETS
    ]


def preset_values(name: str) -> dict[str, Any]:
    """Controls of a preset by name; none for an unknown preset."""
    return PRESETS[name].given() if name in PRESETS else {}


def _values_text(name: str) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in preset_values(name).items())
