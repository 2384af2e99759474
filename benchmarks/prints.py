"""Cost of tiles beside the whole image, and of a pixel by size of the picture, each in a process of its own."""

from __future__ import annotations

from styleserve import contract
from styleserve.model import Precision

from .bench import Bench
from .results import Row, Table
from .scale import columns, measured
from .settings import PrintsSettings
from .worker import Job


def measure(settings: PrintsSettings, bench: Bench) -> list[Table]:
    """Two tables: by side of the tile, and by side of the picture."""
    precision = bench.precision_for(settings.precision).precision
    note = f"paint, L-BFGS, {precision}, {settings.weights} weights; one evaluation; styles of a quarter of the side"
    return [
        Table("An evaluation by tile", _by_tile(settings, precision, bench), [note, "baseline: the whole image"]),
        Table("An evaluation by picture, in tiles", _by_side(settings, precision, bench), [note]),
    ]


def _by_tile(settings: PrintsSettings, precision: Precision, bench: Bench) -> list[Row]:
    rows: list[Row] = []
    whole_s: float | None = None
    for tile in (None, *settings.tiles):
        name = "whole" if tile is None else f"{tile} x {tile}"
        found = measured(_job(settings, precision, settings.side, tile), bench, f"prints: {settings.side} px, {name}")
        whole_s = found.step_s if tile is None and found else whole_s
        ratio = found.step_s / whole_s if found and whole_s else None
        rows.append({"side px": settings.side, "tile px": name, **columns(found), "ratio to the whole": ratio})
    return rows


def _by_side(settings: PrintsSettings, precision: Precision, bench: Bench) -> list[Row]:
    rows: list[Row] = []
    first_us: float | None = None
    for side in settings.sides:
        found = measured(_job(settings, precision, side, settings.tiles[-1]), bench, f"prints: {side} px in tiles")
        us = 1e6 * found.step_s / side**2 if found else None
        first_us = first_us or us
        ratio = us / first_us if us and first_us else None
        rows.append(
            {"side px": side, "tile px": settings.tiles[-1], **columns(found), "us a pixel": us, "ratio": ratio}
        )
    return rows


def _job(settings: PrintsSettings, precision: Precision, side: int, tile: int | None) -> Job:
    return Job(
        side,
        1,
        steps=1,
        rounds=1,
        signature=contract.PAINT,
        precision=precision,
        give_back=False,
        style_scale=0.25,
        tile=tile,
        weights=settings.weights,
    )
