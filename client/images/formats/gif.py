"""GIF: the ICC profile in an application extension, which Pillow ignores."""

from __future__ import annotations

from typing import Final

_PROFILE: Final = b"\x21\xff\x0bICCRGBG1012"
"""Application extension of ICC.1:2022, annex B.5."""


def icc_profile(data: bytes) -> bytes | None:
    """ICC profile of a GIF file; None if there is none."""
    at = data.find(_PROFILE)
    if at < 0:
        return None
    at, blocks = at + len(_PROFILE), list[bytes]()
    while at < len(data) and (size := data[at]):
        blocks.append(data[at + 1 : at + 1 + size])
        at += 1 + size
    return b"".join(blocks) or None
