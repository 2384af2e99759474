"""Limits of a model, and the error texts of the wire contract; import both from `contract`.

The graph and the embedded server refuse a request with the same text: the name of the input, a rule from here, and the
numbers that came.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_INT32_MAX: Final = 2**31 - 1
LARGEST_SIDE: Final = 2**14
"""Longest side that any model accepts, in pixels."""
_MIN_ENCODED_PIXELS: Final = 64_000_000


@dataclass(frozen=True)
class Limits:
    """Limits that the exporter writes into the graph, so that every server enforces them.

    Attributes:
        max_side: Longest side of a processed image, in pixels, at most 16384.
        max_steps: Most optimisation steps of one call.
        max_batch: Most examples of one call.
        max_styles: Most styles of one example.
        max_encoded_pixels: Most pixels of an encoded picture, before it is resized; None for 64 million, or those of
            the largest image if they are more.
        max_pixels: Most pixels of a processed image; None for the square of `max_side`.
        max_batch_pixels: Most pixels of all images of one call, batch x height x width; None for `max_pixels`.
        max_encoded_bytes: Most bytes of an encoded picture; None for 16 MiB plus 8 for each of `max_encoded_pixels`.
        max_work: Most megapixel-steps of one call, pixels x steps x examples; None for the product of the others.

    Raises:
        ValueError: A limit is not positive or over 2^31 - 1, `max_side` is below 16, or `max_batch_pixels` is below the
            pixels of one image.
    """

    max_side: int = 1024
    max_steps: int = 5000
    max_batch: int = 8
    max_styles: int = 8
    max_encoded_pixels: int | None = None
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
        if not 16 <= self.max_side <= LARGEST_SIDE:
            raise ValueError(f"max_side is {self.max_side}; it must be from 16 to {LARGEST_SIDE} pixels")
        if self.max_batch_pixels is not None and self.max_batch_pixels < self._image_pixels:
            raise ValueError(
                f"max_batch_pixels is {self.max_batch_pixels}; it must be at least {self._image_pixels}, the pixels of "
                "the largest image"
            )

    @property
    def _image_pixels(self) -> int:
        return self.max_side**2 if self.max_pixels is None else min(self.max_pixels, self.max_side**2)

    def numbers(self) -> dict[str, float]:
        """Every limit by its name; those that are None are derived from the others.

        >>> Limits(max_side=500, max_steps=100, max_batch=1).numbers()["max_work"]
        25.0
        """
        pixels = self._image_pixels
        together = pixels if self.max_batch_pixels is None else min(self.max_batch_pixels, pixels * self.max_batch)
        most = pixels * self.max_steps * self.max_batch / 1e6
        file_pixels = self.max_encoded_pixels or max(_MIN_ENCODED_PIXELS, pixels)
        encoded = min(8 * file_pixels + 2**24, _INT32_MAX)
        return {
            "max_side": self.max_side,
            "max_pixels": pixels,
            "max_batch_pixels": together,
            "max_steps": self.max_steps,
            "max_batch": self.max_batch,
            "max_styles": self.max_styles,
            "max_work": most if self.max_work is None else min(self.max_work, most),
            "max_encoded_pixels": file_pixels,
            "max_encoded_bytes": encoded if self.max_encoded_bytes is None else self.max_encoded_bytes,
        }


def range_rule(minimum: float, maximum: float) -> str:
    """Rule for the values of a control, both bounds inclusive."""
    return f"must be from {minimum:g} to {maximum:g}; got"


def batch_rule(max_batch: int) -> str:
    """Rule for the number of examples."""
    return f"must have a batch size from 1 to {max_batch}; got"


def choice_rule(choices: Sequence[str]) -> str:
    """Rule for the values of a control that is a choice."""
    return f"must be one of {', '.join(choices)}; got"


def styles_rule(max_styles: int) -> str:
    """Rule for the number of styles of an example."""
    return f"must have from 1 to {max_styles} styles; got"


def per_rule(per: str) -> str:
    """Rule for an input with one value for all styles or style layers, or one for each; `per` is the singular noun."""
    return f"must have one value, or one for each {per}; got, and the number of {per}s:"


BLEND_RULE: Final = "must not be 0 for all styles; got"
"""Rule for `style_blend`."""

MASK_RULE: Final = "must not be black everywhere; got the mean of each:"
"""Rule for a mask."""

THE_BATCH: Final = "the batch"
"""Partner of a control in `partner_rule`."""


def partner_rule(partner: str) -> str:
    """Rule for an input with one example for all, or as many examples as another input, its partner."""
    return f"must have batch size 1 or match {partner}; sizes:"


SAME_BATCH_RULE: Final = "must have batch size 1 or match each other; sizes:"
"""Rule for several inputs, each with one example for all or as many examples as the others."""


def sides_rule(min_side: int, max_side: int) -> str:
    """Rule for height and width of a processed image."""
    return f"must have sides from {min_side} to {max_side} pixels; got height, width:"


def pixels_rule(max_pixels: int) -> str:
    """Rule for height and width of a processed image, or of a file."""
    return f"must have at most {max_pixels} pixels; got height, width:"


def batch_pixels_rule(max_batch_pixels: int) -> str:
    """Rule for batch size, height and width of the images of one call."""
    return f"must have at most {max_batch_pixels} pixels in all its images together; got batch, height, width:"


def bytes_rule(max_encoded_bytes: int) -> str:
    """Rule for the size of a file."""
    return f"must have at most {max_encoded_bytes} bytes; got"


def work_rule(max_work: float) -> str:
    """Rule for the work of a call, in megapixel-steps; it follows `steps`, the input that is easiest to change."""
    return (
        f"must be fewer, or pictures smaller, or examples fewer: one call may take {max_work:g} megapixel-steps "
        "(pixels x steps x examples / 1000000); got"
    )


RESIZED: Final = ", resized to a longest side of max_side (x style_scale for a style),"
"""Text between the name of an input of files and a rule for the resized image."""
