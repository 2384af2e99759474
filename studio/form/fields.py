"""Fields of the form, one for each control of `paint`: a new control of the contract is a new field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from styleserve import contract
from styleserve.client.inputs.controls import OCTAVES

Kind = Literal["number", "choice", "numbers"]

_HIDDEN: Final = (contract.REFERENCE_WEIGHT.name,)
"""Controls for pictures that the studio does not take."""
_MAIN: Final = (contract.MAX_SIDE.name,)
"""Controls beside the presets; those of styles are on the cards of the styles, all others are folded."""

STUDIO_DEFAULTS: Final[Mapping[str, str]] = {contract.IMAGE_FORMAT.name: "png16"}
"""Defaults in place of the contract's: 16 bits, so that every result can be downloaded as a TIFF of 16 bits."""

_LABELS: Final[Mapping[str, str]] = {
    "style_weight": "Style strength",
    "content_weight": "Content strength",
    "total_variation_weight": "Smoothness",
    "style_blend": "Share",
    "style_scale": "Stroke size",
    "style_layer_weights": "Weights of the style layers",
    "start_noise": "Noise at the start",
    "optimizer": "Optimiser",
    "colors": "Colours",
    "max_side": "Size",
    "image_format": "File",
    OCTAVES: "Sizes, coarse to fine",
}
_SLIDERS: Final[Mapping[str, tuple[float, float, float]]] = {"style_blend": (0, 1, 0.01), "style_scale": (-3, 3, 0.25)}
"""Smallest and largest position and step of sliders; those of `style_scale` are powers of 2."""
_POWERS_OF_2: Final = ("style_scale",)
_CHOICES: Final[Mapping[str, str]] = {
    "png": "PNG, 8 bits",
    "png16": "PNG, 16 bits",
    "jpeg": "JPEG",
    "lbfgs": "L-BFGS",
    "adam": "Adam",
    "style": "of the style",
    "content": "of the photo",
    "matched": "matched to the photo",
}


@dataclass(frozen=True)
class FormField:
    """A field of the form.

    Attributes:
        name: Name of the control.
        label: Short name.
        help: Description in one line.
        kind: One number, one of several choices, or several numbers.
        place: "style" for a field of each style, "main", or "advanced".
        default: Value that counts if the field is empty, as text.
        unit: Unit of the number; empty for none.
        minimum: Smallest number.
        maximum: Largest number; None if the model's limit is not known.
        step: Step of the number: "1" for whole numbers, else "any".
        choices: Values and labels of a choice.
        slider: Smallest and largest position and step of a slider; None for a box.
        powers: Whether the number is 2 to the power of the position.
    """

    name: str
    label: str
    help: str
    kind: Kind
    place: Literal["style", "main", "advanced"]
    default: str
    unit: str = ""
    minimum: float = 0
    maximum: float | None = None
    step: str = "any"
    choices: tuple[tuple[str, str], ...] = ()
    slider: tuple[float, float, float] | None = None
    powers: bool = False


def fields(limits: Mapping[str, float] | None = None) -> list[FormField]:
    """Fields of all controls, and of the number of octaves, which only the client knows.

    >>> [field.name for field in fields() if field.place == "style"]
    ['style_blend', 'style_scale']

    Args:
        limits: Limits of the model, by name; None if they are not known.
    """
    known = limits or {}
    octaves = FormField(
        OCTAVES,
        _LABELS[OCTAVES],
        "Number of sizes, each twice the one before; chosen by the size if empty.",
        "number",
        "advanced",
        "by size",
        minimum=1,
        maximum=8,
        step="1",
    )
    return [*(_field(control, known) for control in contract.CONTROLS if control.name not in _HIDDEN), octaves]


def _field(control: contract.Control, limits: Mapping[str, float]) -> FormField:
    label = _LABELS.get(control.name, control.name.replace("_", " ").capitalize())
    default = STUDIO_DEFAULTS.get(control.name, control.relative)
    return FormField(
        control.name,
        label,
        control.help,
        "choice" if control.choices else "numbers" if control.per == "layer" else "number",
        "style" if control.per == "style" else "main" if control.name in _MAIN else "advanced",
        default if isinstance(default, str) else f"{default:g}",
        unit=control.unit if control.unit in ("pixels", "evaluations") else "",
        minimum=control.minimum,
        maximum=control.maximum
        if control.maximum is not None
        else limits.get(f"max_{control.name.removeprefix('max_')}"),
        step="1" if control.dtype == "int32" else "any",
        choices=tuple((choice, _CHOICES.get(choice, choice)) for choice in control.choices),
        slider=_SLIDERS.get(control.name),
        powers=control.name in _POWERS_OF_2,
    )


def sizes(limits: Mapping[str, float] | None = None) -> list[int]:
    """Sizes to choose from, in pixels, up to the model's limit.

    >>> sizes({"max_side": 700}), sizes({"max_side": 64})
    ([256, 512, 700], [64])
    """
    most = int((limits or {}).get("max_side", 1024))
    usual = [size for size in (256, 512, 1024, 2048, 4096) if size < most]
    return [*usual, most][-4:]
