"""Contact sheet: one picture with the results of many settings, each labelled with its options."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Final

from ..errors import ControlError
from ..inputs.control_values import text_of_value, value_of_text
from ..inputs.controls import Controls, Unset, control_of_name, controls_of, option_of
from ..inputs.presets import PRESETS, preset

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

_TUTORIAL_STEPS: Final = 300
"""Steps of the preset "tutorial" on a sheet; its 1000 would take longer than all other results."""

_MARGIN: Final = 24
_GAP: Final = 16
_LINE: Final = 18
_TEXT: Final = 13
_COLUMNS: Final = 4


@dataclass(frozen=True)
class SheetEntry:
    """One result of a sheet.

    Attributes:
        label: Options of the command line for it.
        controls: Controls of the run.
    """

    label: str
    controls: Controls


def default_entries(base: Controls) -> list[SheetEntry]:
    """Entries of a sheet without varied controls: presets, sizes of the strokes, matched colours.

    >>> [entry.label for entry in default_entries(Controls())][:2]
    ['--preset tutorial --steps 300', '--preset painter']
    """
    entries: list[SheetEntry] = []
    for name, controls in PRESETS.items():
        few = name == "tutorial" and isinstance(base.steps, Unset)
        label = f"--preset {name}" + (f" --steps {_TUTORIAL_STEPS}" if few else "")
        own = base.over(Controls(steps=_TUTORIAL_STEPS)) if few else base
        entries.append(SheetEntry(label, own.over(controls)))
    others = (Controls(style_scale=0.5), Controls(style_scale=2.0), Controls(colors="matched"))
    return [*entries, *(SheetEntry(_options_text(controls), controls.over(base)) for controls in others)]


def varied_entries(base: Controls, varied: Sequence[str]) -> tuple[list[SheetEntry], int]:
    """Entries for all combinations of varied controls, and the number of columns.

    >>> entries, columns = varied_entries(Controls(steps=9), ["style-weight=1,3", "blend=2;1,1;2"])
    >>> [entry.label for entry in entries], columns
    (['--style-weight 1 --blend 2,1', '--style-weight 1 --blend 1,2', '--style-weight 3 --blend 2,1', \
'--style-weight 3 --blend 1,2'], 2)

    Args:
        base: Controls that hold for all entries.
        varied: One or two texts NAME=V1,V2,...; several numbers of one value have ";" between them.

    Raises:
        ControlError: A text has another form, or a value cannot be used.
    """
    if len(varied) > 2:
        raise ControlError(f"--vary is given {len(varied)} times", hint="Vary one or two controls.")
    axes = [list(_axis(text)) for text in varied]
    entries: list[SheetEntry] = []
    for combination in product(*axes):
        controls = base
        for _, own in combination:
            controls = own.over(controls)
        entries.append(SheetEntry(" ".join(label for label, _ in combination), controls))
    return entries, len(axes[-1]) if len(axes) == 2 else min(len(axes[0]), _COLUMNS)


def _axis(text: str) -> Iterator[tuple[str, Controls]]:
    """Label and controls of each value of a varied control."""
    name, equals, values = text.partition("=")
    if not equals or not values:
        raise ControlError(f"--vary is {text!r}; it must be NAME=V1,V2,...", hint="As in --vary style-weight=0.3,1,3.")
    if name == "preset":
        yield from ((f"--preset {value}", preset(value)) for value in values.split(","))
        return
    control = control_of_name(name)
    for value in values.split(","):
        controls = controls_of({control: value_of_text(control, value, separator=";")})
        yield _options_text(controls), controls


def _options_text(controls: Controls) -> str:
    """Options of the command line for these controls."""
    return " ".join(f"{option_of(name)} {text_of_value(value)}" for name, value in controls.given().items())


def draw_sheet(
    sources: Sequence[tuple[str, Image.Image]],
    entries: Sequence[tuple[str, Image.Image | None]],
    columns: int,
    side: int,
) -> Image.Image:
    """Sheet of the input pictures and, below, the results in rows.

    Args:
        sources: Labels and pictures of content and styles.
        entries: Labels and results; None for a result that was not painted.
        columns: Results in a row.
        side: Longest side of a picture on the sheet, in pixels.
    """
    from PIL import Image, ImageDraw  # noqa: PLC0415 - not for --help

    rows = [list(sources[at : at + columns]) for at in range(0, len(sources), columns)]
    rows += [list(entries[at : at + columns]) for at in range(0, len(entries), columns)]
    width = 2 * _MARGIN + columns * side + (columns - 1) * _GAP
    page = Image.new("RGB", (width, 200 + len(rows) * (side + 8 * _LINE)), "white")
    pen = ImageDraw.Draw(page)
    top = _MARGIN
    for row in rows:
        top = _draw_row(page, pen, row, top, side)
    return page.crop((0, 0, width, top + _MARGIN - _GAP))


def _draw_row(
    page: Image.Image,
    pen: ImageDraw.ImageDraw,
    row: Sequence[tuple[str, Image.Image | None]],
    top: int,
    side: int,
) -> int:
    """Draws pictures with their labels above, and returns where the next row begins."""
    from PIL import Image, ImageOps  # noqa: PLC0415 - as above

    from .chart import FAINT, INK, font  # noqa: PLC0415 - as above

    labels = [_wrapped(pen, label, side) for label, _ in row]
    below = top + max(map(len, labels)) * _LINE + 4
    tallest = _LINE
    for index, ((_, image), lines) in enumerate(zip(row, labels, strict=True)):
        left = _MARGIN + index * (side + _GAP)
        for number, line in enumerate(lines):
            pen.text((left, top + number * _LINE), line, fill=INK, font=font(_TEXT))
        if image is None:
            pen.text((left, below), "not painted", fill=FAINT, font=font(_TEXT))
            continue
        shown = ImageOps.contain(image, (side, side), Image.Resampling.LANCZOS)
        page.paste(shown, (left, below))
        tallest = max(tallest, shown.height)
    return below + tallest + _GAP


def _wrapped(pen: ImageDraw.ImageDraw, text: str, width: int) -> list[str]:
    """Lines of a label that fit the width; an option stays with its value where it can."""
    from .chart import font  # noqa: PLC0415 - as above

    typeface = font(_TEXT)
    lines = [""]
    for part in text.replace(" --", "\n--").split("\n"):
        for piece in [part] if pen.textlength(part, font=typeface) <= width else part.split(" "):
            longer = f"{lines[-1]} {piece}".strip()
            if pen.textlength(longer, font=typeface) <= width or not lines[-1]:
                lines[-1] = longer
            else:
                lines.append(piece)
    return lines
