"""Checks of the files that a command writes, before minutes of work."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import OutputError
from ..images.save import check_output, is_same_file, largest_picture_bytes

if TYPE_CHECKING:
    from ..images.picture import Picture
    from ..inputs.controls import Controls
    from ..inputs.picture_set import PictureSet
    from .stylize_progress import IntermediateOutputs

_FRAME: Final = re.compile(r"\d{6,}\.png")


def refuse_collisions(outputs: Mapping[str, Path | None], inputs: Mapping[str, Path | None]) -> None:
    """Refuses an output that is an input or another output.

    Raises:
        OutputError: Two names lead to one file. A saved run alone may be written over, by the state that replaces it.
    """
    named = [(name, path) for name, path in {**inputs, **outputs}.items() if path is not None]
    for (name, path), (other, other_path) in combinations(named, 2):
        if other in inputs or (name, other) == ("saved run", "--save-state"):
            continue
        frames = "--frames" in (name, other)
        if not (_is_a_frame(path, other_path, other == "--frames") if frames else is_same_file(path, other_path)):
            continue
        if name in inputs:
            raise OutputError(f"{other_path} is the {name}; the {other} would replace it", hint="Give another name.")
        raise OutputError(f"{path} is named for both the {name} and the {other}", hint="Give them two names.")


def _is_a_frame(one: Path, other: Path, other_is_folder: bool) -> bool:
    """Whether a file has the name of a frame in the folder, or is a frame in it by a link."""
    file, folder = (one, other) if other_is_folder else (other, one)
    if _FRAME.fullmatch(file.name) and is_same_file(file.parent, folder):
        return True
    there = list(folder.iterdir()) if folder.is_dir() else []
    return any(_FRAME.fullmatch(frame.name) and is_same_file(frame, file) for frame in there)


def check_space(
    outputs: IntermediateOutputs,
    output: Path,
    report: Path | None,
    pictures: PictureSet[Picture],
    controls: Controls,
) -> None:
    """Checks that every file can be written, and that its disk has room for it.

    Raises:
        OutputError: One of them cannot be written.
    """
    from ..api.state_size import StateSize  # noqa: PLC0415 - brings NumPy

    width, height = pictures.content.size_within(controls.expected_max_side)
    picture_bytes = largest_picture_bytes(width * height, channel_bytes=2 if controls.image_format == "png16" else 1)
    check_output(output, needed_bytes=picture_bytes)
    if report is not None:
        check_output(report)
    size = StateSize.of(controls, pictures)
    state_bytes = size.usual_bytes(width * height)
    if size.is_print(width * height):
        state_bytes = largest_picture_bytes(width * height, channel_bytes=2)
    outputs.check(picture_bytes, state_bytes)
