from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from styleserve.model import StyleTransfer
from styleserve.model.network.edge_padding import edge_padded
from styleserve.model.network.tiled_convolution import Border, tiled_convolution, tiled_if_large


@pytest.mark.parametrize(
    ("dtype", "rounding", "shape"),
    [
        *[("float32", 1e-6, shape) for shape in ((1, 16, 16), (2, 23, 17), (3, 1, 40), (1, 40, 1))],
        ("bfloat16", 1e-2, (2, 23, 17)),
    ],
    ids=str,
)
@pytest.mark.parametrize("border", ["zeros", "edge"])
def test_tiles_give_what_the_whole_gives(
    dtype: str, rounding: float, shape: tuple[int, int, int], border: Border, rng: np.random.Generator
) -> None:
    """The operation and its gradient, as TensorFlow's own do them in one."""
    image = tf.cast(rng.standard_normal([*shape, 16]), dtype)
    kernel = tf.cast(rng.standard_normal([3, 3, 16, 8]), dtype)
    bias = tf.cast(rng.standard_normal([8]), dtype)
    upstream = tf.cast(rng.standard_normal([*shape, 8]), dtype)
    row_multiplications = shape[2] * 3 * 3 * 16 * 8

    def both(convolve: Callable[[], tf.Tensor]) -> list[np.ndarray[Any, Any]]:
        with tf.GradientTape() as tape:
            tape.watch(image)
            result = convolve()
        return [tf.cast(x, tf.float32).numpy() for x in (result, tape.gradient(result, image, upstream))]

    def whole() -> tf.Tensor:
        padded = tf.pad(image, [[0, 0], [1, 1], [1, 1], [0, 0]]) if border == "zeros" else edge_padded(image)
        return tf.nn.relu(tf.nn.conv2d(padded, kernel, strides=1, padding="VALID") + bias)

    expected = both(whole)
    # Tiles of a whole example, tiles that divide the image, that do not, and of one row.
    for multiplications in (10**10, 8 * row_multiplications, 5 * row_multiplications, 1):
        for seen, right in zip(
            both(partial(tiled_convolution, image, kernel, bias, border=border, tile_multiplications=multiplications)),
            expected,
            strict=True,
        ):
            np.testing.assert_allclose(
                seen, right, rtol=0, atol=rounding * np.abs(right).max(), err_msg=str(multiplications)
            )


def test_shapes_are_known_where_those_of_the_image_are() -> None:
    kernel = tf.zeros([3, 3, 4, 6])

    @tf.function(input_signature=[tf.TensorSpec([None, 8, None, 4], tf.float32)], autograph=False)
    def traced(image: tf.Tensor) -> tf.Tensor:
        result = tiled_convolution(image, kernel, tf.zeros([6]))
        assert result.shape.as_list() == [None, 8, None, 6]
        (gradient,) = tf.gradients(result, image)
        assert gradient.shape.as_list() == [None, 8, None, 4]
        return gradient

    assert traced(tf.zeros([1, 8, 3, 4])).shape == [1, 8, 3, 4]


@pytest.mark.parametrize(
    ("shape", "large"), [((1, 512, 512), False), ((1, 512, 513), True), ((4, 256, 256), False), ((5, 256, 256), True)]
)
def test_size_decides(shape: tuple[int, int, int], large: bool) -> None:
    def tiled_or_whole(_: tf.Tensor, *, tiled: bool) -> tf.Tensor:
        return tf.constant(tiled)

    with tf.device("CPU"):
        images = tf.zeros([*shape, 1])
        assert tiled_if_large(tiled_or_whole, [tf.TensorSpec([None] * 4, tf.float32)], max_side=513)(images) == large
        assert not tiled_if_large(tiled_or_whole, [tf.TensorSpec([None] * 4, tf.float32)], max_side=512)(images)


@pytest.mark.parametrize("border", ["zeros", "edge"])
def test_the_network_gives_the_same_in_tiles(model: StyleTransfer, rng: np.random.Generator, border: Border) -> None:
    image = rng.random((2, 24, 20, 3), np.float32)
    whole = model.network(image, border=border)
    in_tiles = model.network(image, border=border, tiled=True)
    assert list(in_tiles) == list(whole)
    for layer, features in in_tiles.items():
        np.testing.assert_allclose(features, whole[layer], rtol=1e-5, atol=1e-3, err_msg=layer)


def test_edges_are_repeated(rng: np.random.Generator) -> None:
    image = tf.constant(rng.random((2, 3, 4, 5), np.float32))
    upstream = tf.constant(rng.random((2, 5, 6, 5), np.float32))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(image)
        ours = edge_padded(image)
        theirs = tf.pad(image, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_allclose(tape.gradient(ours, image, upstream), tape.gradient(theirs, image, upstream), rtol=1e-6)
