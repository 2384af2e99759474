"""Draws the demo's three sample pictures, so that no picture in this repository is anyone else's work.

The landscape is a small renderer: a fractal height field is marched once from above the water and once from below it,
which gives the mountains and their true reflection. The painting is one scalar field: its level lines steer the brush,
its value chooses the colour, and the height of the wet paint is lit from the upper left. The mosaic is made of Voronoi
cells.

    python demo/draw_samples.py
"""

from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from styleserve.atomic_write import atomic_write

Array: TypeAlias = NDArray[np.floating]
Picture: TypeAlias = NDArray[np.float32]

WIDTH, HEIGHT = 512, 384
LANDSCAPE_SEED, PAINTING_SEED = 6, 9  # chosen by eye
SUPERSAMPLING = 2
NOISE_SIDE = 1024
WORLD_SIDE = 40.0  # the height field's side, in the units of the camera's distances
# The light comes from further right than the sun that one sees, which would leave every slope in its own shade.
LIGHT = np.array([0.90, 0.38, -0.10], np.float32)  # right, up, ahead
SUN_TANGENT, SUN_SLOPE = 0.26, 0.15
EYE = 0.42  # the camera's height over the lake

# Cream, yellow, orange, vermilion, crimson, black twice, then the blues up to a pale green, and back by red to yellow.
PIGMENTS = "f7e8bf f7c729 f28c14 d93617 870f1f 0d0a14 0d0a1a 14145c 1a369e 2b7da3 b3d1c2 1a3d99 0f0f47 d12b14 f5b824"
PALETTE = np.frombuffer(bytes.fromhex(PIGMENTS), np.uint8).reshape(-1, 3) / np.float32(255)
# Centre right and down, radius, turn; lengths in picture heights, like all of the painting's.
VORTICES = (
    (0.90, 0.36, 0.32, 1.0), (0.34, 0.66, 0.27, -0.8), (0.28, 0.17, 0.16, 0.55),
    (1.20, 0.84, 0.18, -0.6), (0.70, 0.93, 0.10, 0.3),
)  # fmt: skip
# Strokes, their width and length: broad paint first, then ever finer paint that leaves most of it uncovered.
LAYERS = ((1100, 0.050, 0.26), (1700, 0.032, 0.18), (1400, 0.019, 0.12), (900, 0.010, 0.08))
STROKE_STEPS = 18

MOSAIC_SEED = 3
TILE = 0.045  # side of a tile, in picture heights
# Deep sea, teal, turquoise, ivory, sand, gold.
TESSERAE = np.frombuffer(bytes.fromhex("0b2f4f 11656f 3fa7a3 efe6cf d9b779 c8871f"), np.uint8).reshape(
    -1, 3
) / np.float32(255)


def _f32(value: ArrayLike) -> Picture:
    return np.asarray(value, np.float32)


def _mix(a: ArrayLike, b: ArrayLike, t: Array) -> Array:
    """`a` where t is 0, `b` where t is 1; a and b have a trailing colour axis that t has not."""
    return _f32(_f32(a) * (1 - t[..., None]) + _f32(b) * t[..., None])


def _smoothstep(low: float, high: float, x: Array) -> Array:
    t = np.clip((x - low) / (high - low), 0, 1)
    return _f32(t * t * (3 - 2 * t))


def _noise(rng: np.random.Generator, *, slope: float, low: float = 1.0, high: float = NOISE_SIDE / 2) -> Array:
    """A periodic Gaussian texture, [side, side], variance 1, amplitude ~ 1/f**slope between two frequencies per tile.

    Photographs have a slope near 1 (Field 1987), so this is what makes a drawn surface read as one.
    """
    f = np.hypot(np.fft.fftfreq(NOISE_SIDE, 1 / NOISE_SIDE)[:, None], np.fft.rfftfreq(NOISE_SIDE, 1 / NOISE_SIDE))
    log_f = np.log2(np.maximum(f, 1e-3))
    # Shoulders of a third of an octave, since a hard cut rings.
    band = np.clip((log_f - np.log2(low)) * 3 + 1, 0, 1) * np.clip((np.log2(high) - log_f) * 3 + 1, 0, 1)
    gain = band / np.maximum(f, 1) ** (slope + 1)  # + 1: the ring of frequency f holds ~ f coefficients
    texture = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((NOISE_SIDE, NOISE_SIDE))) * gain)
    return _f32(texture / texture.std())


def _sample(texture: Array, u: Array, v: Array) -> Array:
    """Bilinear look-up in [n, m] or [n, m, c] at column u and row v, both in tiles; the texture repeats."""
    n, m = texture.shape[:2]
    x, y = np.mod(u, 1) * m, np.mod(v, 1) * n
    x0, y0 = x.astype(np.int32), y.astype(np.int32)
    fx, fy = x - x0, y - y0
    if texture.ndim == 3:
        fx, fy = fx[..., None], fy[..., None]
    x0, y0, x1, y1 = x0 % m, y0 % n, (x0 + 1) % m, (y0 + 1) % n
    upper = texture[y0, x0] * (1 - fx) + texture[y0, x1] * fx
    lower = texture[y1, x0] * (1 - fx) + texture[y1, x1] * fx
    return _f32(upper * (1 - fy) + lower * fy)


def _blur(image: Array, sigma: float) -> Array:
    """Gaussian blur of [h, w, c]; what leaves at one edge fades into zeros, not into the other edge."""
    h, w = image.shape[:2]
    pad = int(4 * sigma)
    fy, fx = np.fft.fftfreq(h + pad)[:, None, None], np.fft.rfftfreq(w + pad)[:, None]
    spectrum = np.fft.rfft2(image, (h + pad, w + pad), axes=(0, 1)) * np.exp(
        -2 * (np.pi * sigma) ** 2 * (fy**2 + fx**2)
    )
    return _f32(np.fft.irfft2(spectrum, (h + pad, w + pad), axes=(0, 1))[:h, :w])


def _reduce(image: Array) -> Picture:
    """Averages each block of supersampled pixels."""
    h, w, channels = image.shape
    blocks = image.reshape(h // SUPERSAMPLING, SUPERSAMPLING, w // SUPERSAMPLING, SUPERSAMPLING, channels)
    return _f32(blocks.mean(axis=(1, 3)))


def _terrain(rng: np.random.Generator) -> tuple[Array, Array]:
    """Heights over the lake, [side, side] with rows going away from the camera, and the lit ground's linear colours."""
    # Ridged multifractal (Musgrave 1994): an octave is rough only where the one below it already rose.
    relief, weight = np.zeros((NOISE_SIDE, NOISE_SIDE), np.float32), _f32(1)
    for octave in range(8):
        low = 2.6 * 2**octave
        wave = _noise(rng, slope=0, low=low, high=min(1.6 * low, NOISE_SIDE / 2))
        ridge = np.clip(1.1 - 0.7 * np.sqrt(wave**2 + 0.02), 0, 1) ** 1.5
        relief += weight * ridge * 0.45**octave
        weight = np.clip(0.1 + ridge * weight * 1.3, 0, 1)
    axis, cell = _f32((np.arange(NOISE_SIDE) + 0.5) / NOISE_SIDE * WORLD_SIDE), WORLD_SIDE / NOISE_SIDE
    x, z = axis - WORLD_SIDE / 2, axis[:, None]
    shore = np.hypot((x + 0.02 * z) / 4.2, (z - 5) / 8) - 1 + 0.22 * _noise(rng, slope=1.4, low=3)
    rise = _smoothstep(0, 2.6, shore) * 0.85 + 0.06 * np.clip(shore, -1, 1)
    summit = np.exp(-(((x + 3.6) / 4.0) ** 2) - ((z - 22) / 6.0) ** 2)
    height = rise * (0.1 + (1.9 + 2.2 * summit) * relief) * (0.5 + 0.045 * z) + 0.12 * shore
    # Scree: no slope stays steeper than loose rock lies, or the ridges would end in needles.
    for _ in range(40):
        for shift, along in ((1, 0), (-1, 0), (1, 1), (-1, 1)):
            height = np.minimum(height, np.roll(height, shift, along) + 1.15 * cell)
    fine, patches = _noise(rng, slope=0.3, low=60), _noise(rng, slope=1, low=6)
    height = _f32(height + np.clip(height, 0, 1) * 0.02 * fine)

    dz, dx = np.gradient(height, cell)
    normal = np.stack([-dx, np.ones_like(dx), -dz], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    # Cast shadows: with the light taken as due right, one running maximum along each row finds them all.
    fall = LIGHT[1] / np.hypot(LIGHT[0], LIGHT[2])
    beam = np.maximum.accumulate((height - fall * x)[:, ::-1], axis=1)[:, ::-1] + fall * x
    sun = np.clip(normal @ LIGHT, 0, 1) * (1 - _smoothstep(0.0, 0.12, beam - height))
    steep = 1 - normal[..., 1]
    rock = _mix((0.10, 0.085, 0.075), (0.21, 0.18, 0.155), _smoothstep(-1.5, 1.5, fine))
    wood = _mix((0.012, 0.022, 0.012), (0.05, 0.062, 0.02), _smoothstep(-1.2, 1.8, fine + 0.4 * patches))
    colour = _mix(wood, rock, _smoothstep(1.3, 2.6, height + 0.5 * patches + 3 * (steep - 0.35)))
    snow = _smoothstep(2.9, 3.7, height + 0.35 * patches + 0.15 * fine - 2.5 * (steep - 0.4))
    colour = _mix(colour, (0.60, 0.62, 0.66), snow)
    from_sky = 0.35 + 0.65 * normal[..., 1]
    return height, _f32(colour * (sun[..., None] * (4.2, 2.5, 1.3) + from_sky[..., None] * (0.26, 0.36, 0.58)))


def _march(height: Array, slopes: Array, tangents: Array, eye: float) -> Array:
    """The distance ahead, [rows, columns], at which each ray meets the ground; inf where it meets none.

    A ray is `slopes[row]` up and `tangents[column]` right for each unit ahead. The steepest slope to any ground so far
    only grows along a column, so that the first ground a ray meets is one binary search.
    """
    z = _f32(np.geomspace(2.5, WORLD_SIDE * 0.98, 1000))
    ground = _sample(height, z[:, None] * tangents / WORLD_SIDE + 0.5, z[:, None] / WORLD_SIDE)
    elevation = np.where(ground > 0, ground - eye, -1e3) / z[:, None]  # the lake is no ground
    skyline = np.maximum.accumulate(elevation, axis=0)
    distance = np.full((slopes.size, tangents.size), np.inf, np.float32)
    for column in range(tangents.size):
        first = np.searchsorted(skyline[:, column], slopes)
        met = np.flatnonzero(first < z.size)
        k = np.maximum(first[met], 1)
        before, after = elevation[k - 1, column], elevation[k, column]
        t = np.clip((slopes[met] - before) / np.maximum(after - before, 1e-6), 0, 1)
        distance[met, column] = z[k - 1] + t * (z[k] - z[k - 1])
    return distance


def _sky(cloud: Array, slopes: Array, tangents: Array) -> Array:
    """Linear colours, [rows, columns, 3]: a gradient towards the low sun, and a flat layer of cloud lit from there."""
    up = np.maximum(slopes, 0)[:, None]
    from_sun = np.hypot(tangents - SUN_TANGENT, (up - SUN_SLOPE) * 1.15)
    glow, disc = np.exp(-from_sun / 0.16)[..., None], np.exp(-((from_sun / 0.022) ** 4))[..., None]
    clear = _mix((0.72, 0.49, 0.34), (0.03, 0.13, 0.35), _smoothstep(-0.08, 0.38, up) ** 0.75)
    clear = clear + glow * (1.5, 0.80, 0.28) + disc * (14, 11, 7)
    u, v = tangents * 0.16 / (up + 0.16), 0.30 / (up + 0.16)
    body, sunward = _sample(cloud, u, v), _sample(cloud, u + 0.012, v + 0.010)
    lit = _mix((0.17, 0.18, 0.27), (1.10, 0.75, 0.52), np.clip(0.55 + 0.9 * (body - sunward), 0, 1))
    return _mix(clear, lit + glow * (1.6, 0.8, 0.3), _smoothstep(-0.3, 1.2, body) * _smoothstep(0.02, 0.16, up) * 0.9)


def _air(colour: Array, z: Array, altitude: Array, tangents: Array) -> Array:
    """Aerial perspective: the air between takes the colour of the low sky, and is thicker near the water."""
    haze = _mix((0.33, 0.40, 0.56), (1.0, 0.70, 0.53), np.exp(-np.abs(tangents - SUN_TANGENT) / 0.35))
    return _mix(colour, haze, 1 - np.exp(-z * (0.006 + 0.016 * np.exp(-altitude / 0.5))))


def _foreground(rng: np.random.Generator, picture: Array) -> Array:
    """`picture`, display colours, behind firs and a bank of grass: near black, rimmed where the sun grazes them."""
    h, w = picture.shape[:2]
    canvas = Image.fromarray((picture * 255).astype(np.uint8))
    pen, unit = ImageDraw.Draw(canvas), h / 768

    def colour(light: float) -> tuple[int, ...]:
        return tuple(int(dark + (bright - dark) * light) for dark, bright in ((13, 168), (17, 124), (18, 66)))

    def bank(x: float) -> float:
        return h * (0.985 - 0.325 * abs(x / w - 0.56) ** 1.6 + 0.006 * np.sin(x / w * 23) + 0.004 * np.sin(x / w * 61))

    def fir(x: float, tall: float) -> None:
        foot = bank(x) + 8 * unit
        pen.line([(x, foot), (x, foot - tall)], colour(0.02), round(tall * 0.011) + 1)
        for level in np.linspace(0.012, 0.95, round(tall / unit / 5)):
            reach = tall * (0.01 + 0.24 * level**0.9) * rng.uniform(0.45, 1.1)
            for side in (-1.0, 1.0, rng.uniform(-0.6, 0.6)):
                q = np.linspace(0, 1, max(round(reach / unit / 3), 3))
                xs = x + side * reach * q
                ys = foot - tall * (1 - level) + reach * (rng.uniform(0.25, 0.55) * q - 0.3 * q**3)
                pen.line(np.stack([xs, ys], axis=-1).ravel().tolist(), colour(0.03), 2)
                for nx, ny, along in zip(xs, ys, q, strict=True):  # the needles
                    sunlit = side > 0.2 and rng.random() < 0.35 * along
                    fall = unit * rng.uniform(5, 13) * (1.15 - along)
                    light = rng.uniform(0.0, 0.10) + 0.38 * sunlit
                    pen.line([nx, ny, nx + side * fall * 0.6, ny + fall], colour(light), 2)

    firs = {0.035: 0.58, 0.115: 0.40, 0.185: 0.22, 0.255: 0.13, 0.30: 0.09, 0.915: 0.20, 0.975: 0.36}
    for x, tall in firs.items():
        fir(w * x, h * tall)
    pen.polygon([(0, h), *((x, bank(x)) for x in range(0, w + 8, 8)), (w, h)], fill=colour(0.01))
    for row in np.sort(rng.random(2600)):  # back to front
        x, blade = rng.uniform(-0.02, 1.02) * w, unit * min(rng.gamma(4, 7), 55) * (0.5 + row)
        lean, half, y = blade * rng.normal(0.18, 0.3), unit * rng.uniform(0.8, 1.7), bank(x) + row * h * 0.12 + 4 * unit
        bend, knee = x + 0.3 * lean, y - 0.6 * blade
        outline = [x - half, y, bend - 0.7 * half, knee, x + lean, y - blade, bend + 0.7 * half, knee, x + half, y]
        pen.polygon(outline, colour(rng.random() ** 4 * 0.75 * (1 - 0.6 * row)))
    return _f32(np.asarray(canvas)) / np.float32(255)


def draw_landscape(width: int = WIDTH, height: int = HEIGHT, seed: int = LANDSCAPE_SEED) -> Picture:
    """Returns an evening landscape, [height, width, 3] float32 in [0, 1]: mountains over a lake, a low sun, firs."""
    rng = np.random.default_rng(seed)
    w, h = width * SUPERSAMPLING, height * SUPERSAMPLING
    focal, horizon = 1.12 * w, 0.57 * h
    tangents = _f32((np.arange(w) + 0.5 - w / 2) / focal)
    slopes = _f32((horizon - np.arange(h) - 0.5) / focal)
    ground, ground_colour = _terrain(rng)
    cloud, ripples = _noise(rng, slope=1.15, low=2), _noise(rng, slope=1.0, low=12)

    def view(rows: Array, eye: float) -> tuple[Array, Array]:
        distance = _march(ground, rows, tangents, eye)
        z = np.minimum(distance, WORLD_SIDE)
        land = _sample(ground_colour, z * tangents / WORLD_SIDE + 0.5, z / WORLD_SIDE)
        land = _air(land, z, np.maximum(eye + z * rows[:, None], 0), tangents)
        return np.where(np.isfinite(distance)[..., None], land, _sky(cloud, rows, tangents)), distance

    picture, distance = view(slopes, EYE)
    # What a still lake shows, from the horizon down: the view of an eye as deep as this one is high.
    mirror, _ = view(_f32((np.arange(int(0.75 * h)) + 0.5) / focal), -EYE)

    down = -slopes[slopes < 0][:, None]
    z = EYE / down
    # Ripples tilt the mirror. Far away many share a pixel: less tilt is left, and a bias, as only near faces are seen.
    near = 1 / (1 + z / 6)
    gust = 0.25 + _smoothstep(-0.8, 1.4, _sample(ripples, z * tangents / 90, z / 36))
    tilt = gust * _sample(ripples, z * tangents / 5, z / 2.2)
    row = np.abs(down + tilt * 0.018 * near + 0.014 * (1 - near)) * focal
    column = (np.arange(w) + 0.5) / w + 0.003 * tilt * near
    reflected = _sample(mirror, np.clip(column, 0, 0.999), np.clip(row / len(mirror), 0, 0.98))
    fresnel = 0.06 + 0.94 * (1 - np.clip(down + 0.03 * tilt, 0.01, 1)) ** 4
    water = _mix((0.012, 0.035, 0.045), reflected * 0.92, fresnel)
    water = _air(water, 0.4 * np.minimum(z, WORLD_SIDE), _f32(0), tangents)
    picture[slopes < 0] = np.where((distance[slopes < 0] > z)[..., None], water, picture[slopes < 0])

    x = 0.9 * (picture + 0.5 * _blur(np.maximum(picture - 0.9, 0), w / 40))  # the bloom of a lens
    film = x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14)  # ACES curve (Narkowicz 2015)
    film = film + 0.12 * (film - film.mean(axis=-1, keepdims=True))  # as a saturated slide film has it
    finished = _reduce(_foreground(rng, np.clip(film, 0, 1) ** (1 / 2.2)))
    return _f32(np.clip(finished + 0.005 * rng.standard_normal((height, width, 1)), 0, 1))


def draw_painting(width: int = WIDTH, height: int = HEIGHT, seed: int = PAINTING_SEED) -> Picture:
    """Returns an abstract painting, [height, width, 3] float32 in [0, 1]: thick, saturated strokes that swirl."""
    rng = np.random.default_rng(seed)
    w, h = width * SUPERSAMPLING, height * SUPERSAMPLING
    y, x = _f32(np.arange(h) / h)[:, None], _f32(np.arange(w) / h)
    field = 0.16 * _sample(_noise(rng, slope=2.2, high=24), x * 0.5, y * 0.5) + 0.175 * x - 0.25 * y
    for right, down, radius, turn in VORTICES:
        field += turn * np.exp(-np.hypot(x - right, y - down) / radius)
    d_down, d_right = np.gradient(field)
    angle = np.arctan2(d_right, -d_down) + 0.22  # along the level lines, and a little across: spirals, not rings
    ranked = np.sort(field, axis=None)  # by rank, every colour gets the same share of the canvas

    # The fourth channel is the height of the paint: ImageDraw overwrites all four, it does not blend.
    canvas = Image.new("RGBA", (w, h), (10, 10, 24, 60))
    pen = ImageDraw.Draw(canvas)

    def cell(points: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        return np.clip(points[:, 1].astype(np.intp), 0, h - 1), np.clip(points[:, 0].astype(np.intp), 0, w - 1)

    for count, breadth, length in LAYERS:
        path = [_f32((rng.random((count, 2)) * 1.2 - 0.1) * (w, h))]
        rank = np.searchsorted(ranked, field[cell(path[0])]) / field.size
        hue = rank * 2 * len(PALETTE) + rng.normal(0, 0.5, count)
        mixed = np.clip((hue % 1 - 0.5) * 2 + 0.5, 0, 1)[:, None]  # half of the strokes are one pure colour
        low = np.floor(hue).astype(int)
        colours = PALETTE[low % len(PALETTE)] * (1 - mixed) + PALETTE[(low + 1) % len(PALETTE)] * mixed
        colours = colours * rng.normal(1, 0.07, (count, 1)) + rng.normal(0, 0.025, (count, 3))
        stride = length * h / STROKE_STEPS * rng.uniform(0.6, 1.2, (count, 1)) * rng.choice([-1, 1], (count, 1))
        for _ in range(STROKE_STEPS):
            a = angle[cell(path[-1])]
            path.append(_f32(path[-1] + stride * np.stack([np.cos(a), np.sin(a)], axis=-1)))
        paths = np.stack(path, axis=1)  # [count, steps + 1, xy]
        ahead = np.gradient(paths, axis=1)
        ahead /= np.linalg.norm(ahead, axis=-1, keepdims=True) + 1e-6
        across = np.stack([-ahead[..., 1], ahead[..., 0]], axis=-1)
        for stroke, side, colour in zip(paths, across, colours, strict=True):
            half = breadth * h * rng.uniform(0.65, 1.15) / 2
            for t in rng.permutation(np.linspace(-1, 1, max(round(breadth * h / 1.9), 3))):  # the bristles
                start, end = (round(2.5 * t * t + rng.exponential(1.2)) for _ in range(2))  # the brush is round
                bristle = (stroke + side * (t * half))[start : STROKE_STEPS + 1 - end]
                red, green, blue = np.clip(colour * rng.normal(1, 0.07), 0, 1) * 255
                body = np.clip(190 - 100 * t**4 + rng.normal(0, 20), 0, 255)
                pen.line(bristle.ravel().tolist(), (int(red), int(green), int(blue), int(body)), 3)

    painted = _f32(np.asarray(canvas)) / np.float32(255)
    body = _blur(painted[..., 3:] - 0.7, 0.9)[..., 0]  # about its mean, so that the blur's border casts no shadow
    facing = _f32(np.gradient(body, axis=1) + 1.3 * np.gradient(body, axis=0))[..., None]  # a light at the upper left
    shaded = painted[..., :3] * np.clip(1 + 2 * facing, 0.5, 1.5) + 0.9 * np.clip(facing - 0.1, 0, 1)
    return _reduce(np.clip(shaded, 0, 1))


def draw_mosaic(width: int = WIDTH, height: int = HEIGHT, seed: int = MOSAIC_SEED) -> Picture:
    """A mosaic: each pixel belongs to the nearest of many scattered points, and the joints between them are dark.

    Args:
        width: Pixels.
        height: Pixels.
        seed: Seed of points and colours.
    """
    rng = np.random.default_rng(seed)
    side = TILE * height * SUPERSAMPLING
    rows, columns = (int(length * SUPERSAMPLING / side) + 4 for length in (height, width))
    points = _f32(np.moveaxis(np.indices((rows, columns)), 0, -1)) + _f32(rng.uniform(0.1, 0.9, (rows, columns, 2))) - 2
    y, x = _f32(np.indices((height * SUPERSAMPLING, width * SUPERSAMPLING))) / np.float32(side)
    row, column = np.floor(y).astype(int) + 2, np.floor(x).astype(int) + 2
    reach = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3) if abs(dy) + abs(dx) < 4]
    near = [(np.clip(row + dy, 0, rows - 1), np.clip(column + dx, 0, columns - 1)) for dy, dx in reach]
    distances = _f32([np.hypot(points[at][..., 0] - y, points[at][..., 1] - x) for at in near])
    nearest = distances.argmin(axis=0)
    tile = [np.take_along_axis(np.stack([at[axis] for at in near]), nearest[None], 0)[0] for axis in (0, 1)]
    waves = np.sin(0.35 * tile[0] + 1.7 * np.sin(0.22 * tile[1])) * 0.5 + 0.5
    hue = _f32(waves * (len(TESSERAE) - 1) + rng.normal(0, 0.8, (rows, columns))[tuple(tile)])
    colour = (
        TESSERAE[np.clip(np.round(hue), 0, len(TESSERAE) - 1).astype(int)]
        * rng.normal(1, 0.1, (rows, columns, 1))[tuple(tile)]
    )
    first, second = np.partition(distances, 1, axis=0)[:2]
    joint = _smoothstep(0.06, 0.16, second - first)  # 0 in the joint
    bulge = 1.08 - 0.35 * first**2
    return _reduce(np.clip(_mix(np.full(3, 0.13), colour * bulge[..., None], joint), 0, 1))


def main() -> None:
    """Writes content.jpg, style.jpg and mosaic.jpg beside this file."""
    drawings = {"content.jpg": draw_landscape, "style.jpg": draw_painting, "mosaic.jpg": draw_mosaic}
    for name, draw in drawings.items():
        drawn = draw()
        path = Path(__file__).with_name(name)
        picture = Image.fromarray(np.round(drawn * 255).astype(np.uint8))
        with atomic_write(path) as file:
            picture.save(file, format="JPEG", quality=90, subsampling=0, optimize=True)


if __name__ == "__main__":
    main()
