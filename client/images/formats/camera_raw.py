"""Camera raw files: refused, as only the preview in them could be read."""

from __future__ import annotations

from typing import Final

from ..errors import UnreadableError

_MAGIC: Final = {
    b"FUJIFILMCCD-RAW": "RAF",
    b"IIU\0": "RW2",
    b"IIRO": "ORF",
    b"IIRS": "ORF",
    b"MMOR": "ORF",
    b"FOVb": "X3F",
    b"\0MRM": "MRW",
    b"II\x1a\0\0\0HEAPCCDR": "CRW",
}


def refusal(kind: str) -> UnreadableError:
    """Error for a camera raw file.

    Args:
        kind: Short name of the format, such as "DNG"; may be empty.
    """
    return UnreadableError(
        f"is a camera raw file{f' ({kind})' if kind else ''}, which is not a finished picture",
        hint="Develop it with a raw converter, and give the TIFF, PNG or JPEG.",
    )


def kind_by_magic(data: bytes) -> str | None:
    """Short name of a raw format with a magic number of its own; None for all other files."""
    if data[4:12] == b"ftypcrx ":
        return "CR3"
    if data[:4] in (b"II*\0", b"MM\0*") and data[8:10] == b"CR":
        return "CR2"
    return next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), None)
