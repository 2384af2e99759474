"""What a model takes, in numbers, and the texts that refuse more. Part of the wire contract; import it from there.

A graph and a server in front of it refuse with the same text. Each begins with the name of an input and ends before the
numbers that came.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_INT32_MAX: Final = 2**31 - 1


@dataclass(frozen=True)
class Limits:
    """Bounds that the exporter writes into the graph, so that every server enforces them.

    Attributes:
        max_side: longest side of an image that is worked on, in pixels.
        max_steps: most optimisation steps of one call.
        max_batch: most examples of one call.
        max_styles: most styles of one example.
        max_encoded_pixels: most pixels that an encoded picture may have before it is resized.
        max_pixels: most pixels of an image that is worked on; None for the square of `max_side`.
        max_batch_pixels: most pixels of the images of one call together, batch x height x width; None for `max_pixels`.
        max_encoded_bytes: most bytes of an encoded picture; None for 16 MiB, and 8 for each of `max_encoded_pixels`.
        max_work: most megapixel-steps of one call, pixels x steps x examples; None for the product of the others.

    Raises:
        ValueError: a limit is not positive or over 2^31 - 1, `max_side` is below 16, or `max_batch_pixels` is below the
            pixels of one image.
    """

    max_side: int = 1024
    max_steps: int = 5000
    max_batch: int = 8
    max_styles: int = 8
    max_encoded_pixels: int = 64_000_000
    max_pixels: int | None = None
    max_batch_pixels: int | None = None
    max_encoded_bytes: int | None = None
    max_work: float | None = None

    def __post_init__(self) -> None:
        if self.max_work is not None and not 0 < self.max_work < math.inf:  # NaN is in no range
            raise ValueError(f"max_work is {self.max_work}; it must be over 0, and finite")
        counts = {name: value for name, value in vars(self).items() if name != "max_work" and value is not None}
        for name, value in counts.items():
            if not 1 <= value <= _INT32_MAX:
                raise ValueError(f"{name} is {value}; it must be at least 1, and at most {_INT32_MAX}")
        if self.max_side < 16:
            raise ValueError(f"max_side is {self.max_side}; the network needs at least 16 pixels")
        if self.max_batch_pixels is not None and self.max_batch_pixels < self._image_pixels:
            raise ValueError(
                f"max_batch_pixels is {self.max_batch_pixels}; it must be at least {self._image_pixels}, the pixels of "
                "the largest image"
            )

    @property
    def _image_pixels(self) -> int:
        square = min(self.max_side**2, _INT32_MAX)
        return square if self.max_pixels is None else min(self.max_pixels, square)

    def numbers(self) -> dict[str, float]:
        """Every limit by its name, with what follows from others filled in.

        >>> Limits(max_side=500, max_steps=100, max_batch=1).numbers()["max_work"]
        25.0
        """
        pixels = self._image_pixels
        together = pixels if self.max_batch_pixels is None else min(self.max_batch_pixels, pixels * self.max_batch)
        most = pixels * self.max_steps * self.max_batch / 1e6
        encoded = min(8 * self.max_encoded_pixels + 2**24, _INT32_MAX)
        return {
            "max_side": self.max_side,
            "max_pixels": pixels,
            "max_batch_pixels": together,
            "max_steps": self.max_steps,
            "max_batch": self.max_batch,
            "max_styles": self.max_styles,
            "max_work": most if self.max_work is None else min(self.max_work, most),
            "max_encoded_pixels": self.max_encoded_pixels,
            "max_encoded_bytes": encoded if self.max_encoded_bytes is None else self.max_encoded_bytes,
        }


def range_rule(minimum: float, maximum: float) -> str:
    """For the values of a control, both bounds inclusive."""
    return f"must be from {minimum:g} to {maximum:g}; got"


def batch_rule(max_batch: int) -> str:
    """For the number of examples."""
    return f"must have a batch size from 1 to {max_batch}; got"


def choice_rule(choices: Sequence[str]) -> str:
    """For the values of a control that is a choice."""
    return f"must be one of {', '.join(choices)}; got"


def styles_rule(max_styles: int) -> str:
    """For the number of styles of an example."""
    return f"must have from 1 to {max_styles} styles; got"


def per_rule(per: str) -> str:
    """For an input that has one value for all styles (or layers), or one for each."""
    return f"must have one value, or one for each {per}; got, and the number of {per}s:"


BLEND_RULE: Final = "must not be 0 for all styles; got"
"""For `style_blend`."""

MASK_RULE: Final = "must not be black everywhere; got the mean of each:"
"""For a mask."""

THE_BATCH: Final = "the batch"
"""What the values of a control are held against."""


def partner_rule(partner: str) -> str:
    """For an input that has one example for all, or as many as its partner."""
    return f"must have batch size 1 or that of {partner}; got, and {partner} has:"


def sides_rule(min_side: int, max_side: int) -> str:
    """For height and width of an image that is worked on."""
    return f"must have sides from {min_side} to {max_side} pixels; got height, width:"


def pixels_rule(max_pixels: int) -> str:
    """For height and width of an image that is worked on, or of a file."""
    return f"must have at most {max_pixels} pixels; got height, width:"


def batch_pixels_rule(max_batch_pixels: int) -> str:
    """For batch size, height and width of images that are worked on together."""
    return f"must have at most {max_batch_pixels} pixels in all its images together; got batch, height, width:"


def bytes_rule(max_encoded_bytes: int) -> str:
    """For the size of a file."""
    return f"must have at most {max_encoded_bytes} bytes; got"


def work_rule(max_work: float) -> str:
    """For all of a call, in megapixel-steps; behind `steps`, which is what can be changed most easily."""
    return (
        f"must be fewer, or pictures smaller, or examples fewer: one call may take {max_work:g} megapixel-steps "
        "(pixels x steps x examples / 1000000); got"
    )


RESIZED: Final = ", resized to a longest side of max_side (x style_scale for a style),"
"""Behind the name of an input whose files are resized, where a rule is for what becomes of them."""
