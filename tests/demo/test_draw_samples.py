"""The sample pictures: what is committed is what the code draws, and each has the character that the demo needs."""

import io
import runpy
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

Picture = NDArray[np.float32]
DEMO = Path(__file__).resolve().parents[2] / "demo"


class Draw(Protocol):
    def __call__(self, width: int = 512, height: int = 384, seed: int = ...) -> Picture: ...


# The demo is a folder of scripts and no package, so the script is run as one, without its main().
_SCRIPT = runpy.run_path(str(DEMO / "draw_samples.py"))
LANDSCAPE: Draw = _SCRIPT["draw_landscape"]
PAINTING: Draw = _SCRIPT["draw_painting"]
MOSAIC: Draw = _SCRIPT["draw_mosaic"]
ALL = pytest.mark.parametrize("draw", [LANDSCAPE, PAINTING, MOSAIC], ids=["landscape", "painting", "mosaic"])


@cache
def drawn(draw: Draw) -> Picture:
    return draw()


def committed(name: str) -> Picture:
    with Image.open(DEMO / name) as picture:
        return np.asarray(picture.convert("RGB"), np.float32) / np.float32(255)


def saturation(picture: Picture) -> float:
    """Mean of HSV's saturation times value: the colourfulness that black and white both lack."""
    return float((picture.max(axis=-1) - picture.min(axis=-1)).mean())


def colour_shares(picture: Picture) -> NDArray[np.int64]:
    """How many pixels fall in each cell of a 4 x 4 x 4 cut of RGB."""
    cells = (picture * 3.999).astype(np.int64) @ np.array([16, 4, 1])
    return np.bincount(cells.ravel(), minlength=64)


@ALL
def test_a_picture_has_the_promised_form(draw: Draw) -> None:
    picture = drawn(draw)
    assert picture.shape == (384, 512, 3)
    assert picture.dtype == np.float32
    assert np.isfinite(picture).all()
    assert picture.min() >= 0
    assert picture.max() <= 1


@ALL
def test_a_seed_gives_one_picture_at_any_size(draw: Draw) -> None:
    first, again, other = draw(75, 50, seed=1), draw(75, 50, seed=1), draw(75, 50, seed=2)
    assert first.shape == (50, 75, 3)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).mean() > 0.02


@pytest.mark.parametrize(
    ("name", "draw"), [("content.jpg", LANDSCAPE), ("style.jpg", PAINTING), ("mosaic.jpg", MOSAIC)]
)
def test_the_committed_file_is_what_the_code_draws(name: str, draw: Draw) -> None:
    # JPEG at quality 90 is off by 0.01 on the landscape and 0.02 on the strokes. Another machine's
    # FFT may move a few brush hairs by a pixel; another seed is off by 0.09 or more.
    assert np.abs(committed(name) - drawn(draw)).mean() < 0.03


@pytest.mark.parametrize("name", ["content.jpg", "style.jpg", "mosaic.jpg"])
def test_the_committed_file_is_small_and_bare(name: str) -> None:
    data = (DEMO / name).read_bytes()
    assert len(data) < 250_000
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.size == (512, 384)
        assert not picture.getexif()


def test_the_landscape_has_the_spectrum_of_a_photograph() -> None:
    # Photographs fall as 1/f**a with a near 1, from 0.7 to 1.6 (Field 1987; Tolhurst 1992).
    # The window hides the frame's edges.
    grey = drawn(LANDSCAPE).mean(axis=-1)[:, :384]
    window = np.hanning(384)[:, None] * np.hanning(384)
    amplitude = np.abs(np.fft.fft2((grey - grey.mean()) * window))
    f = np.hypot(np.fft.fftfreq(384)[:, None], np.fft.fftfreq(384)) * 384
    rings = np.geomspace(4, 128, 12)
    means = [amplitude[(f >= low) & (f < high)].mean() for low, high in pairwise(rings)]
    slope = np.polyfit(np.log(np.sqrt(rings[:-1] * rings[1:])), np.log(means), 1)[0]
    assert -1.6 < slope < -0.7


def test_the_style_is_far_from_the_content() -> None:
    landscape, painting = drawn(LANDSCAPE), drawn(PAINTING)
    assert saturation(painting) > 2 * saturation(landscape)
    # Strokes everywhere: the painting's typical step between neighbours is far larger than the landscape's.
    steps = [float(np.median(np.abs(np.diff(picture, axis=0)))) for picture in (painting, landscape)]
    assert steps[0] > 2 * steps[1]
    # And its colours are others: the two histograms share less than half of their area.
    shares = [colour_shares(picture) / picture[..., 0].size for picture in (painting, landscape)]
    assert np.minimum(*shares).sum() < 0.5
