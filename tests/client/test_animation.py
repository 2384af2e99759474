"""The animation of a run: short runs whole, long ones thinned out."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageSequence

from styleserve.client.report.animation import Animation

SIDE = 10


def saved_levels(path: Path, pictures: int, most_frames: int) -> list[int]:
    """The grey levels of an animation's frames, for pictures with the levels 0, 1, 2 ..."""
    animation = Animation(most_frames * SIDE * SIDE)
    for level in range(pictures):
        animation.add(Image.new("RGB", (SIDE, SIDE), (level, level, level)))
    assert len(animation._frames) <= most_frames
    assert animation.save(path) == path
    with Image.open(path) as image:
        return [frame.convert("RGB").getpixel((0, 0))[0] for frame in ImageSequence.Iterator(image)]  # pyright: ignore


@pytest.mark.parametrize("pictures", [1, 2, 5, 8])
def test_a_short_run_is_kept_whole(tmp_path: Path, pictures: int) -> None:
    assert saved_levels(tmp_path / "a.gif", pictures, most_frames=8) == list(range(pictures))


@pytest.mark.parametrize("pictures", [9, 16, 17, 100, 199])
def test_a_long_run_is_thinned_out_evenly(tmp_path: Path, pictures: int) -> None:
    first, second, *others = saved_levels(tmp_path / "a.gif", pictures, most_frames=8)
    *regular, last = [first, second, *others]
    assert (first, last) == (0, pictures - 1)
    assert second in (2, 4, 8, 16, 32, 64)
    assert regular == list(range(0, pictures - 1, second))


def test_no_picture_is_no_file(tmp_path: Path) -> None:
    assert Animation().save(tmp_path / "a.gif") is None
    assert list(tmp_path.iterdir()) == []
