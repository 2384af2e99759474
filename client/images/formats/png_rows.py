"""PNG: check that the file has all rows of pixels.

W3C, Portable Network Graphics (PNG) Specification (Third Edition), sections 7, 8 and 10.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

import numpy as np
from PIL import Image

from ..errors import DamagedError

_CHUNKS_AT: Final = 8

CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Channels of each colour type."""

_PASSES: Final = (
    ((0, 0, 1, 1),),
    ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
"""First column and row of each pass, and the steps to the next ones: not interlaced, and Adam7."""

_INFLATED_AT_ONCE: Final = 2**14
"""Bytes of a zlib stream that are inflated at once, to at most 16 MB."""


def check_rows(data: bytes, image: Image.Image) -> None:
    """Refuses a file whose zlib stream ends before the last row: Pillow leaves the missing rows black.

    The stream is unpacked only if the last row is black, which is rare in whole files.

    Args:
        data: File of the chunks that make the pixels.
        image: Pixels that Pillow decoded.

    Raises:
        DamagedError: Rows are missing.
    """
    width, height, depth, colour_type, _, _, interlaced = struct.unpack_from(">2I5B", data, 16)
    last = height - 1 - (interlaced and height % 2)
    if np.any(np.asarray(image.crop((0, last, width, last + 1)))):
        return
    missing, bits = 0, depth * CHANNELS[colour_type]
    for left, top, across, down in _PASSES[interlaced]:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        missing += rows * (1 + -(-columns * bits // 8)) if columns > 0 else 0
    unpacker, at = zlib.decompressobj(), _CHUNKS_AT
    while missing > 0 and at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"IDAT":
            for start in range(at + 8, end - 4, _INFLATED_AT_ONCE):
                missing -= len(unpacker.decompress(data[start : min(start + _INFLATED_AT_ONCE, end - 4)]))
        at = end
    if missing > 0:
        raise DamagedError("rows of its pixels are missing")
