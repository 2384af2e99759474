"""Animation of a run as a GIF."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..images.save import check_output, write_atomically

if TYPE_CHECKING:
    from PIL import Image

_MOST_PIXELS: Final = 2**27
"""Most pixels of all frames, one byte each: 128 MB, twice that while they are written. 128 frames of 1024 x 1024."""

_FRAME_MS: Final = 150
_LAST_FRAME_MS: Final = 2000


class Animation:
    """Pictures of a run as frames; of a long run every second, fourth or eighth picture, and the last.

    Pictures of smaller octaves are enlarged to the size of the last picture.

    Args:
        most_pixels: Most pixels of all frames together.
    """

    def __init__(self, most_pixels: int = _MOST_PIXELS) -> None:
        self._most_pixels: Final = most_pixels
        self._frames: list[Image.Image] = []
        self._last: Image.Image | None = None
        self._added = 0
        self._every = 1

    def add(self, image: Image.Image) -> None:
        """Adds a picture."""
        from PIL import Image  # noqa: PLC0415 - not for a command that only shows its help

        self._last = image
        if self._added % self._every == 0:
            self._frames.append(image.convert("P", palette=Image.Palette.ADAPTIVE))  # as Pillow saves it
        self._added += 1
        if len(self._frames) > 2 and len(self._frames) * image.width * image.height > self._most_pixels:
            del self._frames[1::2]
            self._every *= 2

    def save(self, path: str | os.PathLike[str]) -> Path | None:
        """Path of the saved GIF, which repeats; None without pictures.

        Raises:
            OutputError: It cannot be written there.
        """
        if self._last is None:
            return None
        path = check_output(path, extensions=(".gif",))
        keeps_last = (self._added - 1) % self._every == 0
        size = self._last.size
        frames = self._frames if keeps_last else [*self._frames, self._last]
        first, *others = (frame if frame.size == size else frame.resize(size) for frame in frames)
        durations = [*[_FRAME_MS] * len(others), _LAST_FRAME_MS]
        write_atomically(
            path,
            lambda file: first.save(file, "GIF", save_all=True, append_images=others, duration=durations, loop=0),
        )
        return path
