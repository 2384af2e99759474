"""Small files for requests, and the pixels of files in answers."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image


def png(pixels: Any) -> bytes:
    """A PNG file of pixels, `[height, width]` or `[height, width, 3]`, levels of 8 bits."""
    with io.BytesIO() as file:
        Image.fromarray(np.asarray(pixels, np.uint8)).save(file, "PNG")
        return file.getvalue()


def noise(height: int, width: int, *, seed: int = 0) -> bytes:
    """A PNG file of noise."""
    return png(np.random.default_rng(seed).integers(0, 256, (height, width, 3)))


def flat(height: int, width: int, colour: Any) -> bytes:
    """A PNG file of one colour."""
    return png(np.broadcast_to(colour, (height, width, 3)))


def tinted(height: int, width: int, colour: Any) -> bytes:
    """A PNG file of noise around a colour, 40 levels away from it at most."""
    return png(np.clip(np.random.default_rng(0).integers(-40, 41, (height, width, 3)) + np.asarray(colour), 0, 255))


def halves(height: int, width: int, *, left: int = 255, right: int = 0) -> bytes:
    """A grey mask whose left half and right half are flat."""
    mask = np.full((height, width), right)
    mask[:, : width // 2] = left
    return png(mask)


def levels(file: bytes) -> Any:
    """Pixels of a file, `[height, width, 3]` int32, levels of 8 bits."""
    return tf.io.decode_image(file, channels=3, expand_animations=False).numpy().astype(np.int32)
