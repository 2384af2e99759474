"""The losses of Gatys et al. (2015, https://arxiv.org/abs/1508.06576), one value per example of the batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf

from styleserve.contract import LossScale


def gram_matrix(features: tf.Tensor) -> tf.Tensor:
    """Correlations of channels over positions: G_cd = sum_ij F_ijc F_ijd / (height x width), equation 3 of Gatys.

    Divided by the number of positions, as in TensorFlow's tutorial, so that it does not grow with the image.

    Args:
        features: `[batch, height, width, channels]`, any floating dtype.

    Returns:
        `[batch, channels, channels]` float32, symmetric and positive semidefinite.
    """
    shape = tf.shape(features)
    positions = shape[1] * shape[2]
    rows = tf.reshape(features, [shape[0], positions, features.shape[-1]])
    return _correlations(rows) / tf.cast(positions, tf.float32)


@tf.custom_gradient
def _correlations(rows: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Transposed `rows` times `rows`, `[batch, positions, channels]` to `[batch, channels, channels]` float32.

    Derived automatically, the gradient is a product for each factor, of float32 copies. The factors are the same, so
    one product gives it, in the features' own precision.
    """

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        return tf.matmul(rows, tf.cast(upstream + tf.linalg.matrix_transpose(upstream), rows.dtype))

    wide = tf.cast(rows, tf.float32)
    return tf.matmul(wide, wide, transpose_a=True), gradient


def mean_square(x: tf.Tensor) -> tf.Tensor:
    """Mean of squares over all but the first dimension: `[batch, ...]` to `[batch]`."""
    return tf.reduce_mean(tf.square(x), axis=list(range(1, len(x.shape))))


@tf.custom_gradient
def total_variation(image: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Sum of absolute differences of neighbours, `[batch, height, width, channels]` to `[batch]`.

    Derived automatically, the gradient spends most of its time on putting slices back into zeros, on one thread.
    """

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        down = tf.sign(image[:, 1:] - image[:, :-1])
        right = tf.sign(image[:, :, 1:] - image[:, :, :-1])
        # The later of two neighbours pulls one way, the earlier the other.
        signs = tf.pad(down, [[0, 0], [1, 0], [0, 0], [0, 0]]) - tf.pad(down, [[0, 0], [0, 1], [0, 0], [0, 0]])
        signs += tf.pad(right, [[0, 0], [0, 0], [1, 0], [0, 0]]) - tf.pad(right, [[0, 0], [0, 0], [0, 1], [0, 0]])
        return upstream[:, None, None, None] * signs

    return tf.image.total_variation(image), gradient


class Targets(NamedTuple):
    """What the image is pulled towards. `*_scales` divide each layer's mean squared difference, `[batch]` each."""

    content: tf.Tensor
    content_scale: tf.Tensor
    grams: tuple[tf.Tensor, ...]
    gram_scales: tuple[tf.Tensor, ...]


def make_targets(content_features: tf.Tensor, style_features: Sequence[tf.Tensor], *, loss_scale: LossScale) -> Targets:
    """The targets, computed once per request.

    Args:
        content_features: content layer of the content image, `[batch, height, width, channels]`.
        style_features: style layers of the style image, `[batch or 1, height, width, channels]` each.
        loss_scale: "tutorial" for plain mean squares, "relative" to divide each by its target's mean square.
    """
    content = tf.cast(content_features, tf.float32)
    grams = tuple(gram_matrix(features) for features in style_features)
    if loss_scale == "tutorial":
        one = tf.ones([1])
        return Targets(content, one, grams, (one,) * len(grams))
    # An image can be black to a layer; its target is then 0, and plain mean squares are all there is.
    return Targets(
        content, _positive(mean_square(content)), grams, tuple(_positive(mean_square(gram)) for gram in grams)
    )


def _positive(scale: tf.Tensor) -> tf.Tensor:
    return tf.where(scale > 0.0, scale, tf.ones_like(scale))


class LossWeights(NamedTuple):
    """Factors of the three parts, `[batch]` float32 each."""

    style: tf.Tensor
    content: tf.Tensor
    total_variation: tf.Tensor


def style_transfer_losses(
    image: tf.Tensor,
    features: Mapping[str, tf.Tensor],
    targets: Targets,
    weights: LossWeights,
    *,
    style_layers: Sequence[str],
    content_layer: str,
) -> tf.Tensor:
    """Total, style, content and total-variation loss of each example, the parts already weighted.

    Style: mean over layers of the mean squared difference of Gram matrices. Content: mean squared difference of
    features. Total variation: `tf.image.total_variation`, a sum over the image. As in TensorFlow's tutorial.

    Args:
        image: `[batch, height, width, 3]` float32.
        features: of the image, by layer.
        targets: see `make_targets`.
        weights: factors of the parts.
        style_layers: in the order of `targets.grams`.
        content_layer: the layer of `targets.content`.

    Returns:
        `[batch, 4]` float32, columns as in `contract.LOSS_COLUMNS`.
    """
    style = tf.add_n(
        [
            mean_square(gram_matrix(features[layer]) - gram) / scale
            for layer, gram, scale in zip(style_layers, targets.grams, targets.gram_scales, strict=True)
        ]
    )
    content = mean_square(tf.cast(features[content_layer], tf.float32) - targets.content) / targets.content_scale
    parts = tf.stack(
        [
            weights.style * (1.0 / len(style_layers)) * style,
            weights.content * content,
            weights.total_variation * total_variation(image),
        ],
        axis=1,
    )
    return tf.concat([tf.reduce_sum(parts, axis=1, keepdims=True), parts], axis=1)
