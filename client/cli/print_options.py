"""Options of the shell for prints: resolution and size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ControlError
from ..inputs.controls import UNSET, Controls
from ..inputs.print_size import PrintBox, checked_dpi
from .printing import print_message

if TYPE_CHECKING:
    from ..images.picture import Picture

Dpi = Annotated[
    int | None,
    typer.Option("--dpi", metavar="N", help="Resolution, written into the file.", show_default=False),
]
Size = Annotated[
    str | None,
    typer.Option("--size", metavar="SIZE", help="Size of the print, as in 60x40cm.", show_default=False),
]


@dataclass(frozen=True)
class PrintOptions:
    """Resolution and size of a print.

    Attributes:
        dpi: Resolution in pixels per inch; None writes none.
        box: Box that the print fits into; None leaves the size to the controls.
    """

    dpi: int | None = None
    box: PrintBox | None = None

    @classmethod
    def given(cls, dpi: int | None, size: str | None, controls: Controls) -> PrintOptions:
        """Print options of the shell.

        Args:
            dpi: Value of `--dpi`, or that of a recipe.
            size: Value of `--size`.
            controls: Controls that the options name.

        Raises:
            ControlError: A value cannot be used, `--size` has no resolution, or `--max-side` is given too.
        """
        resolution = None if dpi is None else checked_dpi(dpi)
        box = None if size is None else PrintBox.parse(size)
        if box is not None and resolution is None:
            raise ControlError(f"size is {size}, but no resolution is given", hint="Add one, such as --dpi 300.")
        if box is not None and controls.max_side is not UNSET:
            raise ControlError(
                f"size is {size}, and max_side is {controls.max_side}: both set the size of the result",
                hint="Give --size or --max-side.",
            )
        return cls(resolution, box)

    def sized(self, controls: Controls, content: Picture) -> Controls:
        """The controls with the largest side that fits into the box; prints the size.

        Raises:
            ControlError: The print would be too small for a model.
        """
        if self.box is None or self.dpi is None:
            return controls
        side = self.box.max_side(content.image.size, self.dpi)
        print_message(f"Size: {self.box.described(content.size_within(side), self.dpi)}.")
        return Controls(max_side=side).over(controls)
