"""PNG: chunks are checked here, so that Pillow and the service get only those that make the pixels.

W3C, Portable Network Graphics (PNG) Specification (Third Edition), sections 5 and 11.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .. import exif
from ..colour.colour_space import SRGB, ColourSpace, Primaries, space_from_code_points, space_from_gamma_and_primaries
from ..decoded import DecodedImage, Levels, SizeCheck
from ..errors import DamagedError
from . import pillow_reader
from .png_16_bits import open_png, read_16_bits
from .png_rows import CHANNELS, check_rows

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"

_CRITICAL: Final = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_DECLARING: Final = (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"tRNS", b"eXIf", b"acTL")
_END: Final = b"\0\0\0\0IEND\xaeB`\x82"

_GREY, _RGB, _INDEXED = 0, 2, 3  # colour types

_UNSPECIFIED: Final = b"\2\2"
"""Code points of unspecified primaries and transfer function in cICP."""

_MAX_PROFILE_BYTES: Final = 2**24
"""Bytes of an unpacked ICC profile; profiles of printers with large tables have 2 to 4 MB."""

_TEXTS: Final = (b"tEXt", b"zTXt", b"iTXt")
_META_TEXTS: Final = (b"Raw profile type exif", b"XML:com.adobe.xmp")
"""Keywords of ImageMagick's EXIF and of XMP, which may hold an orientation."""

_MAX_TEXT_BYTES: Final = 2**20

_PACKED_TEXTS: Final = (b"zTXt", b"iTXt")
_MAX_SENT_BYTES: Final = 2**16
"""Bytes of all ancillary chunks in a file that is sent; the libpng of the service has limits of its own."""


@dataclass
class _Chunks:
    """Chunks of a file.

    Attributes:
        pixels: File of only the chunks that make the pixels of the first frame.
        declared: Content of the first chunk of each kind in `_DECLARING`.
        texts: First EXIF and XMP, by their names in Pillow.
        is_sound: Whether all chunks are regular and intact, those without pixels are short, and nothing follows them.
    """

    pixels: bytes = b""
    declared: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    texts: dict[str, bytes | str] = field(default_factory=dict[str, "bytes | str"])
    is_sound: bool = True


def read(data: bytes, check: SizeCheck) -> DecodedImage:
    """First frame of a PNG file.

    Raises:
        UnreadableError: A critical chunk is damaged, or the colour space is not supported.
        Exception: Any error of Pillow, on damaged pixels.
    """
    chunks = _chunks(data)
    factor = check(struct.unpack_from(">2I", chunks.pixels, 16))
    depth, colour_type = chunks.pixels[24:26]
    if b"tRNS" in chunks.declared and (depth == 16 or colour_type == _GREY):
        factor = 1  # averages would hide the transparent colour; the caller reduces
    facts = exif.from_info(chunks.texts)
    notes: list[str] = []
    space = _colour_space(chunks.declared, notes) or exif.colour_space(facts)
    if (frames := _frames(chunks.declared)) > 1:
        notes.append(f"only the first of {frames} frames is used")
    if depth == 16 and colour_type != _GREY:
        picture = read_16_bits(chunks.pixels, factor)
    else:
        with open_png(chunks.pixels) as image:
            picture = pillow_reader.decode(image, factor=factor, frames=1)
            check_rows(chunks.pixels, image)
    if picture.alpha is None and b"tRNS" in chunks.declared:
        picture.alpha = _transparent_colour(picture.colour, chunks.declared[b"tRNS"], depth)
    if depth >= 8 and colour_type in (_GREY, _RGB) and picture.alpha is None:
        picture.encoded = data if chunks.is_sound and frames == 1 else chunks.pixels
    picture.space, picture.orientation, picture.notes = space, exif.orientation(facts), tuple(notes)
    return picture


def _chunks(data: bytes) -> _Chunks:
    """Chunks up to IEND.

    Raises:
        DamagedError: A critical chunk is damaged or unknown.
    """
    found, kept = _Chunks(), [SIGNATURE]
    dropped_bytes, end, previous, seen = 0, len(SIGNATURE), b"", set[bytes]()
    for kind, start, end, is_intact in _split(data):
        content = memoryview(data)[start + 8 : end - 4]  # not a copy of all pixels
        is_indexed = b"IHDR" in seen and kept[1][17] == _INDEXED
        if not kind[0] & 0x20:
            _check_critical(kind, content, seen, is_intact=is_intact, is_indexed=is_indexed)
        if kind in (b"IHDR", b"IDAT") or (is_indexed and is_intact and kind in (b"PLTE", b"tRNS")):
            kept.append(data[start:end])
            found.is_sound &= kind not in seen or kind == previous
        elif kind != b"IEND":
            dropped_bytes += end - start
            is_usual = kind.isalpha() and kind != b"PLTE" and kind not in _PACKED_TEXTS
            found.is_sound &= is_intact and is_usual and dropped_bytes <= _MAX_SENT_BYTES
        if is_intact and kind in _DECLARING:
            found.declared.setdefault(kind, bytes(content))
        elif is_intact and kind in _TEXTS:
            found.texts = _text(kind, bytes(content)) | found.texts
        previous = kind
        seen.add(kind)
    kept.append(_END)
    found.is_sound &= previous == b"IEND" and end == len(data) and data.endswith(_END)
    if b"eXIf" in found.declared:
        found.texts["exif"] = found.declared[b"eXIf"]
    found.pixels = b"".join(kept) if dropped_bytes or not found.is_sound else data
    return found


def _split(data: bytes) -> Iterator[tuple[bytes, int, int, bool]]:
    """Type, start and end of each chunk up to IEND, and whether it is whole and its checksum is right."""
    kind, end = b"", len(SIGNATURE)
    while end + 12 <= len(data) and kind != b"IEND":
        start, kind = end, data[end + 4 : end + 8]
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        checksum = zlib.crc32(memoryview(data)[start + 4 : end - 4])
        yield kind, start, end, end <= len(data) and checksum == int.from_bytes(data[end - 4 : end], "big")


def _check_critical(kind: bytes, content: memoryview, seen: set[bytes], *, is_intact: bool, is_indexed: bool) -> None:
    if kind == b"IHDR" and is_intact and not seen:
        _check_header(content)
    is_misplaced = (kind == b"IHDR") != (not seen) or (
        is_indexed and kind == b"PLTE" and (len(content) % 3 != 0 or seen & {b"PLTE", b"IDAT"})
    )
    if not is_intact or kind not in _CRITICAL or is_misplaced:
        wrong = "its checksum or its place is wrong" if kind in _CRITICAL else "which the PNG format does not have"
        raise DamagedError(f"chunk {kind.decode('latin-1')!r}, {wrong}")


def _check_header(content: memoryview) -> None:
    """Refuses an IHDR with values that the specification does not have (11.2.1)."""
    if len(content) != 13 or content[9] not in CHANNELS or content[10] or content[11] or content[12] > 1:
        raise DamagedError("its header has values that the PNG format does not have")


def _text(kind: bytes, content: bytes) -> dict[str, bytes | str]:
    """EXIF or XMP in a chunk of text, by its name; empty for other text, which is not unpacked."""
    name, _, rest = content.partition(b"\0")
    if name not in _META_TEXTS:
        return {}
    packed = kind == b"zTXt" or (kind == b"iTXt" and rest[:1] == b"\1")
    text = {b"tEXt": rest, b"zTXt": rest[1:], b"iTXt": rest[2:].split(b"\0", 2)[-1]}[kind]
    unpacked = _unpacked(text, _MAX_TEXT_BYTES) if packed else text
    return {} if unpacked is None else {name.decode(): unpacked.decode("utf-8", "replace")}


def _unpacked(data: bytes, most: int) -> bytes | None:
    """Bytes of a zlib stream; None if it is damaged, or longer than `most`."""
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(data, most)
    except zlib.error:
        return None
    return unpacked if unpacker.eof else None


def _transparent_colour(colour: Image.Image | Levels, chunk: bytes, depth: int) -> Image.Image | None:
    """Alpha that is 0 where the picture has the grey or RGB colour that tRNS declares; None for other declarations."""
    levels = np.atleast_3d(np.asarray(colour))
    clear = np.frombuffer(chunk[: len(chunk) // 2 * 2], ">u2") & (2**depth - 1)
    if len(clear) != levels.shape[2]:
        return None
    if depth < 8:  # Pillow scales greys of 1, 2 and 4 bits to 8
        clear = clear * (255 // (2**depth - 1))
    opaque: NDArray[np.bool_] = (levels != clear.astype(levels.dtype)).any(axis=2)
    return Image.fromarray(opaque.astype(np.uint8) * 255)


def _frames(declared: dict[bytes, bytes]) -> int:
    return int.from_bytes(declared.get(b"acTL", b"\0\0\0\1")[:4], "big")


def _colour_space(declared: dict[bytes, bytes], notes: list[str]) -> ColourSpace | bytes | None:
    """Colour space of the first chunk that declares one, in the order of the specification (4.3)."""
    if len(cicp := declared.get(b"cICP", b"")) == 4 and cicp[:2] != _UNSPECIFIED:
        return space_from_code_points(cicp[0], cicp[1], full_range=cicp[3] != 0)
    if b"iCCP" in declared:
        profile = _unpacked(declared[b"iCCP"].partition(b"\0")[2][1:], _MAX_PROFILE_BYTES)
        if profile is not None:
            return profile
        notes.append("its colour profile is damaged and was not used")
    if b"sRGB" in declared:
        return SRGB
    return space_from_gamma_and_primaries(_gamma(declared.get(b"gAMA", b"")), _primaries(declared.get(b"cHRM", b"")))


def _gamma(chunk: bytes) -> float | None:
    return 100_000 / int.from_bytes(chunk, "big") if len(chunk) == 4 and any(chunk) else None


def _primaries(chunk: bytes) -> Primaries | None:
    if len(chunk) != 32:
        return None
    white_x, white_y, *colours = (value / 100_000 for value in struct.unpack(">8I", chunk))
    return Primaries("", (*colours, white_x, white_y))
