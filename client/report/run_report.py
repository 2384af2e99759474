"""Report of a run as one picture: its pictures, losses, and high frequencies before and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from styleserve import __version__

from ..images.picture import Picture
from ..inputs.controls import OPTIMIZER_NAMES
from ..wire.results import Description, Floats, StylizedResult
from .chart import FAINT, INK, draw_losses, font

_WIDTH: Final = 1400
_MARGIN: Final = 48
_GAP: Final = 20
_INNER: Final = _WIDTH - 2 * _MARGIN
_PICTURE_HEIGHT: Final = 400
_CHART_HEIGHT: Final = 400
_DETAIL_HEIGHT: Final = 300
_LABEL: Final = 34
_FRAME: Final = "#f3f4f6"
_LOSS_OF: Final[dict[str, str]] = {"lbfgs": "loss after the step", "adam": "loss before the step"}


def draw_report(
    content: Picture, styles: Sequence[Picture], result: StylizedResult, before: Description, after: Description
) -> Image.Image:
    """Report of a run.

    Args:
        content: Picture that was painted.
        styles: Paintings that were followed.
        result: Result of the run.
        before: Description of the content, at the size of the result.
        after: Description of the result.
    """
    page = _Page()
    page.heading("Style transfer", _summary(result))
    page.row(
        [("content", content.image), *_labelled(styles, result), ("result", result.image)],
        _PICTURE_HEIGHT,
    )
    page.section("Losses", "each with its weight; together they are the total")
    page.put(draw_losses(result.losses, (_INNER, _CHART_HEIGHT), _LOSS_OF[result.optimizer]))
    page.section(
        "High frequencies",
        f"total variation {before.total_variation:,.0f} before, {after.total_variation:,.0f} after; grey is no change",
    )
    for when, description in (("before", before), ("after", after)):
        page.row([(f"{name}, {when}", image) for name, image in _details(description)], _DETAIL_HEIGHT)
    return page.finished(f"styleserve {__version__}")


def _summary(result: StylizedResult) -> str:
    facts = [
        f"{result.image.width} x {result.image.height} pixels",
        f"{result.steps} step{'' if result.steps == 1 else 's'} of {OPTIMIZER_NAMES[result.optimizer]}",
        f"{result.timings.call_s:.1f} s",
        f"{result.model_name} version {result.model_version}",
    ]
    if len(result.octaves) > 1:
        facts.insert(2, f"sizes {', '.join(str(octave.max_side) for octave in result.octaves)}")
    if result.steps:
        facts.insert(2, f"loss {_number(result.losses[0, 0])} to {_number(result.losses[-1, 0])}")
    return "   |   ".join(facts)


def _labelled(styles: Sequence[Picture], result: StylizedResult) -> list[tuple[str, Image.Image]]:
    """Styles with their labels: number and share or region, where there are several."""
    if len(styles) == 1:
        return [("style", styles[0].image)]
    if result.recipe.pictures.content_regions:
        return [(f"style {number}, in its region", style.image) for number, style in enumerate(styles, start=1)]
    blend = result.controls.style_blend
    shares = list(blend) if isinstance(blend, tuple) and len(blend) == len(styles) else [1.0] * len(styles)
    return [
        (f"style {number}, {share / sum(shares):.0%}", style.image)
        for number, (style, share) in enumerate(zip(styles, shares, strict=True), start=1)
    ]


def _number(loss: float) -> str:
    return f"{loss:,.0f}" if 1000 <= loss < 1e9 else f"{loss:.4g}"


def _details(description: Description) -> list[tuple[str, Image.Image]]:
    """Differences and edges as the style-transfer tutorial shows them: doubled or quartered around mid-grey."""
    return [
        ("differences along x", _around_grey(2.0 * description.high_pass_x)),
        ("differences along y", _around_grey(2.0 * description.high_pass_y)),
        ("Sobel edges along x", _around_grey(description.sobel_edges[..., 1] / 4.0)),
        ("Sobel edges along y", _around_grey(description.sobel_edges[..., 0] / 4.0)),
    ]


def _around_grey(values: Floats) -> Image.Image:
    return Image.fromarray(np.rint(np.clip(values + 0.5, 0.0, 1.0) * 255.0).astype(np.uint8))


class _Page:
    """Page that is drawn from top to bottom."""

    def __init__(self) -> None:
        self._image = Image.new("RGB", (_WIDTH, 4000), "white")
        self._pen = ImageDraw.Draw(self._image)
        self._y = _MARGIN

    def heading(self, title: str, facts: str) -> None:
        self._text((_MARGIN, self._y), title, INK, 40)
        self._text((_MARGIN, self._y + 56), facts, FAINT, 18)
        self._y += 100

    def section(self, title: str, remark: str) -> None:
        self._y += 24
        self._pen.line((_MARGIN, self._y, _WIDTH - _MARGIN, self._y), fill=_FRAME, width=2)
        self._y += 28
        self._text((_MARGIN, self._y), title, INK, 26)
        width = self._pen.textlength(title, font=font(26))
        self._text((_MARGIN + width + 16, self._y + 7), remark, FAINT, 17)
        self._y += 54

    def row(self, pictures: list[tuple[str, Image.Image]], height: int) -> None:
        """Pictures side by side, each as large as its place allows, with a label above."""
        width = (_INNER - _GAP * (len(pictures) - 1)) // len(pictures)
        shown = [ImageOps.contain(image, (width, height), Image.Resampling.LANCZOS) for _, image in pictures]
        tallest = max(image.height for image in shown)
        for index, ((label, _), image) in enumerate(zip(pictures, shown, strict=True)):
            left, top = _MARGIN + index * (width + _GAP), self._y + _LABEL
            self._text((left, self._y), label, FAINT, 17)
            self._pen.rectangle((left, top, left + width - 1, top + tallest - 1), fill=_FRAME)
            self._image.paste(image, (left + (width - image.width) // 2, top + (tallest - image.height) // 2))
        self._y += _LABEL + tallest + _GAP

    def put(self, image: Image.Image) -> None:
        """A picture over the whole width."""
        self._image.paste(image, (_MARGIN, self._y))
        self._y += image.height

    def finished(self, footer: str) -> Image.Image:
        self._pen.text((_WIDTH - _MARGIN, self._y + 8), footer, fill=FAINT, font=font(15), anchor="ra")
        return self._image.crop((0, 0, _WIDTH, self._y + _MARGIN))

    def _text(self, at: tuple[float, float], text: str, colour: str, size: float) -> None:
        self._pen.text(at, text, fill=colour, font=font(size))
