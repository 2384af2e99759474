"""AVIF and HEIC: pixels by Pillow and pillow-heif, and the colour space in the boxes of the file."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from .. import exif
from ..colour.colour_space import ColourSpace, space_from_code_points
from ..decoded import DecodedImage, SizeCheck, eight_bit_channel, scaled_to_16_bits, straight_colours, within_bits
from ..errors import UnreadableError
from . import av1, pillow_reader
from .boxes import box, boxes

_AVIF: Final = {b"avif", b"avis"}
_HEIC: Final = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_MAX_BRANDS: Final = 64
_MAX_ITEMS: Final = 1024
_SEQUENCE_HEADER_BYTES: Final = 64
"""Bytes at the start of a picture that hold its sequence header."""

_Property = tuple[bytes, int, int]
"""Type of a box, and start and end of its content."""


def brands(data: bytes) -> set[bytes]:
    """Major and compatible brands of an ISO base media file; empty for other files."""
    kind, first, last = next(boxes(data), (b"", 0, 0))
    if kind != b"ftyp":
        return set()
    return {data[at : at + 4] for at in (first, *range(first + 8, last, 4)[:_MAX_BRANDS])}


def is_heif(data: bytes) -> bool:
    """Whether a file is AVIF or HEIC."""
    return bool(brands(data) & (_AVIF | _HEIC))


def read(data: bytes, check: SizeCheck) -> DecodedImage:
    """Primary picture of an AVIF or HEIC file.

    Raises:
        UnreadableError: The package that decodes it is not installed, or its colour space is not supported.
        Exception: Any error of a decoder, on a damaged file.
    """
    own, every = _properties(data)
    for kind, start, _ in every:  # a picture is decoded before it is cropped
        if kind == b"ispe":
            check(struct.unpack_from(">II", data, start + 4))
    space = _colour_space(data, own) or _colour_space(data, every)  # of a grid, only the tiles may have one
    is_avif = bool(brands(data) & _AVIF)
    if is_avif and not any(kind == b"colr" for kind, _, _ in every):
        space = _space_in_bitstream(data)
    picture = _avif(data, check) if is_avif else _heic(data, check)
    picture.space = space or picture.space
    return picture


def _avif(data: bytes, check: SizeCheck) -> DecodedImage:
    image = pillow_reader.open_image(data, "AVIF")
    if image is None:
        raise UnreadableError(
            "is an AVIF picture, which this build of Pillow does not read", hint="Save it as PNG or JPEG."
        )
    with image:
        return pillow_reader.decode(image, factor=check(image.size))


def _heic(data: bytes, check: SizeCheck) -> DecodedImage:
    try:
        import pillow_heif  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise UnreadableError(
            "is a HEIC picture, and the package that reads them is not installed",
            hint="Install the extra: pip install 'styleserve[heif]'. Or save the picture as JPEG or PNG.",
        ) from error
    file: Any = pillow_heif.HeifFile(data, False, hdr_to_16bit=False)  # keeps all bits
    check(file.size)
    samples = np.asarray(file)
    mode, _, bits = file.mode.partition(";")
    width, height = file.size
    levels = scaled_to_16_bits(samples.reshape(*samples.shape[:2], -1)[:height, :width], int(bits or 8))
    alpha = None
    if mode[-1] in "Aa":
        levels, alpha = levels[..., :-1], levels[..., -1]
        if mode[-1] == "a":
            levels = straight_colours(levels, alpha)
    facts = exif.from_info({"exif": bytes(file.info.get("exif") or b"")})
    return DecodedImage(
        colour=within_bits(levels, int(bits or 8)),
        alpha=None if alpha is None else eight_bit_channel(alpha),
        space=exif.colour_space(facts),  # not the orientation: libheif has turned the picture
        notes=(f"only the main one of {len(file)} pictures is used",) if len(file) > 1 else (),
    )


def _properties(data: bytes) -> tuple[list[_Property], list[_Property]]:
    """Properties of the primary item, and those of all items (ISO/IEC 23008-12, 9.3)."""
    start, end = box(data, b"meta") or (0, 0)
    properties = box(data, b"iprp", start + 4, end)
    container = box(data, b"ipco", *properties) if properties else None
    if properties is None or container is None:
        return [], []
    every = list(boxes(data, *container))
    indices: list[int] = []
    if primary := box(data, b"pitm", start + 4, end):
        wide = data[primary[0]] > 0
        item = int.from_bytes(data[primary[0] + 4 : primary[0] + (8 if wide else 6)], "big")
        for kind, at, last in boxes(data, *properties):
            if kind == b"ipma":
                indices += _associations(data[at:last], item)
    return [every[index - 1] for index in indices if 0 < index <= len(every)], every


def _associations(table: bytes, item: int) -> list[int]:
    """Indices of the properties of an item, from the content of a box `ipma`."""
    id_bytes, index_bytes = (4 if table[0] else 2), (2 if table[3] & 1 else 1)
    at = 8
    for _ in range(int.from_bytes(table[4:8], "big")):
        if at + id_bytes >= len(table):
            break
        found, count = int.from_bytes(table[at : at + id_bytes], "big"), table[at + id_bytes]
        at += id_bytes + 1
        if found == item:
            each = (table[each : each + index_bytes] for each in range(at, at + count * index_bytes, index_bytes))
            return [int.from_bytes(index, "big") & (0x7FFF if index_bytes == 2 else 0x7F) for index in each]
        at += count * index_bytes
    return []


def _colour_space(data: bytes, properties: list[_Property]) -> ColourSpace | bytes | None:
    """ICC profile among the properties, or else the colour space by code points."""
    found: dict[bytes, tuple[int, int]] = {}
    for kind, start, end in properties:
        if kind == b"colr":
            found.setdefault(data[start : start + 4], (start + 4, end))
    for kind in (b"prof", b"rICC"):
        if kind in found:
            return data[slice(*found[kind])]
    if b"nclx" not in found:
        return None
    return _space_from_code_points(*struct.unpack_from(">HH", data, found[b"nclx"][0]))


def _space_from_code_points(primaries: int, transfer: int) -> ColourSpace | None:
    # 2 is unspecified. Decoders apply the matrix and the range.
    return None if (primaries, transfer) == (2, 2) else space_from_code_points(primaries, transfer)


def _space_in_bitstream(data: bytes) -> ColourSpace | None:
    """Colour space in the first coloured picture of an AVIF file without a box `colr` (AVIF 1.1, 2.2.1)."""
    for start, length in _extents(data):
        end = start + min(length or _SEQUENCE_HEADER_BYTES, _SEQUENCE_HEADER_BYTES)
        found = av1.code_points(data[start:end])
        if found is not None:
            return _space_from_code_points(*found)
    return None


def _extents(data: bytes) -> Iterator[tuple[int, int]]:
    """Offset and length of the first extent of each item in the file (ISO/IEC 14496-12, 8.11.3)."""
    table = box(data, b"iloc", (box(data, b"meta") or (0, 0))[0] + 4)
    if table is None:
        return
    file = io.BytesIO(data[slice(*table)])

    def take(size: int) -> int:
        return int.from_bytes(file.read(size), "big")

    version, _flags = take(1), take(3)
    sizes, more_sizes = take(1), take(1)
    offset_size, length_size, base_size = sizes >> 4, sizes & 15, more_sizes >> 4
    index_size = more_sizes & 15 if version else 0
    id_size = 4 if version == 2 else 2
    for _ in range(min(take(id_size), _MAX_ITEMS)):
        _item = take(id_size)
        method = take(2) & 15 if version else 0
        _source, base, parts = take(2), take(base_size), take(2)
        if parts:
            _index, offset, length = take(index_size), take(offset_size), take(length_size)
            file.seek((parts - 1) * (index_size + offset_size + length_size), io.SEEK_CUR)
            if method == 0:  # in the file
                yield base + offset, length
