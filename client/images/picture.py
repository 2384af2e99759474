"""Pictures as requests hold them: upright sRGB without transparency.

A file that is one already is sent unchanged; any other is sent as a PNG.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from styleserve.contract import Limits

from ..errors import ImageError
from .resize import size_within

MAX_PIXELS: Final = int(Limits().numbers()["max_encoded_pixels"])
"""Default limit of pixels, that of a model with the usual limits."""


@dataclass(frozen=True, eq=False, repr=False)
class Picture:
    """Picture of a request.

    Attributes:
        name: Name for messages.
        image: Pixels, upright RGB of 8 bits a channel.
        encoded: File with exactly these pixels, in one of `contract.ENCODED_FORMATS`; a PNG of 16 bits a channel where
            `load_picture` was asked to keep them.
        notes: Visible changes to the picture on loading.
        path: Path of its file; None if it came from memory.
        file_sha256: SHA-256 of its file, in hexadecimal digits; empty if it came from pixels.
    """

    name: str
    image: Image.Image
    encoded: bytes
    notes: tuple[str, ...] = ()
    path: Path | None = None
    file_sha256: str = ""

    @property
    def sha256(self) -> str:
        """SHA-256 of its file, or else of `encoded`, in hexadecimal digits."""
        return self.file_sha256 or hashlib.sha256(self.encoded).hexdigest()

    def __repr__(self) -> str:
        return "<Picture {}: {} x {} pixels>".format(self.name, *self.image.size)

    def _repr_png_(self) -> bytes:
        """PNG file, for notebooks."""
        return encode_png(self.image)

    @classmethod
    def from_pixels(cls, pixels: NDArray[np.float32], *, name: str) -> Picture:
        """Picture of `[height, width, 3]` float32 RGB in [0, 1], rounded to the nearest of 256 levels."""
        image = Image.fromarray(np.rint(np.clip(pixels, 0.0, 1.0) * 255.0).astype(np.uint8))
        return cls(name, image, encode_png(image))

    def size_within(self, max_side: int) -> tuple[int, int]:
        """Width and height with `max_side` as the longest side, rounded as the service rounds them."""
        return size_within(self.image.size, max_side)

    def pixels(self, size: tuple[int, int]) -> NDArray[np.float32]:
        """`[1, height, width, 3]` float32 RGB in [0, 1], resized with antialiasing.

        Args:
            size: Width and height.

        Raises:
            ImageError: They are more than `MAX_PIXELS`.
        """
        width, height = size
        if width * height > MAX_PIXELS:
            raise ImageError(
                f"{self.name} would be {width} x {height} = {width * height:,} pixels; {MAX_PIXELS:,} are allowed",
                hint="Ask for a smaller size (--max-side).",
            )
        # Pillow widens the triangle filter when it shrinks, which is `tf.image.resize(antialias=True)`.
        resized = self.image.resize(size, Image.Resampling.BILINEAR)
        return (np.asarray(resized, dtype=np.float32) / 255.0)[None]


def encode_png(image: Image.Image) -> bytes:
    """PNG file of an image."""
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=3)  # a third of the time of 6, for a few percent of size
    return file.getvalue()
