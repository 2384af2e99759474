"""Sizes of prints: a box in cm, mm or inches, and a resolution, give the longest side of the result in pixels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from styleserve import contract

from ..errors import ControlError
from ..images.resize import size_within
from .control_values import plain_number

UNITS_PER_INCH: Final = {"cm": 2.54, "mm": 25.4, "in": 1.0}
"""Units of lengths."""

MAX_DPI: Final = 10_000

_MIN_SIDE_PX: Final = int(contract.MAX_SIDE.minimum)
_LENGTH: Final = r"(\d{1,6}(?:\.\d{1,6})?)"
_BOX: Final = re.compile(
    rf"{_LENGTH}(?:\s*[x\u00d7]\s*{_LENGTH})?\s*({'|'.join(UNITS_PER_INCH)})", re.ASCII | re.IGNORECASE
)


def checked_dpi(dpi: object) -> int:
    """Resolution in pixels per inch, as an int.

    >>> checked_dpi(300)
    300

    Raises:
        ControlError: It is no whole number from 1 to `MAX_DPI`.
    """
    number = plain_number(dpi, whole=True)
    if number is None or not 1 <= number <= MAX_DPI:
        raise ControlError(
            f"dpi is {dpi!r}; it must be a whole number from 1 to {MAX_DPI}",
            hint="300 is usual for prints. Leave it out to write no resolution.",
        )
    return int(number)


@dataclass(frozen=True)
class PrintBox:
    """Box that a print fits into, upright or lying.

    Attributes:
        long: Longer side in `unit`.
        short: Shorter side in `unit`; None bounds only the longest side.
        unit: One of `UNITS_PER_INCH`.
    """

    long: float
    short: float | None
    unit: str

    @classmethod
    def parse(cls, text: str) -> PrintBox:
        """Box of a text such as "60x40cm", "40x60cm" or "60cm".

        >>> PrintBox.parse("40x60cm") == PrintBox.parse("60 x 40 cm") == PrintBox(60.0, 40.0, "cm")
        True

        Raises:
            ControlError: The text has another form, or a side of 0.
        """
        found = _BOX.fullmatch(text.strip())
        sides = [float(side) for side in found.groups()[:2] if side] if found else []
        if found is None or min(sides) == 0:
            raise ControlError(
                f"size is {text!r}; it must be a print size in {', '.join(UNITS_PER_INCH)}, with sides over 0",
                hint="Give both sides, as in 60x40cm, or the longest, as in 60cm.",
            )
        return cls(max(sides), min(sides) if len(sides) == 2 else None, found[3].lower())

    def pixels(self, dpi: int) -> tuple[int, int | None]:
        """Longer and shorter side in pixels, rounded to the nearest; the shorter one is None without a bound.

        >>> PrintBox.parse("60x40cm").pixels(300)
        (7087, 4724)
        """
        per_unit = dpi / UNITS_PER_INCH[self.unit]
        return round(self.long * per_unit), None if self.short is None else round(self.short * per_unit)

    def max_side(self, size: tuple[int, int], dpi: int) -> int:
        """Largest control `max_side` with which the result fits into the box, turned to the orientation of the content.

        >>> PrintBox.parse("60x40cm").max_side((3000, 4000), 300)  # 4724 x 6299 pixels
        6299

        Args:
            size: Width and height of the content in pixels.
            dpi: Resolution in pixels per inch.

        Raises:
            ControlError: The longest side would have fewer pixels than a model accepts.
        """
        longest, shortest = self.pixels(dpi)
        side = longest
        if shortest is not None:
            # The service rounds the shorter side, which is `shortest` for up to half a pixel more.
            side = min(side, int((shortest + 0.5) * max(size) / min(size)))
            while side >= _MIN_SIDE_PX and min(size_within(size, side)) > shortest:  # a tie that was rounded up
                side -= 1
        if side < _MIN_SIDE_PX:
            raise ControlError(
                f"the longest side of the print has {side} pixels at {dpi} dpi; at least {_MIN_SIDE_PX} are needed",
                hint="Give a larger size, or more dpi.",
            )
        return side

    def described(self, size: tuple[int, int], dpi: int) -> str:
        """Width and height of a result, in pixels and in the unit of the box.

        >>> PrintBox.parse("60x40cm").described((7086, 4724), 300)
        '7086 x 4724 pixels, 59.99 x 40.00 cm at 300 dpi'
        """
        width, height = (f"{side / dpi * UNITS_PER_INCH[self.unit]:.2f}" for side in size)
        return f"{size[0]} x {size[1]} pixels, {width} x {height} {self.unit} at {dpi} dpi"


def print_max_side(size: tuple[int, int], box: str, *, dpi: int) -> int:
    """Control `max_side` of a print that fits into a box; the result keeps the proportions of the content.

    >>> print_max_side((6000, 4000), "60x40cm", dpi=300)  # 7086 x 4724 pixels; with 7087 the height would be 4725
    7086
    >>> print_max_side((6000, 4000), "12in", dpi=300)
    3600

    Args:
        size: Width and height of the content in pixels, such as `load_picture("photo.jpg").image.size`.
        box: Both sides of the print in either order, as in "60x40cm", or the longest, as in "60cm"; in cm, mm or in.
        dpi: Resolution in pixels per inch, from 1 to 10000.

    Raises:
        ControlError: The box or the resolution cannot be used, or the print would be too small for a model.
    """
    return PrintBox.parse(box).max_side(size, checked_dpi(dpi))
