"""`make fuzz-images`: the client's reading of pictures, guided by the branches of Python that each file takes.

Needs atheris (`pip install -e '.[fuzz]'`), which has wheels for Linux. libFuzzer's options go through, as in
`python -m tests.fuzz.images -max_total_time=60 folder`; `folder` keeps files that took a new way.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris  # pyright: ignore[reportMissingModuleSource] - an extra of its own

with atheris.instrument_imports(include=["PIL", "styleserve.client"]):
    from styleserve.client import load_picture
    from styleserve.client.errors import ImageError

from .files import READ, good_file

MAX_PIXELS = 4_000_000
"""So that a size that is only claimed, and is just allowed, takes little time."""


def look(data: bytes) -> None:
    """Whatever is not a picture or an ImageError ends the run, with the file that did it."""
    try:
        picture = load_picture(data, max_pixels=MAX_PIXELS)
    except ImageError:
        return
    assert picture.image.mode == "RGB"
    assert load_picture(picture.encoded).image.size == picture.image.size


def main() -> None:
    """Begins with a good file of each kind."""
    with tempfile.TemporaryDirectory(prefix="styleserve-fuzz-") as folder:
        for kind in READ:
            (Path(folder) / kind.replace(" ", "-")).write_bytes(good_file(kind))
        atheris.Setup([*sys.argv, folder], look)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
