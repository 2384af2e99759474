"""Settings of a contact sheet: those of the form with each preset, and with other strokes and colours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from styleserve import contract
from styleserve.client import Controls
from styleserve.client.inputs.control_values import text_of_value
from styleserve.client.inputs.controls import OCTAVES
from styleserve.client.report.contact_sheet import default_entries

from .presets import preset_cards
from .values import controls_from


@dataclass(frozen=True)
class SheetCard:
    """A picture of a contact sheet.

    Attributes:
        label: Settings in words.
        preset: Name of the preset; empty for none.
        values: Values of the form for these settings, by the names of their fields.
        controls: Controls of the run at the size of the sheet.
    """

    label: str
    preset: str
    values: Mapping[str, str]
    controls: Controls


def sheet_cards(values: Mapping[str, str], *, side: int, steps: int, most: float = math.inf) -> list[SheetCard]:
    """Pictures of a contact sheet.

    >>> [card.label for card in sheet_cards({}, side=192, steps=40)]
    ['Painter', 'Bold', 'Subtle', 'Keep colors', 'Tutorial', 'Style scale 0.5', 'Style scale 2', 'Colors matched']

    Args:
        values: Values of the form that all pictures share.
        side: Longest side of the pictures, in pixels.
        steps: Evaluations of each picture, where the form names none.
        most: Longest side that the model accepts, also for a scaled style.

    Raises:
        FieldError: A value is not allowed.
    """
    kept = {name: text for name, text in values.items() if name not in (contract.MAX_SIDE.name, OCTAVES)}
    small = {contract.STEPS.name: str(steps), **{name: text for name, text in kept.items() if text.strip()}}
    side = int(min(side, most))
    small[contract.MAX_SIDE.name] = str(side)
    cards = [
        SheetCard(card.label, card.name, kept, controls_from(card.name, small).over(Controls(octaves=1)))
        for card in preset_cards()
    ]
    for entry in default_entries(Controls()):
        own = entry.controls.given()
        if "--preset" in entry.label or any(name in kept and kept[name].strip() for name in own):
            continue
        if any(side * scale > most for scale in cast("tuple[float, ...]", own.get(contract.STYLE_SCALE.name, ()))):
            continue
        given = {name: text_of_value(value) for name, value in own.items()}
        label = ", ".join(f"{name.replace('_', ' ')} {text}" for name, text in given.items()).capitalize()
        cards.append(SheetCard(label, "", {**kept, **given}, controls_from("", {**small, **given})))
    return cards
