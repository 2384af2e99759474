"""Options of the shell for the pictures of a run beside content and styles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from ..inputs.picture_set import PictureSet

_PANEL: Final = "Pictures"
EVERYWHERE: Final = "-"
"""Path in place of a mask that is white everywhere."""


def picture_option(option: str, metavar: str, text: str) -> Any:  # noqa: ANN401 - as Typer types it
    """Option of the panel "Pictures"."""
    return typer.Option(option, metavar=metavar, help=text, rich_help_panel=_PANEL, show_default=False)


Content = Annotated[Path, typer.Argument(metavar="CONTENT", help="Picture to paint.", show_default=False)]
Styles = Annotated[list[Path], typer.Argument(metavar="STYLE...", help="Paintings to follow.", show_default=False)]
Region = Annotated[
    list[Path] | None,
    picture_option(
        "--region",
        "MASK",
        f"Mask of a style: white where it applies; {EVERYWHERE} is everywhere.",
    ),
]
StyleRegion = Annotated[
    list[Path] | None,
    picture_option("--style-region", "MASK", "Mask of a style picture: white where it is learned from."),
]
Start = Annotated[Path | None, picture_option("--start", "FILE", "Start from this picture, not the content.")]
Reference = Annotated[Path | None, picture_option("--reference", "FILE", "Pull the result towards these pixels.")]
ReferenceMask = Annotated[
    Path | None, picture_option("--reference-mask", "MASK", "Mask of the reference: white where it counts.")
]


def masks(given: Sequence[Path] | None) -> tuple[Path | None, ...]:
    """Paths of masks; None where one is white everywhere."""
    found = tuple(None if str(path) == EVERYWHERE else path for path in given or ())
    return found if any(found) else ()


def paths(
    content: Path,
    styles: Sequence[Path],
    region: Sequence[Path] | None,
    style_region: Sequence[Path] | None,
    start: Path | None,
    reference: Path | None,
    reference_mask: Path | None,
) -> PictureSet[Path]:
    """Paths of all pictures of a run.

    Raises:
        ControlError: The number of masks is not that of the styles.
    """
    return PictureSet[Path](
        content=content,
        styles=tuple(styles),
        content_regions=masks(region),
        style_regions=masks(style_region),
        start=start,
        reference=reference,
        reference_mask=reference_mask,
    )


def picture_arguments(pictures: PictureSet[Path]) -> list[str]:
    """Arguments of the shell for these pictures.

    >>> picture_arguments(PictureSet(content=Path("a.jpg"), styles=(Path("b.png"),), start=Path("c.png")))
    ['a.jpg', 'b.png', '--start', 'c.png']
    """
    arguments = [pictures.content, *pictures.styles]
    options: list[tuple[str, Path | str | None]] = []
    for option, masks in (("--region", pictures.content_regions), ("--style-region", pictures.style_regions)):
        options += [(option, EVERYWHERE if mask is None else mask) for mask in masks]
    options += [
        ("--start", pictures.start),
        ("--reference", pictures.reference),
        ("--reference-mask", pictures.reference_mask),
    ]
    given = [part for option, path in options if path is not None for part in (option, str(path))]
    return [*map(str, arguments), *given]
