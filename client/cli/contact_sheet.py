"""The command `contact-sheet`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from styleserve import __version__

from ..images.save import check_output, save_image, save_or_fall_back
from ..inputs.controls import Controls
from ..inputs.picture_set import keeps_16_bits
from ..report.contact_sheet import SheetEntry, default_entries, draw_sheet, varied_entries
from .options import Json, Timeout
from .output_checks import refuse_collisions
from .picture_options import Content, Reference, ReferenceMask, Region, Start, StyleRegion, Styles, paths
from .printing import print_json, print_message
from .progress_display import Progress, Quiet, progress_display
from .stylize import Output

if TYPE_CHECKING:
    from PIL import Image

    from ..api.client import StyleClient
    from ..images.picture import Picture
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
    progress: Progress = True,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Paint a sheet of small results, each labelled with its options."""
    given = paths(content, style, region, style_region, start, reference, reference_mask)
    refuse_collisions({"sheet": output}, dict(given.items()))
    check_output(output)
    base = controls.over(Controls(max_side=_SIDE_PX))
    entries, columns = varied_entries(base, vary) if vary else (default_entries(base), _COLUMNS)
    for entry in entries:
        given.check(entry.controls)
    pictures = given.map(lambda path, role: client.load_picture(path, keep_16_bits=keeps_16_bits(role)))
    painted: list[Image.Image] = []
    try:
        _paint(client, pictures, entries, painted, timeout_s=timeout, progress=progress and not quiet)
    finally:
        if painted:
            _save(output, pictures, entries, painted, columns)
            if len(painted) < len(entries):
                print_message(f"Note: {len(painted)} of {len(entries)} results are on {output}.")
    if as_json:
        print_json({"output": str(output), "cells": {entry.label: entry.controls.given() for entry in entries}})
    else:
        typer.echo(f"{output}: {len(entries)} results")


def _paint(
    client: StyleClient,
    pictures: PictureSet[Picture],
    entries: Sequence[SheetEntry],
    painted: list[Image.Image],
    *,
    timeout_s: float | None,
    progress: bool,
) -> None:
    """Paints the entries one after the other and adds each result to `painted`."""
    work = [entry.controls.expected_steps * entry.controls.expected_max_side**2 for entry in entries]
    total = max(sum(work), 1)
    sources = pictures.arguments()
    with progress_display("Painting", shown=progress) as show:
        for number, entry in enumerate(entries):
            if not progress:
                painted.append(client.stylize(**sources, controls=entry.controls, timeout_s=timeout_s).image)
                continue
            before = sum(work[:number])
            for chunk in client.stylize_iter(**sources, controls=entry.controls, timeout_s=timeout_s):
                show((before + work[number] * chunk.fraction) / total, [f"{number + 1}/{len(entries)}", entry.label])
                if chunk.result is not None:
                    painted.append(chunk.result.image)


def _save(
    output: Path,
    pictures: PictureSet[Picture],
    entries: Sequence[SheetEntry],
    painted: Sequence[Image.Image],
    columns: int,
) -> None:
    styles = pictures.styles
    names = ["style"] if len(styles) == 1 else [f"style {number}" for number in range(1, len(styles) + 1)]
    sources = [
        (name, picture.image) for name, picture in zip(["content", *names], [pictures.content, *styles], strict=True)
    ]
    images = [*painted, *[None] * (len(entries) - len(painted))]
    side = max(max(image.size) for image in painted)
    results = [(entry.label, image) for entry, image in zip(entries, images, strict=True)]
    sheet = draw_sheet(sources, results, columns, side)
    text = {"Software": f"styleserve {__version__}", "Settings": "; ".join(entry.label for entry in entries)}
    save_or_fall_back(lambda path: save_image(sheet, path, text=text), output)
