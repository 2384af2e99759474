"""Draws styles and masks of the gallery in docs/look.md: three paintings and two regions of the coffee cup.

python docs/gallery/draw_styles.py [FOLDER]
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

Array: TypeAlias = NDArray[np.floating]

WIDTH, HEIGHT = 640, 480
PAINT = "e8b24a d06034 22707a 562a54 f0e2c4 183e5c"  # ochre, vermilion, teal, plum, cream, navy
GLASS = "d62828 f7b801 0077b6 2e9c5c f4f1de 783c8c"
PAPER, SEPIA = (243, 234, 214), (52, 38, 30)

# Outlines in scikit-image's `coffee`, in its pixels.
COFFEE_SIZE = 600, 400
SAUCER = (
    (77, 224), (98, 141), (135, 101), (180, 71), (240, 56), (320, 56), (418, 106), (462, 155), (479, 221),
    (469, 280), (447, 312), (413, 342), (350, 379), (309, 388), (260, 386), (209, 375), (143, 346), (95, 297),
)  # fmt: skip
CUP = (
    (173, 110), (180, 172), (194, 214), (213, 238), (230, 262), (262, 284), (305, 284), (343, 263), (389, 203),
    (409, 123), (404, 95), (393, 70), (370, 48), (345, 32), (320, 21), (285, 17), (250, 23), (210, 42), (184, 72),
)  # fmt: skip
SPOON = (396, 66), (425, 72), (416, 118), (386, 240), (370, 244), (404, 118)


def _palette(colours: str) -> Array:
    return np.frombuffer(bytes.fromhex(colours), np.uint8).reshape(-1, 3).astype(np.float64)


def _smooth_noise(rng: np.random.Generator, cells: int) -> Array:
    """Noise that changes over about one `cells`-th of the picture, [height, width] float32 in [0, 1]."""
    coarse = Image.fromarray(rng.integers(0, 256, (cells, cells), np.uint8))
    values = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.float32)
    return (values - values.min()) / np.ptp(values)


def draw_impasto(rng: np.random.Generator) -> Image.Image:
    """Bristled strokes that follow a smooth field of directions."""
    palette = _palette(PAINT)
    angle, tone = 2 * np.pi * _smooth_noise(rng, 4), _smooth_noise(rng, 5)
    picture = Image.new("RGB", (WIDTH, HEIGHT), (60, 60, 80))
    pen = ImageDraw.Draw(picture)
    for width in (26, 18, 12):
        for _ in range(140_000 // width**2):
            x, y = rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT)
            here = int(y), int(x)
            colour = palette[int(tone[here] * 5.99 + rng.normal(0, 0.5)) % len(palette)]
            along = np.array([np.cos(angle[here]), np.sin(angle[here])])
            across, length = along[::-1] * (1, -1), rng.uniform(2.5, 5) * width
            for bristle in np.linspace(-width / 2, width / 2, width // 2):
                start = (x, y) + bristle * across + rng.normal(0, 2, 2)
                end = start + length * along + 0.15 * length * across * np.sin(angle[here] * 3)
                red, green, blue = np.clip(colour * rng.normal(1, 0.09) + rng.normal(0, 7, 3), 0, 255)
                pen.line([*start.tolist(), *end.tolist()], (int(red), int(green), int(blue)), 3)
    return picture.filter(ImageFilter.GaussianBlur(0.6))


def draw_glass(rng: np.random.Generator) -> Image.Image:
    """Flat cells of clear colour between lines of lead."""
    palette = _palette(GLASS)
    sites = rng.uniform((0, 0), (WIDTH, HEIGHT), (110, 2))
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    distances = np.hypot(x[..., None] - sites[:, 0], y[..., None] - sites[:, 1])
    nearest, second = np.moveaxis(np.partition(distances, 1, axis=2)[..., :2], 2, 0)
    colours = palette[rng.integers(0, len(palette), len(sites))][distances.argmin(axis=2)]
    lead = np.clip((second - nearest - 5) / 2, 0.06, 1)
    return Image.fromarray((colours * lead[..., None]).astype(np.uint8))


def draw_ink(rng: np.random.Generator) -> Image.Image:
    """Cross-hatching on paper; darker tones have more layers of lines."""
    tone = _smooth_noise(rng, 7)
    picture = Image.new("RGB", (2 * WIDTH, 2 * HEIGHT), PAPER)
    pen = ImageDraw.Draw(picture)
    for threshold, turn in ((0.3, 0.8), (0.5, -0.7), (0.68, 0.1), (0.82, 1.5)):
        along = np.array([np.cos(turn), np.sin(turn)])
        for _ in range(9000):
            x, y = rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT)
            if tone[int(y), int(x)] > threshold:
                step = along * rng.uniform(14, 30) + rng.normal(0, 1.5, 2)
                pen.line([2 * x, 2 * y, 2 * (x + float(step[0])), 2 * (y + float(step[1]))], SEPIA, 2)
    return picture.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def _rounded(outline: tuple[tuple[int, int], ...]) -> list[tuple[float, float]]:
    """Points of a closed curve through an outline: the radius about its centre is interpolated over the angle."""
    x, y = np.array(outline, np.float64).T
    right, down = float(x.mean()), float(y.mean())
    angles: list[float] = np.arctan2(y - down, x - right).tolist()
    radii: list[float] = np.hypot(x - right, y - down).tolist()
    curve: list[tuple[float, float]] = []
    for angle in (math.radians(degrees) for degrees in range(360)):
        radius = float(np.interp(angle, angles, radii, period=2 * math.pi))
        curve.append((right + radius * math.cos(angle), down + radius * math.sin(angle)))
    return curve


def draw_masks() -> tuple[Image.Image, Image.Image]:
    """Masks of saucer and table, white inside; cup and spoon are in neither."""
    saucer, rest = Image.new("L", COFFEE_SIZE), Image.new("L", COFFEE_SIZE)
    ImageDraw.Draw(saucer).polygon(_rounded(SAUCER), 255)
    pen = ImageDraw.Draw(rest)
    pen.polygon(_rounded(CUP), 255)
    pen.ellipse((194, 230, 260, 310), 255)  # its handle
    pen.polygon(SPOON, 255)
    pen.ellipse((325, 243, 407, 328), 255)
    soft = ImageFilter.GaussianBlur(1)
    table = ImageChops.invert(ImageChops.lighter(saucer, rest))
    return ImageChops.subtract(saucer, rest).filter(soft), table.filter(soft)


def main(folder: Path) -> None:
    """Writes impasto.png, glass.png, ink.png, saucer.png and table.png to a folder."""
    for seed, draw in enumerate((draw_impasto, draw_glass, draw_ink)):
        draw(np.random.default_rng(seed)).save(folder / f"{draw.__name__.removeprefix('draw_')}.png")
    for name, mask in zip(("saucer", "table"), draw_masks(), strict=True):
        mask.save(folder / f"{name}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
