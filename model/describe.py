"""Statistics of an image that the style-transfer tutorial shows: layers, Gram matrices, high frequencies, edges."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tensorflow as tf

from styleserve import contract

from .loss.statistics import gram_matrix


def high_pass(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Differences of neighbours along x and along y.

    Args:
        image: `[batch, height, width, channels]` float32.

    Returns:
        `[batch, height, width - 1, channels]` and `[batch, height - 1, width, channels]` float32.
    """
    return image[:, :, 1:, :] - image[:, :, :-1, :], image[:, 1:, :, :] - image[:, :-1, :, :]


def describe(
    image: tf.Tensor, network: Callable[[tf.Tensor], Mapping[str, tf.Tensor]], *, style_layers: tuple[str, ...]
) -> dict[str, tf.Tensor]:
    """Outputs of the signature `describe`, by name.

    Args:
        image: `[batch, height, width, 3]` float32 in [0, 1].
        network: Function from an image to its features, by layer.
        style_layers: Layers to compute a Gram matrix of.
    """
    features = {layer: tf.cast(value, tf.float32) for layer, value in network(image).items()}
    batch = tf.shape(image)[0]
    names = tf.tile(tf.constant(list(features))[None], [batch, 1])
    shapes = tf.stack([tf.shape(value)[1:] for value in features.values()])
    reductions = (tf.reduce_min, tf.reduce_max, tf.reduce_mean)
    statistics = [tf.stack([reduce(x, axis=[1, 2, 3]) for reduce in reductions], axis=1) for x in features.values()]
    x_deltas, y_deltas = high_pass(image)
    return {
        contract.LAYER_NAMES.name: names,
        contract.LAYER_SHAPES.name: tf.tile(shapes[None], [batch, 1, 1]),
        contract.LAYER_STATISTICS.name: tf.stack(statistics, axis=1),
        contract.TOTAL_VARIATION.name: tf.image.total_variation(image),
        contract.HIGH_PASS_X.name: x_deltas,
        contract.HIGH_PASS_Y.name: y_deltas,
        contract.SOBEL_EDGES.name: tf.image.sobel_edges(image),
        **{contract.gram_name(layer): gram_matrix(features[layer]) for layer in style_layers},
    }
