"""Size of a picture that the service resizes."""

from __future__ import annotations


def size_within(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    """Width and height with `max_side` as the longest side, rounded as the service rounds them.

    >>> size_within((6000, 4000), 512)
    (512, 341)
    """
    scale = max_side / max(size)
    width, height = (max(1, round(side * scale)) for side in size)
    return width, height
