"""Chart of the losses, drawn with Pillow alone."""

from __future__ import annotations

import math
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from styleserve import contract

from ..wire.results import Floats

INK: Final = "#1f2328"
FAINT: Final = "#6e7781"
_GRID: Final = "#e4e7eb"
_CURVES: Final = dict(zip(contract.LOSS_COLUMNS, ("#1f2328", "#d1495b", "#2878b5", "#e0a030", "#3a8f5c"), strict=True))

_SMOOTH: Final = 3
"""Scale of the drawing before it is reduced, which smooths lines; Pillow draws them with hard edges."""

_LEFT: Final = 84
_RIGHT: Final = 24
_TOP: Final = 44
_BOTTOM: Final = 56
_MOST_DECADES: Final = 12
"""Most decades of the loss axis; smaller losses are cut off, as they would flatten all others."""


def font(size: float) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """Pillow's own typeface, which is the same on every machine."""
    return ImageFont.load_default(size=size)


def draw_losses(losses: Floats, size: tuple[int, int], loss_of: str) -> Image.Image:
    """Curves of all columns on a logarithmic scale, with axes and legend.

    Args:
        losses: `[steps, 5]` float32, finite; values that are not positive are left out.
        size: Width and height in pixels.
        loss_of: Title of the loss axis.
    """
    image = Image.new("RGB", (size[0] * _SMOOTH, size[1] * _SMOOTH), "white")
    positive = losses[losses > 0]
    if not len(positive):
        _text(
            image, (size[0] / 2, size[1] / 2), "No steps, no losses." if not len(losses) else "Every loss is 0.", "mm"
        )
        return image.reduce(_SMOOTH)
    _Chart(image, size, losses, float(positive.min()), float(positive.max())).draw(loss_of)
    return image.reduce(_SMOOTH)


class _Chart:
    def __init__(self, image: Image.Image, size: tuple[int, int], losses: Floats, low: float, high: float) -> None:
        self.image = image
        self.pen = ImageDraw.Draw(image)
        self.losses = losses
        self.right, self.bottom = size[0] - _RIGHT, size[1] - _BOTTOM
        self.top_decade = math.ceil(math.log10(high))
        self.low_decade = max(math.floor(math.log10(low)), self.top_decade - _MOST_DECADES)
        if self.low_decade == self.top_decade:
            self.low_decade -= 1

    def x(self, step: float) -> float:
        return _LEFT + (self.right - _LEFT) * (step - 1) / max(len(self.losses) - 1, 1)

    def y(self, loss: float) -> float:
        decades = self.top_decade - self.low_decade
        return _TOP + (self.bottom - _TOP) * (self.top_decade - math.log10(loss)) / decades

    def draw(self, loss_of: str) -> None:
        self._loss_axis(loss_of)
        self._step_axis()
        for column, colour in enumerate(_CURVES.values()):
            # The total is drawn first and broad, so that it shows behind a part that makes up nearly all of it.
            self._curve(column, colour, 6 if column == 0 else 2.5)
        self._legend()

    def _loss_axis(self, loss_of: str) -> None:
        every = math.ceil((self.top_decade - self.low_decade) / 6)
        for decade in range(self.low_decade, self.top_decade + 1):
            y = self.y(10.0**decade)
            self._line([(_LEFT, y), (self.right, y)], _GRID, 1)
            if (self.top_decade - decade) % every == 0:
                _power_of_ten(self.image, (_LEFT - 12, y), decade)
        _text(self.image, (0, _TOP - 28), loss_of, "lm", FAINT)

    def _step_axis(self) -> None:
        for step in _ticks(len(self.losses)):
            x = self.x(step)
            self._line([(x, self.bottom), (x, self.bottom + 6)], FAINT, 1)
            _text(self.image, (x, self.bottom + 18), str(step), "mm", FAINT)
        self._line([(_LEFT, self.bottom), (self.right, self.bottom)], FAINT, 1)
        _text(self.image, ((_LEFT + self.right) / 2, self.bottom + 42), "step", "mm", FAINT)

    def _curve(self, column: int, colour: str, width: float) -> None:
        floor = 10.0**self.low_decade
        run: list[tuple[float, float]] = []
        for step, loss in enumerate(self.losses[:, column].tolist(), start=1):
            if loss >= floor:
                run.append((self.x(step), self.y(loss)))
            else:
                self._line(run, colour, width)
                run = []
        self._line(run, colour, width)

    def _legend(self) -> None:
        right = float(self.right)
        drawn = [item for column, item in enumerate(_CURVES.items()) if (self.losses[:, column] > 0).any()]
        for name, colour in reversed(drawn):
            label = name.replace("_", " ")
            right -= self.pen.textlength(label, font=font(16 * _SMOOTH)) / _SMOOTH
            _text(self.image, (right, _TOP - 28), label, "lm")
            self._line([(right - 34, _TOP - 28), (right - 10, _TOP - 28)], colour, 4)
            right -= 62

    def _line(self, points: list[tuple[float, float]], colour: str, width: float) -> None:
        if len(points) == 1:
            (x, y), radius = points[0], width + 1
            box = [side * _SMOOTH for side in (x - radius, y - radius, x + radius, y + radius)]
            self.pen.ellipse(box, fill=colour)
            return
        if not points:
            return
        scaled = [(x * _SMOOTH, y * _SMOOTH) for x, y in points]
        self.pen.line(scaled, fill=colour, width=round(width * _SMOOTH), joint="curve")


def _ticks(steps: int) -> list[int]:
    """Round numbers from 1 to the last step.

    >>> _ticks(100), _ticks(3), _ticks(1)
    ([1, 20, 40, 60, 80, 100], [1, 2, 3], [1])
    """
    rough = max(steps / 6, 1)
    power = 10 ** math.floor(math.log10(rough))
    stride = next(int(factor * power) for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [1, *(step for step in range(stride, steps + 1, stride) if step > 1)]


def _text(
    image: Image.Image, at: tuple[float, float], text: str, anchor: str, colour: str = INK, size: float = 16
) -> None:
    place = (at[0] * _SMOOTH, at[1] * _SMOOTH)
    ImageDraw.Draw(image).text(place, text, fill=colour, font=font(size * _SMOOTH), anchor=anchor)


def _power_of_ten(image: Image.Image, at: tuple[float, float], exponent: int) -> None:
    """10 with its exponent, ending at a point."""
    raised = str(exponent)
    width = ImageDraw.Draw(image).textlength(raised, font=font(11 * _SMOOTH)) / _SMOOTH
    _text(image, (at[0], at[1] - 6), raised, "rm", FAINT, 11)
    _text(image, (at[0] - width - 2, at[1]), "10", "rm", FAINT)
