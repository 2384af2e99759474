"""`make fuzz-images`: reading of pictures, fuzzed with coverage of the Python code.

Needs atheris (`pip install -e '.[fuzz]'`), which has wheels for Linux. Takes libFuzzer's options, as in
`python -m tests.fuzz.images -max_total_time=60 folder`; `folder` keeps files that reached new code.
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
"""Low limit, so that a file that claims the largest size takes little time."""


def load_or_refuse(data: bytes) -> None:
    """Loads a file; any error but `ImageError` ends the run and keeps the file."""
    try:
        picture = load_picture(data, max_pixels=MAX_PIXELS)
    except ImageError:
        return
    assert picture.image.mode == "RGB"
    assert load_picture(picture.encoded).image.size == picture.image.size


def main() -> None:
    """Fuzzes from a good file of each kind."""
    with tempfile.TemporaryDirectory(prefix="styleserve-fuzz-") as folder:
        for kind in READ:
            (Path(folder) / kind.replace(" ", "-")).write_bytes(good_file(kind))
        atheris.Setup([*sys.argv, folder], load_or_refuse)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
