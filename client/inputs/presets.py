"""Presets: named sets of controls, on the command line as `--preset`, in a list of jobs as the column `preset`."""

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
"""Controls of each preset, by its name; "painter" is the default of the model."""


def preset(name: str) -> Controls:
    """Controls of the preset of this name.

    >>> Controls(steps=50).over(preset("bold"))
    Controls(style_weight=4.0, steps=50)

    Raises:
        ControlError: There is none of this name.
    """
    if name not in PRESETS:
        raise ControlError(f"preset is {name!r}; it must be one of {', '.join(PRESETS)}")
    return PRESETS[name]
