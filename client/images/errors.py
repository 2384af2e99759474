"""Reasons why a file cannot be read, raised by the readers of this package."""

from __future__ import annotations

from typing import Final

from ..errors import ImageError

MIN_SIDE_PX: Final = 2
"""Smallest side: a line of pixels has no differences to describe."""


class UnreadableError(Exception):
    """File that cannot be read exactly; becomes an `ImageError` with the name of the picture.

    Attributes:
        reason: Text that continues the name of the picture, as in "is a camera raw file".
        hint: Next step for the caller.
    """

    def __init__(self, reason: str, *, hint: str) -> None:
        super().__init__(reason)
        self.reason: Final = reason
        self.hint: Final = hint

    def to_image_error(self, name: str) -> ImageError:
        """Error for the caller, about the picture of this name."""
        return ImageError(f"{name} {self.reason}", hint=self.hint)


class DamagedError(UnreadableError):
    """File that is damaged or incomplete, such as one whose "pixels end early"."""

    def __init__(self, damage: str) -> None:
        super().__init__(f"is damaged or cut short: {damage}", hint="Save or fetch it again.")


class OverLimitError(UnreadableError):
    """Picture with more pixels than the limit; a model may accept more, or the picture can be reduced."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, hint="Give a smaller picture.")


def is_over_limit(error: ImageError) -> bool:
    """Whether the picture has too many pixels."""
    return isinstance(error.__cause__, OverLimitError)


def check_size(size: tuple[int, int], max_pixels: int) -> None:
    """Refuses a width and height, before a pixel is decoded.

    Raises:
        OverLimitError: They are more than `max_pixels`.
        UnreadableError: A side is too short.
    """
    width, height = size
    if width * height > max_pixels:
        raise OverLimitError(f"has {width} x {height} = {width * height:,} pixels; {max_pixels:,} are allowed")
    if min(width, height) < MIN_SIDE_PX:
        raise UnreadableError(
            f"is {width} x {height} pixels; at least {MIN_SIDE_PX} x {MIN_SIDE_PX} are needed",
            hint="Give a larger picture.",
        )
