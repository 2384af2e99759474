"""Contact sheet of a sample of a run's results."""

from __future__ import annotations

import random
from typing import Final

from PIL import Image

from styleserve.client.errors import OutputError
from styleserve.client.images.source import load_picture
from styleserve.client.report.contact_sheet import draw_sheet

from .folders import folder_at
from .ledger import read_ledger

COLUMNS: Final = 6

_DONE: Final = ("painted", "found")


def sample_sheet(location: str, count: int, side: int, seed: int) -> tuple[Image.Image, int]:
    """Sheet of a random sample of results, each labelled with its content and style, and their number.

    Args:
        location: Folder of the run.
        count: Most results on the sheet.
        side: Longest side of a result on the sheet, in pixels.
        seed: Seed of the sample.

    Raises:
        OutputError: The folder has no results, or cannot be read.
        ImageError: A result is damaged.
    """
    folder = folder_at(location)
    columns = ["key", "status", "output", "content", "styles"]
    rows = {row["key"]: row for row in read_ledger(folder, columns)}
    done = {row["output"]: row for row in rows.values() if row["status"] in _DONE}
    if not done:
        raise OutputError(f"there is no result in {location} yet", hint="See `styleserve bulk status`.")
    chosen = random.Random(seed).sample(sorted(done), min(count, len(done)))  # noqa: S311 - of pictures to look at
    entries: list[tuple[str, Image.Image | None]] = []
    for name in chosen:
        image = load_picture(folder.read(name), name=name).image.copy()
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        entries.append((_label(done[name]["content"], done[name]["styles"]), image))
    return draw_sheet([], entries, min(COLUMNS, len(entries)), side), len(entries)


def _label(content: str, styles: list[str]) -> str:
    """Short names of the pictures.

    >>> _label("s3://lakes/blue.jpg", ["/styles/oil.png"])
    'blue in oil'
    """
    names = [each.rpartition("/")[2].rpartition(".")[0] for each in (content, *styles)]
    return f"{names[0]} in {' + '.join(names[1:])}"
