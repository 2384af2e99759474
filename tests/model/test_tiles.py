"""Tiles against the whole image, in float64 so that any difference beyond rounding is seen."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf

from styleserve.contract import LOSS
from styleserve.model import random_weights
from styleserve.model.loss import tiled_objective
from styleserve.model.loss.canvas import Canvas, plain_canvas
from styleserve.model.loss.objective import Objective, painter_loss, tutorial_loss
from styleserve.model.loss.terms.term import TermWeights
from styleserve.model.network.architecture import TILE_ALIGNMENT, tile_margin
from styleserve.model.network.vgg19 import Vgg19

SHALLOW = ("block1_conv1", "block2_conv1")
SHALLOW_CONTENT = "block2_conv2"
TILE_PIXELS = 80 * 80  # with the margin of 16, an inner part of 32 x 32
DEEP = ("block1_conv1", "block2_conv1", "block3_conv1", "block4_conv1", "block5_conv1")
DEEP_CONTENT = "block5_conv2"


@functools.cache
def network(layers: tuple[str, ...]) -> Vgg19:
    return Vgg19(random_weights(seed=0), layers, precision="float64")


@functools.cache
def objective(loss: str, tile_pixels: int | None, *, deep: bool = False) -> Objective:
    style, content = (DEEP, DEEP_CONTENT) if deep else (SHALLOW, SHALLOW_CONTENT)
    own = painter_loss(style, content) if loss == "painter" else tutorial_loss(style, content, relative=True)
    return Objective(network(own.layers), own, style_layers=style, tile_pixels=tile_pixels, dtype=tf.float64)


def pixels(rng: np.random.Generator, *shape: int) -> tf.Tensor:
    return tf.constant(rng.random([*shape, 3]))


def evaluation(
    own: Objective, canvas: Canvas, styles: list[tf.Tensor], masks: list[tf.Tensor | None], image: tf.Tensor
) -> list[np.ndarray]:
    """Losses, gradient, moments of the styles and targets of the terms."""
    moments = [own.style_moments(style, mask) for style, mask in zip(styles, masks, strict=True)]
    canvas = canvas._replace(styles=tf.concat(moments, axis=0))
    targets = own.targets(canvas)
    batch = image.shape[0]
    parts = {
        term.name: tf.constant(np.linspace(1.0, 2.0, batch)) * balance
        for term, balance in zip(own.terms, own.balance, strict=True)
    }
    layers = tf.constant([[1.0, 0.5, 2.0, 1.5, 0.7][: len(own.terms[0].layers)]], tf.float64)
    losses, gradient = own.losses_and_gradient(image, targets, TermWeights(parts, layers))
    return [each.numpy() for each in (losses, gradient, canvas.styles, *tf.nest.flatten(targets))]


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference, relative to the largest value."""
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max(initial=0.0) / max(np.abs(theirs).max(initial=0.0), 1e-300))


def canvas_of(rng: np.random.Generator, size: tuple[int, int], batch: int = 1) -> Canvas:
    return plain_canvas(pixels(rng, batch, *size), tf.zeros([1, 0], tf.float64))


def assert_tiles_are_the_whole(
    loss: str, canvas: Canvas, styles: list[tf.Tensor], masks: list[tf.Tensor | None], image: tf.Tensor
) -> None:
    whole, tiled = (evaluation(objective(loss, most), canvas, styles, masks, image) for most in (None, TILE_PIXELS))
    assert np.abs(whole[1]).max() > 0
    assert max(map(difference, tiled, whole)) < 1e-12


@pytest.mark.parametrize("loss", LOSS.choices)
@pytest.mark.parametrize("size", [(96, 80), (101, 93), (97, 129), (16, 512), (333, 20)], ids=str)
def test_sizes(rng: np.random.Generator, loss: str, size: tuple[int, int]) -> None:
    """With a reference, and with a style that is tiled, too. Sizes that are odd, and panoramas."""
    weight = tf.constant(rng.integers(0, 256, (1, *size), np.uint8))
    canvas = canvas_of(rng, size)._replace(reference=pixels(rng, 1, *size), reference_weight=weight)
    assert_tiles_are_the_whole(loss, canvas, [pixels(rng, 1, 91, 85)], [None], pixels(rng, 1, *size))


@pytest.mark.parametrize("loss", LOSS.choices)
def test_regions(rng: np.random.Generator, loss: str) -> None:
    """Three styles in regions that overlap and leave a part out, one of them with a mask of its own and one small."""
    size = (101, 93)
    regions = np.zeros((3, *size), np.uint8)
    regions[0, :70, :50], regions[1, 40:, 30:60], regions[2, 5:9, 80:] = 255, 128, 200
    styles = [pixels(rng, 1, 90, 97), pixels(rng, 1, 80, 100), pixels(rng, 1, 30, 40)]
    mask = np.zeros((1, 80, 100), np.uint8)
    mask[:, 20:50, 60:] = 255
    nothing = tf.zeros([0, 30, 40], tf.uint8)
    blend = tf.constant([1.0, 0.5, 2.0], tf.float64)
    canvas = canvas_of(rng, size)._replace(regions=tf.constant(regions), blend=blend)
    assert_tiles_are_the_whole(loss, canvas, styles, [None, tf.constant(mask), nothing], pixels(rng, 1, *size))


@pytest.mark.parametrize("styles", [1, 2])
def test_batches(rng: np.random.Generator, styles: int) -> None:
    """Two images, and one style for both or one for each; every tile has a part of both."""
    size = (75, 90)
    style = pixels(rng, styles, 80, 85)
    assert_tiles_are_the_whole("tutorial", canvas_of(rng, size, 2), [style], [None], pixels(rng, 2, *size))


def test_an_image_of_one_tile_is_not_tiled(rng: np.random.Generator) -> None:
    """The same bits."""
    size = (50, 128)
    canvas, style, image = canvas_of(rng, size), pixels(rng, 1, 80, 80), pixels(rng, 1, *size)
    whole, tiled = (
        evaluation(objective("painter", most), canvas, [style], [None], image) for most in (None, TILE_PIXELS)
    )
    for ours, theirs in zip(tiled, whole, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_narrower_margin_is_not_enough(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A margin one step less gives another gradient, so the tests above would notice."""
    monkeypatch.setattr(tiled_objective, "tile_margin", lambda layers: tile_margin(layers) - TILE_ALIGNMENT)
    size = (101, 93)
    canvas, style, image = canvas_of(rng, size), pixels(rng, 1, 80, 80), pixels(rng, 1, *size)
    narrow = objective.__wrapped__("painter", TILE_PIXELS)
    whole, tiled = (evaluation(own, canvas, [style], [None], image) for own in (objective("painter", None), narrow))
    assert difference(tiled[1], whole[1]) > 1e-6


@pytest.mark.slow  # a minute of two processors, in float64
@pytest.mark.parametrize("loss", LOSS.choices)
def test_many_tiles(rng: np.random.Generator, loss: str) -> None:
    """640 x 640 pixels, in 16 tiles."""
    canvas, style, image = canvas_of(rng, (640, 640)), pixels(rng, 1, 64, 64), pixels(rng, 1, 640, 640)
    whole, tiled = (evaluation(objective(loss, most), canvas, [style], [None], image) for most in (None, 270 * 270))
    assert max(map(difference, tiled, whole)) < 1e-12


@pytest.mark.slow  # a minute of two processors, in float64
def test_the_deepest_layers(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both losses need a margin of 192 pixels; 176 are not enough."""
    size = (32, 640)
    canvas, style, image = canvas_of(rng, size), pixels(rng, 1, 64, 64), pixels(rng, 1, *size)
    tile_pixels = size[0] * size[1] - 1
    for loss in LOSS.choices:
        whole, tiled = (
            evaluation(objective(loss, most, deep=True), canvas, [style], [None], image) for most in (None, tile_pixels)
        )
        assert max(map(difference, tiled, whole)) < 1e-12
    monkeypatch.setattr(tiled_objective, "tile_margin", lambda layers: tile_margin(layers) - TILE_ALIGNMENT)
    narrow = evaluation(objective.__wrapped__("painter", tile_pixels, deep=True), canvas, [style], [None], image)
    whole = evaluation(objective("painter", None, deep=True), canvas, [style], [None], image)
    assert difference(narrow[1], whole[1]) > 1e-9
