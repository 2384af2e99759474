"""Curves of the losses as SVG, in the colours of the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from markupsafe import Markup, escape

from styleserve import contract

_WIDTH: Final = 640
_HEIGHT: Final = 190
_LEFT: Final = 52
_BOTTOM: Final = 24
_TOP: Final = 10
_MOST_POINTS: Final = 300
_DECADES: Final = 6
"""Decades below the largest loss that are shown."""


def loss_chart(rows: Sequence[Sequence[float]]) -> str:
    """Curves of all columns on a logarithmic scale.

    Args:
        rows: Losses, a row for each evaluation; columns as in `contract.LOSS_COLUMNS`.
    """
    columns = list(zip(*rows, strict=True)) if rows else []
    positive = [value for column in columns for value in column if value > 0]
    if not positive:
        return str(Markup('<p class="faint">No step has ended yet.</p>'))
    top = math.ceil(math.log10(max(positive)))
    low = max(math.floor(math.log10(min(positive))), top - _DECADES)
    low = min(low, top - 1)

    def point(step: int, value: float) -> str:
        x = _LEFT + (_WIDTH - _LEFT) * step / max(len(rows) - 1, 1)
        y = _TOP + (_HEIGHT - _TOP - _BOTTOM) * (top - math.log10(value)) / (top - low)
        return f"{x:.1f},{y:.1f}"

    every = math.ceil(len(rows) / _MOST_POINTS)
    parts = [_axis(decade, top, low) for decade in range(low, top + 1)]
    names: list[str] = []
    for name, column in zip(contract.LOSS_COLUMNS, columns, strict=True):
        shown = [point(step, value) for step, value in enumerate(column) if value > 10.0**low and step % every == 0]
        if shown:
            parts.append(f'<polyline class="curve curve-{name}" points="{" ".join(shown)}"/>')
            names.append(f'<li class="curve-{name}">{escape(name.replace("_", " "))}</li>')
    parts.append(f'<text x="{_WIDTH}" y="{_HEIGHT - 6}" text-anchor="end">{len(rows)} steps</text>')
    label = f"Losses of {len(rows)} steps on a logarithmic scale; the total fell to {columns[0][-1]:.3g}."
    return (
        f'<ul class="legend">{"".join(names)}</ul>'
        f'<svg class="losses" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )


def _axis(decade: int, top: int, low: int) -> str:
    y = _TOP + (_HEIGHT - _TOP - _BOTTOM) * (top - decade) / (top - low)
    return (
        f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">1e{decade}</text>'
    )
