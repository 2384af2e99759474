"""Style loss: Gram matrices (Gatys et al. 2015, equations 3 to 5), or covariances and means of the channels.

Gram matrices alone leave mean and contrast free to drift: equal second moments allow other first ones (Galerne et al.,
2024, https://arxiv.org/abs/2212.13459, section 3.3). Covariance and mean together say the same as a Gram matrix and a
mean, but relative to their own size, in which a Gram matrix of rectified features is mostly the product of means.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from ..architecture import CONV_LAYERS, poolings_before
from ..canvas import Canvas, moments_of
from ..statistics import Moments, mean_square, moments, positive
from .term import Term, TermWeights


class StyleTargets(NamedTuple):
    """What a style asks for in each style layer.

    Attributes:
        styles: Moments of the styles, `[batch or 1 or regions, ...]` each.
        regions: Weights of the positions in each layer, `[regions, height, width]` float32.
        region_weights: Weight of each region, `[1 or regions]` float32.
    """

    styles: tuple[Moments, ...]
    regions: tuple[tf.Tensor, ...]
    region_weights: tf.Tensor


class StyleTerm(Term[StyleTargets]):
    """Mean over layers of the mean squared difference from the moments of the styles.

    Args:
        layers: Style layers.
        relative: Whether each difference is divided by the mean square of its target.
        centred: Whether covariance and mean are matched in place of the Gram matrix.
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
        regions = self.within_layers(shares, self.layers)
        # Each region counts by its area, so that a pixel is painted alike in a small region and in a large one.
        areas = tf.reduce_mean(shares, axis=[1, 2])
        everywhere = tf.shape(shares)[0] == 0
        return StyleTargets(
            moments_of(canvas.styles, self.layers), regions, tf.cond(everywhere, lambda: tf.ones([1]), lambda: areas)
        )

    def target_specs(self) -> StyleTargets:
        """See `Term`."""
        channels = {layer.name: layer.out_channels for layer in CONV_LAYERS}
        sizes = [channels[name] for name in self.layers]
        return StyleTargets(
            tuple(
                Moments(tf.TensorSpec([None, size, size], tf.float32), tf.TensorSpec([None, size], tf.float32))
                for size in sizes
            ),
            tuple(tf.TensorSpec([None, None, None], tf.float32) for _ in sizes),
            tf.TensorSpec([None], tf.float32),
        )

    def loss(
        self, image: tf.Tensor, features: Mapping[str, tf.Tensor], targets: StyleTargets, weights: TermWeights
    ) -> tf.Tensor:
        """See `Term`."""
        losses: list[tf.Tensor] = []
        for i, (layer, style, regions) in enumerate(zip(self.layers, targets.styles, targets.regions, strict=True)):
            own = moments(features[layer], regions, with_mean=self._centred)
            if self._centred:
                loss = self._difference(own.covariance(), style.covariance()) + self._difference(own.mean, style.mean)
            else:
                loss = self._difference(own.gram, style.gram)
            # One loss for each example, or, of one example, one for each region.
            loss = tf.reshape(loss * targets.region_weights, [tf.shape(image)[0], -1])
            losses.append(weights.layers[:, i] * tf.reduce_sum(loss, axis=1))
        return (1.0 / len(self.layers)) * tf.add_n(losses)

    @staticmethod
    def within_layers(shares: tf.Tensor, layers: tuple[str, ...]) -> tuple[tf.Tensor, ...]:
        """Weights of the positions of each layer, `[regions, height, width]` float32, which sum to 1 in each region.

        Args:
            shares: Weights of the pixels, `[regions, height, width]` float32.
            layers: Names of the layers.
        """

        def within(layer: str) -> tf.Tensor:
            side = 2 ** poolings_before(layer)
            pooled = tf.nn.avg_pool2d(shares[..., None], ksize=side, strides=side, padding="VALID")[..., 0]
            return tf.math.divide_no_nan(pooled, tf.reduce_sum(pooled, axis=[1, 2], keepdims=True))

        return tuple(within(layer) for layer in layers)

    def _difference(self, own: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        loss = mean_square(own - target)
        return loss / positive(mean_square(target)) if self._relative else loss
