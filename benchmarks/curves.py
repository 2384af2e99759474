"""Chart of the loss over seconds for several loops, drawn with Pillow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from PIL import Image, ImageDraw

from styleserve.client.report.chart import FAINT, INK, font

from .results import Curve

_GRID: Final = "#e4e7eb"
_COLOURS: Final = ("#d1495b", "#2878b5", "#e0a030", "#1f2328")
_SIZE: Final = (900, 480)
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 24, 44, 56

_SMOOTH: Final = 3
"""Factor of supersampling, because Pillow does not antialias lines."""

_TICKS: Final = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
"""Round numbers of a decade that an axis may show."""


def draw_curves(curves: Mapping[str, Curve], level: float) -> Image.Image:
    """A chart of the curves with two logarithmic axes.

    Args:
        curves: Points `(seconds, loss)`, all positive, by name.
        level: Loss of a horizontal line.
    """
    image = Image.new("RGB", (_SIZE[0] * _SMOOTH, _SIZE[1] * _SMOOTH), "white")
    _Chart(ImageDraw.Draw(image), curves, level).draw()
    return image.reduce(_SMOOTH)


class _Chart:
    def __init__(self, pen: ImageDraw.ImageDraw, curves: Mapping[str, Curve], level: float) -> None:
        self.pen = pen
        self.curves = curves
        self.level = level
        points = [point for curve in curves.values() for point in curve]
        self.times = (min(s for s, _ in points), max(s for s, _ in points))
        self.losses = (min(level, *(loss for _, loss in points)) * 0.95, max(loss for _, loss in points) * 1.05)
        self.right, self.bottom = _SIZE[0] - _RIGHT, _SIZE[1] - _BOTTOM

    def x(self, time_s: float) -> float:
        return _LEFT + (self.right - _LEFT) * _place(time_s, self.times)

    def y(self, loss: float) -> float:
        return self.bottom - (self.bottom - _TOP) * _place(loss, self.losses)

    def draw(self) -> None:
        for loss in round_numbers(*self.losses):
            self._line([(_LEFT, self.y(loss)), (self.right, self.y(loss))], _GRID, 1)
            self._text((_LEFT - 12, self.y(loss)), _label(loss), "rm", FAINT)
        for time_s in round_numbers(*self.times):
            self._line([(self.x(time_s), self.bottom), (self.x(time_s), self.bottom + 6)], FAINT, 1)
            self._text((self.x(time_s), self.bottom + 18), _label(time_s), "mm", FAINT)
        self._line([(_LEFT, self.bottom), (self.right, self.bottom)], FAINT, 1)
        self._line([(_LEFT, self.y(self.level)), (self.right, self.y(self.level))], FAINT, 1.5)
        for curve, colour in zip(self.curves.values(), _COLOURS, strict=False):
            self._line([(self.x(time_s), self.y(loss)) for time_s, loss in curve], colour, 3)
            time_s, loss = curve[-1]
            self._dot((self.x(time_s), self.y(loss)), colour)
        self._legend()
        self._text((0, _TOP - 24), "loss", "lm", FAINT)
        self._text(((_LEFT + self.right) / 2, self.bottom + 42), "seconds", "mm", FAINT)

    def _legend(self) -> None:
        """Draws the legend at the top right, which falling curves leave free."""
        for row, (name, colour) in enumerate(zip(self.curves, _COLOURS, strict=False)):
            y = _TOP + 16 + 26 * row
            self._text((self.right - 40, y), name, "rm", INK)
            self._line([(self.right - 30, y), (self.right, y)], colour, 4)

    def _line(self, points: list[tuple[float, float]], colour: str, width: float) -> None:
        scaled = [(x * _SMOOTH, y * _SMOOTH) for x, y in points]
        self.pen.line(scaled, fill=colour, width=round(width * _SMOOTH), joint="curve")

    def _dot(self, at: tuple[float, float], colour: str) -> None:
        self.pen.ellipse(
            [(at[0] - 6) * _SMOOTH, (at[1] - 6) * _SMOOTH, (at[0] + 6) * _SMOOTH, (at[1] + 6) * _SMOOTH], colour
        )

    def _text(self, at: tuple[float, float], text: str, anchor: str, colour: str) -> None:
        self.pen.text((at[0] * _SMOOTH, at[1] * _SMOOTH), text, fill=colour, font=font(16 * _SMOOTH), anchor=anchor)


def _place(value: float, ends: tuple[float, float]) -> float:
    low, high = (math.log(end) for end in ends)
    return (math.log(value) - low) / max(high - low, 1e-9)


def round_numbers(low: float, high: float, most: int = 8) -> list[float]:
    """Round numbers on a logarithmic axis between two ends, at most `most`.

    >>> round_numbers(0.2, 120), round_numbers(1.4e6, 4e6)
    ([0.3, 1.0, 3.0, 10.0, 30.0, 100.0], [1500000.0, 2000000.0, 3000000.0])
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for ticks in (_TICKS, (1.0, 2.0, 5.0), (1.0, 3.0), (1.0,)):
        marks = (float(f"{tick}e{decade}") for decade in decades for tick in ticks)
        numbers = [mark for mark in marks if low <= mark <= high]
        if len(numbers) <= most:
            return numbers
    return numbers[:: math.ceil(len(numbers) / most)]


def _label(value: float) -> str:
    return f"{value:g}" if value < 1e5 else f"{value / 1e6:g}M"
