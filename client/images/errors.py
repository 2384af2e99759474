"""Reasons why a file cannot be read, raised by the readers of this package."""

from __future__ import annotations

from typing import Final

from ..errors import ImageError

MIN_SIDE_PX: Final = 2
"""A line of pixels has nothing to paint, and no differences to describe."""


class Unreadable(Exception):  # noqa: N818 - becomes an ImageError, with the name of the picture in front
    """A file cannot be read exactly.

    Attributes:
        reason: text that continues the name of the picture, as in "is a camera raw file".
        hint: next step to take.
    """

    def __init__(self, reason: str, *, hint: str) -> None:
        super().__init__(reason)
        self.reason: Final = reason
        self.hint: Final = hint

    def of(self, name: str) -> ImageError:
        """The error for the caller.

        Args:
            name: of the picture.
        """
        return ImageError(f"{name} {self.reason}", hint=self.hint)


class OverLimit(Unreadable):
    """A picture has more pixels or bytes than the limit that it is read with; a model may accept more."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, hint="Give a smaller picture.")


def is_over_limit(error: ImageError) -> bool:
    """Whether a higher limit of pixels would let the picture through."""
    return isinstance(error.__cause__, OverLimit)


def check_size(size: tuple[int, int], max_pixels: int) -> None:
    """Refuses a picture by the width and height in its header, before a pixel is decoded.

    Raises:
        OverLimit: it has more than `max_pixels`.
        Unreadable: it has no area to paint.
    """
    width, height = size
    if width * height > max_pixels:
        raise OverLimit(f"has {width} x {height} = {width * height:,} pixels; {max_pixels:,} are allowed")
    if min(width, height) < MIN_SIDE_PX:
        raise Unreadable(
            f"is {width} x {height} pixels; at least {MIN_SIDE_PX} x {MIN_SIDE_PX} are needed",
            hint="Give a larger picture.",
        )
