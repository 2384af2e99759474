"""Files of a run: its previews, its saved state, its result. Each is written whole or not at all."""

from __future__ import annotations

import json
from typing import Final

from styleserve.atomic_write import atomic_write
from styleserve.client import SavedRun, StylizedResult

from ..store import RunFiles
from ..store.pictures import jpeg

_THUMBNAIL_PX: Final = 256


def load_state(files: RunFiles) -> SavedRun | None:
    """State of a run that was interrupted; None where it begins.

    Raises:
        SavedRunError: The state is damaged, or of another version of the client.
    """
    return SavedRun.load(files.state) if files.state.is_file() else None


def write_preview(files: RunFiles, partial: StylizedResult) -> None:
    """Writes the picture so far, large and small.

    Raises:
        OSError: The folder cannot be written to.
    """
    for path, most_px in ((files.preview, None), (files.thumbnail, _THUMBNAIL_PX)):
        with atomic_write(path) as file:
            file.write(jpeg(partial.image, most_px, quality=92))


def write_result(files: RunFiles, result: StylizedResult) -> None:
    """Writes a result as `StylizedResult.save` does, its facts and its losses.

    Raises:
        OutputError: The folder cannot be written to.
    """
    facts = {"format": result.controls.image_format, "text": result.facts()}
    for path, content in ((files.facts, facts), (files.losses, result.losses.tolist())):
        with atomic_write(path) as file:
            file.write(json.dumps(content).encode())
    files.tiff.unlink(missing_ok=True)
    result.save(files.png)


def write_end(files: RunFiles, result: StylizedResult) -> None:
    """Writes the result of a whole run, which needs its state no more.

    Raises:
        OutputError: The folder cannot be written to.
    """
    write_result(files, result)
    files.state.unlink(missing_ok=True)
