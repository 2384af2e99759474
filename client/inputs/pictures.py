"""Pictures of a run, read from their sources, and the facts about them that are kept with its result."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

from ..images.picture import MAX_PIXELS, Picture
from ..images.source import PictureSource, load_picture
from .picture_set import PictureSet, keeps_16_bits

StyleSources: TypeAlias = PictureSource | Sequence[PictureSource]
Regions: TypeAlias = PictureSource | Sequence[PictureSource | None] | None
"""Masks of the styles: one for each, or one for all; None in place of a mask means everywhere."""


def picture_set(
    content: PictureSource,
    styles: StyleSources,
    *,
    content_regions: Regions = None,
    style_regions: Regions = None,
    start: PictureSource | None = None,
    reference: PictureSource | None = None,
    reference_mask: PictureSource | None = None,
) -> PictureSet[PictureSource]:
    """Sources of the pictures of a run; a single style or mask needs no list.

    Raises:
        ControlError: There is no style, or the masks are neither one nor one for each style.
    """
    return PictureSet(
        content=content,
        styles=cast("tuple[PictureSource, ...]", _several(styles)),
        content_regions=_several(content_regions),
        style_regions=_several(style_regions),
        start=start,
        reference=reference,
        reference_mask=reference_mask,
    )


def _several(given: PictureSource | Sequence[PictureSource | None] | None) -> tuple[PictureSource | None, ...]:
    if given is None:
        return ()
    if isinstance(given, list | tuple):
        return tuple(cast("Sequence[PictureSource | None]", given))
    return (cast("PictureSource", given),)


def load_pictures(
    sources: PictureSet[PictureSource], *, max_pixels: int = MAX_PIXELS, reduce: bool = True
) -> PictureSet[Picture]:
    """Pictures of all sources, named by their roles in messages.

    Args:
        sources: Sources of the pictures.
        max_pixels: Most pixels of each.
        reduce: Whether larger ones are reduced; else they are refused.

    Raises:
        ImageError: A source cannot be read.
    """

    def load(source: PictureSource, role: str) -> Picture:
        return load_picture(
            source, name=f"the {role}", max_pixels=max_pixels, reduce=reduce, keep_16_bits=keeps_16_bits(role)
        )

    return sources.map(load)


def notes_of(pictures: PictureSet[Picture]) -> tuple[str, ...]:
    """Visible changes to the pictures on loading, without repetitions."""
    return tuple(dict.fromkeys(f"{picture.name}: {note}" for _, picture in pictures.items() for note in picture.notes))


def result_pixels(pictures: PictureSet[Picture], max_side: int) -> int:
    """Number of pixels of the result, which has the proportions of the content."""
    width, height = pictures.content.size_within(max_side)
    return width * height


@dataclass(frozen=True, repr=False)
class PictureFacts:
    """Facts that identify a picture of a run.

    Attributes:
        sha256: SHA-256 of its file, in hexadecimal digits.
        path: Path of its file; None if it came from memory.
    """

    sha256: str
    path: Path | None = None

    def __repr__(self) -> str:
        return f"<PictureFacts: {'a picture' if self.path is None else self.path.name}, SHA-256 {self.sha256[:8]}>"


def facts_of(pictures: PictureSet[Picture]) -> PictureSet[PictureFacts]:
    """Facts about each picture."""
    return pictures.map(lambda picture, _: PictureFacts(picture.sha256, picture.path and picture.path.absolute()))


def facts_to_json(facts: PictureSet[PictureFacts], folder: Path | None = None) -> dict[str, Any]:
    """Facts as a JSON object; paths are relative to `folder`, if one is given."""

    def written(fact: PictureFacts, _role: str) -> dict[str, str]:
        path = {} if fact.path is None else {"path": _relative(fact.path, folder)}
        return {"sha256": fact.sha256, **path}

    return {name: value for name, value in vars(facts.map(written)).items() if value}


def facts_from_json(written: Mapping[str, Any], folder: Path | None = None) -> PictureSet[PictureFacts]:
    """Facts in the JSON object of `facts_to_json`.

    Raises:
        KeyError: An entry is missing or has another form; also `TypeError`, `AttributeError` and `ControlError`.
    """

    def read(fact: Mapping[str, Any], _role: str) -> PictureFacts:
        path = None if fact.get("path") is None else Path(os.path.normpath((folder or Path()) / str(fact["path"])))
        return PictureFacts(str(fact["sha256"]), path)

    values = {name: tuple(value) if name.endswith("s") else value for name, value in written.items()}
    return PictureSet[Mapping[str, Any]](**cast("dict[str, Any]", values)).map(read)


def _relative(path: Path, folder: Path | None) -> str:
    if folder is None:
        return str(path)
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive of Windows
        return str(path)
