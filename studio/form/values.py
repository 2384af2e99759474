"""Controls from the values of the form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from styleserve.client import PRESETS, ControlError, Controls
from styleserve.client.inputs.control_values import value_of_text
from styleserve.client.inputs.controls import controls_of

from .fields import STUDIO_DEFAULTS, fields


class FieldError(Exception):
    """A value of the form cannot be used.

    Attributes:
        field: Name of the field; empty if it is none alone.
        message: Cause.
        hint: Next step to take; may be empty.
    """

    def __init__(self, field: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.field: Final = field
        self.message: Final = message
        self.hint: Final = hint


def controls_from(preset: str, values: Mapping[str, str]) -> Controls:
    """Controls of a run: those of the form over those of the preset, over the defaults of the studio.

    >>> controls_from("bold", {"steps": "20", "style_blend": "2,1"})
    Controls(style_weight=4.0, style_blend=(2.0, 1.0), steps=20, image_format='png16')

    Args:
        preset: Name of a preset; empty for none.
        values: Values as text, by the names of their fields; empty ones do not count.

    Raises:
        FieldError: A field or preset is unknown, or a value is not allowed.
    """
    if preset and preset not in PRESETS:
        raise FieldError("preset", f"preset is {preset!r}; it must be one of {', '.join(PRESETS)}")
    known = {field.name for field in fields()}
    controls = Controls()
    for name, text in values.items():
        if name not in known:
            raise FieldError(name, f"there is no field {name!r}")
        if not text.strip():
            continue
        try:
            controls = controls_of({name: value_of_text(name, text.strip())}).over(controls)
        except ControlError as error:
            raise FieldError(name, error.message, error.hint) from error
    base = PRESETS[preset] if preset else Controls()
    return controls.over(base).over(controls_of(STUDIO_DEFAULTS))
