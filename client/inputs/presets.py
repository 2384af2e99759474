"""Presets: named sets of controls, for the option `--preset` and the column `preset` of a job list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..errors import ControlError
from .controls import Controls

PRESETS: Final[Mapping[str, Controls]] = {
    "tutorial": Controls(loss="tutorial", optimizer="adam", steps=1000, octaves=1),
    "painter": Controls(),
    "bold": Controls(style_weight=4.0),
    "subtle": Controls(style_weight=0.3),
    "keep-colors": Controls(colors="content"),
}
"""Controls of the presets, by name; "painter" is the default of the model."""


def preset(name: str) -> Controls:
    """Controls of a preset.

    >>> Controls(steps=50).over(preset("bold"))
    Controls(style_weight=4.0, steps=50)

    Raises:
        ControlError: There is no preset of this name.
    """
    if name not in PRESETS:
        raise ControlError(f"preset is {name!r}; it must be one of {', '.join(PRESETS)}")
    return PRESETS[name]
