"""Files of results with 16 bits a channel, as PNG or TIFF. Pillow would write 8."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from PIL import PngImagePlugin

from .colour.icc import srgb_profile
from .formats import png
from .metadata import SOFTWARE, description, png_chunks
from .save import check_output, write_atomically

_HEADER_BYTES: Final = 33
"""Signature of a PNG file, 8 bytes, and its chunk IHDR, 25 bytes."""


def save_sixteen_bits(
    file: bytes, path: str | os.PathLike[str], *, text: Mapping[str, str], dpi: int | None = None
) -> Path:
    """Saves a PNG file of 16 bits as a PNG or TIFF file with all bits, in sRGB, and returns its path.

    Args:
        file: PNG file, RGB of 16 bits.
        path: Path that ends in one of `save.SIXTEEN_BIT_EXTENSIONS`.
        text: Facts about the picture, by their names.
        dpi: Resolution in pixels per inch; None leaves it open.

    Raises:
        OutputError: The file cannot be written.
    """
    path = check_output(path)
    write = _write_png if path.suffix.lower() == ".png" else _write_tiff
    write_atomically(path, lambda target: write(file, target, text, dpi))
    return path


def _write_png(file: bytes, target: IO[bytes], text: Mapping[str, str], dpi: int | None) -> None:
    """Writes the file with more chunks; its pixels are not decoded."""
    target.write(file[:_HEADER_BYTES])
    for kind, content in png_chunks(text, dpi):
        PngImagePlugin.putchunk(target, kind, content)
    target.write(memoryview(file)[_HEADER_BYTES:])  # not a copy of all pixels


def _in_full_size(_size: tuple[int, int]) -> int:
    """Factor 1 for every size: the client has read the file before."""
    return 1


def _write_tiff(file: bytes, target: IO[bytes], text: Mapping[str, str], dpi: int | None) -> None:
    """Writes the pixels in strips, compressed one after the other, as differences of neighbours.

    Without a resolution the three tags that TIFF 6.0 requires say that there is no unit.
    """
    import tifffile  # noqa: PLC0415 - slow, and only for these files

    resolution: dict[str, Any] = {} if dpi is None else {"resolution": (dpi, dpi), "resolutionunit": "INCH"}
    tifffile.imwrite(
        target,
        np.asarray(png.read(file, _in_full_size).colour),
        photometric="rgb",
        compression="zlib",
        predictor=True,
        description=description(text).encode("ascii", "replace"),  # as Pillow; the recipe is ASCII
        software=text.get(SOFTWARE, False),
        metadata=None,  # the description is ours
        iccprofile=srgb_profile(),
        **resolution,
    )
