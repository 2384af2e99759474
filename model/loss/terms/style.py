"""Style loss: Gram matrices (Gatys et al. 2015, equations 3 to 5), or covariances and means of the channels.

Gram matrices alone let mean and contrast drift, because equal second moments allow different means (Galerne et al.,
2024, https://arxiv.org/abs/2212.13459, section 3.3). The Gram matrix of rectified features is mostly the product of
their means. So covariance and mean are matched, each relative to its own size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf

from ...network.architecture import channels_of, poolings_before
from ..canvas import Canvas, moments_of
from ..statistics import Moments, mean_square, one_where_zero
from ..tiles import Tile, tile_moments, tile_moments_gradient
from .style_layer import LayerTarget, layer_loss, loss_of_moments
from .term import FeatureTerm, TermWeights


class StyleTargets(NamedTuple):
    """Targets of the style term.

    Attributes:
        layers: Targets of each layer: of one style, of one for each example, or of one for each region.
        regions: Weights of the positions in each layer, `[regions, height, width]` float32, sum 1 in each region.
    """

    layers: tuple[LayerTarget, ...]
    regions: tuple[tf.Tensor, ...]


class StyleTerm(FeatureTerm[StyleTargets, tuple[Moments, ...]]):
    """Mean over layers of the mean squared difference from the moments of the styles.

    Args:
        layers: Style layers.
        relative: Whether each difference is divided by the mean square of its target.
        centred: Whether covariance and mean are matched, and not the Gram matrix.
    """

    name = "style"

    def __init__(self, layers: tuple[str, ...], *, relative: bool, centred: bool = False) -> None:
        self.layers = layers
        self._relative = relative
        self._centred = centred

    def targets(self, canvas: Canvas, content: Mapping[str, tf.Tensor]) -> StyleTargets:
        """See `Term`."""
        del content
        shares = canvas.shares()
        # Each region has the weight of its area, so that a pixel has the same weight in small and large regions.
        areas = tf.reduce_mean(shares, axis=[1, 2])
        weights = tf.cond(tf.shape(shares)[0] == 0, lambda: tf.ones([1], areas.dtype), lambda: areas)

        def of_layer(style: Moments) -> LayerTarget:
            matrix = style.covariance() if self._centred else style.gram
            scales = tf.stack([one_where_zero(mean_square(each)) for each in (matrix, style.mean)], axis=1)
            factors = weights[:, None] / (scales if self._relative else tf.ones_like(scales))
            return LayerTarget(matrix, style.mean, factors)

        layers = tuple(of_layer(style) for style in moments_of(canvas.styles, self.layers))
        return StyleTargets(layers, self.within_layers(shares, self.layers))

    def target_specs(self) -> StyleTargets:
        """See `Term`."""
        sizes = channels_of(self.layers)
        return StyleTargets(
            tuple(
                LayerTarget(*(tf.TensorSpec([None, *shape]) for shape in ([size] * 2, [size], [2]))) for size in sizes
            ),
            tuple(tf.TensorSpec([None, None, None], tf.float32) for _ in sizes),
        )

    def loss(
        self, image: tf.Tensor, features: Mapping[str, tf.Tensor], targets: StyleTargets, weights: TermWeights
    ) -> tf.Tensor:
        """See `Term`."""
        losses = [
            layer_loss(features[layer], regions, target, centred=self._centred)
            for layer, target, regions in zip(self.layers, targets.layers, targets.regions, strict=True)
        ]
        return _mean_over_layers(losses, tf.shape(image)[0], weights)

    def sum_specs(self) -> tuple[Moments, ...]:
        """See `FeatureTerm`."""
        sizes = channels_of(self.layers)
        return tuple(Moments(tf.TensorSpec([None, size, size]), tf.TensorSpec([None, size])) for size in sizes)

    def tile_sums(self, features: Mapping[str, tf.Tensor], targets: StyleTargets, tile: Tile) -> tuple[Moments, ...]:
        """Parts of the moments of each layer; see `FeatureTerm`."""
        return tuple(
            tile_moments(features[layer], regions, tile, layer)
            for layer, regions in zip(self.layers, targets.regions, strict=True)
        )

    def loss_of_sums(self, sums: tuple[Moments, ...], targets: StyleTargets, weights: TermWeights) -> tf.Tensor:
        """See `FeatureTerm`."""
        losses = [
            loss_of_moments(current, target, centred=self._centred)[0]
            for current, target in zip(sums, targets.layers, strict=True)
        ]
        return _mean_over_layers(losses, tf.shape(weights.parts[self.name])[0], weights)

    def tile_gradient(
        self,
        features: Mapping[str, tf.Tensor],
        targets: StyleTargets,
        tile: Tile,
        by_sums: tuple[Moments, ...],
    ) -> dict[str, tf.Tensor]:
        """See `FeatureTerm`."""
        return {
            layer: tile_moments_gradient(features[layer], regions, tile, layer, gradient, with_mean=self._centred)
            for layer, regions, gradient in zip(self.layers, targets.regions, by_sums, strict=True)
        }

    @staticmethod
    def within_layers(shares: tf.Tensor, layers: tuple[str, ...]) -> tuple[tf.Tensor, ...]:
        """Weights of the positions of each layer, `[regions, height, width]` float32, sum 1 in each region.

        Args:
            shares: Weights of the pixels, `[regions, height, width]` float32, 0 or more.
            layers: Names of the layers.
        """

        def within(layer: str) -> tf.Tensor:
            side = 2 ** poolings_before(layer)
            pooled = tf.nn.avg_pool2d(shares[..., None], ksize=side, strides=side, padding="VALID")[..., 0]
            return tf.math.divide_no_nan(pooled, tf.reduce_sum(pooled, axis=[1, 2], keepdims=True))

        return tuple(within(layer) for layer in layers)


def _mean_over_layers(losses: Sequence[tf.Tensor], batch: tf.Tensor, weights: TermWeights) -> tf.Tensor:
    """Weighted mean of the losses of layers, `[batch]` float32.

    Args:
        losses: One loss for each example, or one for each region of one example, `[batch or regions]` float32.
        batch: Number of examples.
        weights: Weights of the request.
    """
    each = tf.reshape(tf.stack(losses, axis=1), [batch, -1, len(losses)])
    return (1.0 / len(losses)) * tf.reduce_sum(weights.layers * tf.reduce_sum(each, axis=1), axis=1)
