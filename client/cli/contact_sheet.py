"""The command `contact-sheet`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from styleserve import __version__

from ..images.save import check_output, save_image, save_or_fall_back
from ..inputs.controls import Controls
from ..report.contact_sheet import Cell, draw_sheet, usual_cells, varied_cells
from . import printing
from .options import Json, Timeout, loaded
from .picture_options import Content, Reference, ReferenceMask, Region, Start, StyleRegion, Styles, paths
from .stylize import Output, Quiet, refuse_collisions

if TYPE_CHECKING:
    from PIL import Image

    from ..api.client import StyleClient
    from ..images.source import PictureSource
    from ..inputs.picture_set import PictureSet

_SIDE_PX: Final = 192
_COLUMNS: Final = 4


def contact_sheet(
    client: StyleClient,
    content: Content,
    style: Styles,
    output: Output,
    *,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=V,V,...",
            help="Vary this control or preset; twice, a grid.",
            show_default="presets, strokes, colours",
        ),
    ] = None,
    region: Region = None,
    style_region: StyleRegion = None,
    start: Start = None,
    reference: Reference = None,
    reference_mask: ReferenceMask = None,
    controls: Controls,
    timeout: Timeout = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Paint a sheet of small results, each labelled with its options."""
    given = paths(content, style, region, style_region, start, reference, reference_mask)
    refuse_collisions({"sheet": output}, dict(given.items()))
    check_output(output)
    base = controls.over(Controls(max_side=_SIDE_PX))
    cells, columns = varied_cells(base, vary) if vary else (usual_cells(base), _COLUMNS)
    for cell in cells:
        given.check(cell.controls)
    pictures: PictureSet[PictureSource] = given.map(lambda path, _: loaded(path))
    painted: list[Image.Image] = []
    try:
        _paint(client, pictures, cells, painted, timeout_s=timeout, shown=printing.is_watched(quiet=quiet or as_json))
    finally:
        if painted:
            _save(output, pictures, cells, painted, columns)
            if len(painted) < len(cells):
                printing.say(f"Note: {len(painted)} of {len(cells)} results are on {output}.")
    if as_json:
        controls_of_cells = {cell.label: cell.controls.given() for cell in cells}
        printing.print_json({"output": str(output), "cells": controls_of_cells})
    else:
        typer.echo(f"{output}: {len(cells)} results")


def _paint(
    client: StyleClient,
    pictures: PictureSet[PictureSource],
    cells: Sequence[Cell],
    painted: list[Image.Image],
    *,
    timeout_s: float | None,
    shown: bool,
) -> None:
    """Paints the cells one after the other and adds each result to `painted`, under one progress bar."""
    work = [cell.controls.expected_steps * cell.controls.expected_max_side**2 for cell in cells]
    total = max(sum(work), 1)
    with printing.progress_bar("Painting", shown=shown) as show:
        for number, cell in enumerate(cells):
            before = sum(work[:number])
            for progress in client.stylize_iter(**pictures.arguments(), controls=cell.controls, timeout_s=timeout_s):
                facts = [f"{number + 1}/{len(cells)}", cell.label]
                show((before + work[number] * progress.fraction) / total, facts)
                if progress.result is not None:
                    painted.append(progress.result.image)


def _save(
    output: Path,
    pictures: PictureSet[PictureSource],
    cells: Sequence[Cell],
    painted: Sequence[Image.Image],
    columns: int,
) -> None:
    from ..images.source import load_picture  # noqa: PLC0415 - brings NumPy

    styles = pictures.styles
    names = ["style"] if len(styles) == 1 else [f"style {number}" for number in range(1, len(styles) + 1)]
    sources = [
        (name, load_picture(source).image)
        for name, source in zip(["content", *names], [pictures.content, *styles], strict=True)
    ]
    images = [*painted, *[None] * (len(cells) - len(painted))]
    side = max(max(image.size) for image in painted)
    sheet = draw_sheet(sources, [(cell.label, image) for cell, image in zip(cells, images, strict=True)], columns, side)
    text = {"Software": f"styleserve {__version__}", "Settings": "; ".join(cell.label for cell in cells)}
    save_or_fall_back(lambda path: save_image(sheet, path, text=text), output)
