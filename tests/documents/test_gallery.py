"""The gallery of docs/look.md: every command has its picture, and the script draws what the pictures show."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .blocks import README, ROOT, calls

GALLERY = ROOT / "docs" / "gallery"
PAGE = (ROOT / "docs" / "look.md").read_text().partition("## Gallery\n")[2].partition("\n## ")[0]
MAX_BYTES = 120_000
README_GAP_PX = 8
"""Between the pictures of the README."""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    draw: Callable[[Path], None] = runpy.run_path(str(GALLERY / "draw_styles.py"))["main"]
    draw(folder)
    return folder


def test_every_command_has_its_picture_before_it() -> None:
    commands = re.findall(r"gallery/([\w-]+)\.jpg\)\n\n```sh\nstyleserve stylize .* -o ([\w-]+)\.png", PAGE)
    assert len(commands) == PAGE.count("styleserve stylize") >= 8
    assert [pair for pair in commands if pair[0] != pair[1]] == []


def test_pictures_are_those_of_the_page_and_small() -> None:
    shown = set(re.findall(r"gallery/([\w-]+\.jpg)", (ROOT / "docs" / "look.md").read_text()))
    assert shown == {path.name for path in GALLERY.glob("*.jpg")}
    assert [path.name for path in GALLERY.glob("*.jpg") if path.stat().st_size > MAX_BYTES] == []


@pytest.mark.parametrize("name", ["impasto", "glass", "ink", "saucer", "table"])
def test_thumbnails_show_what_the_script_draws(name: str, drawn: Path) -> None:
    with Image.open(drawn / f"{name}.png") as picture, Image.open(GALLERY / f"of-{name}.jpg") as thumbnail:
        small = picture.convert("RGB").resize(thumbnail.size, Image.Resampling.LANCZOS)
        difference = np.abs(np.asarray(small, np.float32) - np.asarray(thumbnail, np.float32))
    assert difference.mean() < 16  # of 255: JPEG halves the resolution of colours; another seed differs by 60 or more


def test_cup_and_spoon_are_in_neither_region(drawn: Path) -> None:
    saucer, table = (np.asarray(Image.open(drawn / f"{name}.png")) for name in ("saucer", "table"))
    cup, spoon, plate, wood = (150, 290), (285, 366), (200, 120), (380, 30)
    assert [(saucer[at], table[at]) for at in (cup, spoon, plate, wood)] == [(0, 0), (0, 0), (255, 0), (0, 255)]
    assert (saucer.astype(int) + table).max() <= 256  # soft edges add up to one region, rounded


def test_the_picture_of_the_readme_shows_the_files_of_its_command() -> None:
    words = next(call.words for call in calls("styleserve") if call.block.page == README and "stylize" in call.words)
    shown = re.findall(r"^!\[.*\]\((.*)\)$", README.read_text(), re.MULTILINE)[0]
    left, width = 0, 0
    with Image.open(ROOT / shown) as picture:
        for name in words[2:4]:
            with Image.open(ROOT / name) as source:
                width = round(source.width * picture.height / source.height)
                small = source.convert("RGB").resize((width, picture.height), Image.Resampling.LANCZOS)
            part = picture.crop((left, 0, left + width, picture.height))
            difference = np.abs(np.asarray(part, np.float32) - np.asarray(small, np.float32))
            assert difference.mean() < 16, name  # of 255: JPEG halves the resolution of colours
            left += width + README_GAP_PX
        assert picture.width == left + width  # the result, as wide as both
