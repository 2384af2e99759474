"""The losses of Gatys et al. (2015, https://arxiv.org/abs/1508.06576), one value per example of the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    features = tf.cast(features, tf.float32)
    shape = tf.shape(features)
    return tf.einsum("bijc,bijd->bcd", features, features) / tf.cast(shape[1] * shape[2], tf.float32)


def mean_square(x: tf.Tensor) -> tf.Tensor:
    """Mean of squares over all but the first dimension: `[batch, ...]` to `[batch]`."""
    return tf.reduce_mean(tf.square(x), axis=list(range(1, len(x.shape))))


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
            weights.total_variation * tf.image.total_variation(image),
        ],
        axis=1,
    )
    return tf.concat([tf.reduce_sum(parts, axis=1, keepdims=True), parts], axis=1)
