"""PNG files of 16 bits a channel, which Pillow does not write in colour.

W3C, Portable Network Graphics (PNG) Specification (Third Edition), sections 5, 9 and 11.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

import numpy as np

from ..decoded import Levels
from ..reduction import bands
from .png import SIGNATURE

_SUB: Final = 1
_COLOUR_TYPES: Final = {1: 0, 3: 2}
_COMPRESSION_LEVEL: Final = 1
"""Fastest: the low bytes of a photograph are noise, which no level makes smaller."""


def encode_png_16_bits(levels: Levels) -> bytes:
    """PNG file of grey or RGB levels, with 16 bits a channel."""
    height, width, channels = levels.shape
    chunks = [_chunk(b"IHDR", struct.pack(">2I5B", width, height, 16, _COLOUR_TYPES[channels], 0, 0, 0))]
    compressor = zlib.compressobj(_COMPRESSION_LEVEL)
    for top, bottom in bands((width, height), 1):
        content = compressor.compress(_filtered(levels[top:bottom]))
        chunks.append(_chunk(b"IDAT", content))
    chunks += [_chunk(b"IDAT", compressor.flush()), _chunk(b"IEND", b"")]
    return b"".join([SIGNATURE, *chunks])


def _filtered(levels: Levels) -> bytes:
    """Rows behind the filter Sub: differences to the same byte of the pixel on the left."""
    rows, width, channels = levels.shape
    numbers = levels.astype(">u2").view(np.uint8).reshape(rows, width, 2 * channels)
    filtered = np.full((rows, 1 + width * 2 * channels), _SUB, np.uint8)
    filtered[:, 1:] = np.diff(numbers, axis=1, prepend=np.uint8(0)).reshape(rows, -1)
    return filtered.tobytes()


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
