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
        self.reason = reason
        self.hint = hint


class OverLimit(ImageError):  # noqa: N818 - named after the cause, as all errors of the client
    """A picture has more pixels or bytes than the limit that it is read with; a model may accept more."""


def check_size(size: tuple[int, int], name: str, max_pixels: int) -> None:
    """Refuses a picture by the width and height in its header, before a pixel is decoded.

    Raises:
        OverLimit: it has more than `max_pixels`.
        ImageError: it has no area to paint.
    """
    width, height = size
    if width * height > max_pixels:
        raise OverLimit(
            f"{name} has {width} x {height} = {width * height:,} pixels; {max_pixels:,} are allowed",
            hint="Give a smaller picture.",
        )
    if min(width, height) < MIN_SIDE_PX:
        raise ImageError(
            f"{name} is {width} x {height} pixels; at least {MIN_SIDE_PX} x {MIN_SIDE_PX} are needed",
            hint="Give a larger picture.",
        )
