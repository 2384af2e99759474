"""The form: its fields from the contract's controls, and controls from its values. Knows neither pages nor runs."""

from __future__ import annotations

from .fields import FormField, fields
from .presets import PresetCard, preset_cards, preset_values
from .sheet import SheetCard, sheet_cards
from .values import FieldError, controls_from

__all__ = [
    "FieldError",
    "FormField",
    "PresetCard",
    "SheetCard",
    "controls_from",
    "fields",
    "preset_cards",
    "preset_values",
    "sheet_cards",
]
