"""The loss of a large image and its gradient, tile by tile: those of the whole image, up to rounding.

The method of Galerne et al. (2024, https://arxiv.org/abs/2212.13459). A first pass over the tiles adds up the sums of
each term over positions. Losses and their gradient by the sums follow. A second pass takes the gradient by the pixels
of each tile with its margin, and keeps the inner part. The memory is that of one tile, and of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import tensorflow as tf

from styleserve import contract

from ..network.architecture import channels_of, poolings_before, tile_margin
from ..noinline import noinline
from .canvas import flat_moments
from .statistics import Moments, wide
from .terms import StyleTerm
from .terms.term import FeatureTerm, Term, TermWeights, term_weight_specs
from .tiles import Tile, over_tiles, tile_moments

Features = Callable[[tf.Tensor], Mapping[str, tf.Tensor]]
"""Function from an image, `[batch, height, width, 3]` float32 in [0, 1], to its features by layer."""

Evaluation = Callable[[tf.Tensor, tuple[Any, ...], TermWeights], tuple[tf.Tensor, tf.Tensor]]
"""Function of an image, targets and weights, as `Objective.losses_and_gradient`."""


class TiledObjective:
    """The functions of an `Objective` for images that are larger than a tile.

    Args:
        terms: Terms of the loss.
        layers: Layers of the features.
        style_layers: Layers whose moments a canvas has.
        network: The features, to be differentiated.
        features: The features, in a call.
        tile_pixels: Most pixels of a tile with its margin.
        dtype: Dtype of images, losses and sums.
    """

    def __init__(
        self,
        terms: Sequence[Term[Any]],
        *,
        layers: Sequence[str],
        style_layers: tuple[str, ...],
        network: Features,
        features: Features,
        tile_pixels: int,
        dtype: tf.DType,
    ) -> None:
        self._terms = terms
        self._style_layers = style_layers
        self._content_layers = tuple(dict.fromkeys(layer for term in terms for layer in term.content_layers))
        self._network = network
        self._features = features
        self._margin = tile_margin(layers)
        self.tile_pixels = tile_pixels
        self._dtype = dtype
        image, regions = tf.TensorSpec([None, None, None, 3], dtype), tf.TensorSpec([None] * 3, dtype)
        targets = with_dtype(tuple(term.target_specs() for term in terms), dtype)
        self._sum_specs = [with_dtype(term.sum_specs(), dtype) for term in self._feature_terms()]
        sizes = channels_of(style_layers)
        self._moment_specs = [
            Moments(tf.TensorSpec([None, n, n], dtype), tf.TensorSpec([None, n], dtype)) for n in sizes
        ]
        feature_specs = [tf.TensorSpec([None] * 3 + [n], dtype) for n in channels_of(self._content_layers)]
        self._feature_specs = dict(zip(self._content_layers, feature_specs, strict=True))
        # The bodies of the loops over tiles, each a call.
        tile = Tile.specs()
        self._add_sums = noinline(self._with_sums, [tile, self._sum_specs, image, targets])
        self._gradient = noinline(self._gradient_of_tile, [tile, image, targets, self._sum_specs])
        self._add_moments = noinline(
            self._with_moments, [tile, self._moment_specs, image, [regions] * len(style_layers)]
        )
        self._content = noinline(self._content_of_tile, [tile, image])
        # Calls, because a loop over calls must not stand in a condition or in another loop.
        self.losses_and_gradient: Evaluation = noinline(self._losses_and_gradient, evaluation_specs(terms, dtype))
        """See `Objective`."""
        masks = tf.TensorSpec([None] * 3, tf.uint8)
        self.style_moments: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] = noinline(self._style_moments, [image, masks])
        """See `Objective`; without a mask, `regions` is `[0, height, width]`."""
        self.content_features: Features = noinline(self._content_features, [image])
        """Features that the targets of the terms need, by layer, for the whole image."""

    def _losses_and_gradient(
        self, image: tf.Tensor, targets: tuple[Any, ...], weights: TermWeights
    ) -> tuple[tf.Tensor, tf.Tensor]:
        sums = self._over_tiles(
            image,
            lambda tile, sums: self._add_sums(tile, sums, image, targets),
            _zeros(self._sum_specs),
            self._sum_specs,
        )
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([image, sums])
            losses = {
                term.name: term.loss_of_sums(own, target, weights)
                for (term, target), own in zip(self._with_targets(targets), sums, strict=True)
            }
            for term, target in zip(self._terms, targets, strict=True):
                if not term.layers:
                    losses[term.name] = term.loss(image, {}, target, weights)
            parts = tf.stack([weights.parts[term.name] * losses[term.name] for term in self._terms], axis=1)
            total = tf.reduce_sum(parts, axis=1, keepdims=True)
        by_pixels, by_sums = tape.gradient(total, (image, sums), unconnected_gradients=tf.UnconnectedGradients.ZERO)

        def add_gradient(tile: Tile, gradient: tf.Tensor) -> tf.Tensor:
            own = self._gradient(tile, image, targets, by_sums)
            return tile.placed(gradient, tile.part(gradient) + own)

        spec = tf.TensorSpec([None, None, None, 3], self._dtype)
        return tf.concat([total, parts], axis=1), self._over_tiles(image, add_gradient, by_pixels, spec)

    def _style_moments(self, style: tf.Tensor, regions: tf.Tensor) -> tf.Tensor:
        within = list(StyleTerm.within_layers(tf.cast(regions, self._dtype), self._style_layers))
        layers = self._over_tiles(
            style,
            lambda tile, sums: self._add_moments(tile, sums, style, within),
            _zeros(self._moment_specs),
            self._moment_specs,
        )
        return flat_moments(layers)

    def _content_features(self, content: tf.Tensor) -> dict[str, tf.Tensor]:
        shape = tf.shape(content)

        def zeros(layer: str, channels: int) -> tf.Tensor:
            sides = shape[1:3] // 2 ** poolings_before(layer)
            return tf.zeros(tf.concat([shape[:1], sides, [channels]], axis=0), self._dtype)

        def place_features(tile: Tile, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            own = self._content(tile, content)
            return {layer: tile.placed(features[layer], own[layer], layer) for layer in features}

        return self._over_tiles(
            content,
            place_features,
            {layer: zeros(layer, spec.shape[-1]) for layer, spec in self._feature_specs.items()},
            self._feature_specs,
        )

    def _over_tiles(self, image: tf.Tensor, body: Callable[[Tile, Any], Any], initial: Any, specs: Any) -> Any:  # noqa: ANN401 - structures
        return over_tiles(image, body, initial, specs, margin=self._margin, tile_pixels=self.tile_pixels)

    def _feature_terms(self) -> list[FeatureTerm[Any, Any]]:
        return [cast("FeatureTerm[Any, Any]", term) for term in self._terms if term.layers]

    def _with_targets(self, targets: Sequence[Any]) -> list[tuple[FeatureTerm[Any, Any], Any]]:
        """Terms on features, each with its targets."""
        of_features = [target for term, target in zip(self._terms, targets, strict=True) if term.layers]
        return list(zip(self._feature_terms(), of_features, strict=True))

    def _with_sums(self, tile: Tile, sums: list[Any], image: tf.Tensor, targets: tuple[Any, ...]) -> list[Any]:
        features = self._features(tile.crop(image))
        own = [term.tile_sums(features, target, tile) for term, target in self._with_targets(targets)]
        return tf.nest.map_structure(tf.add, sums, own)

    def _gradient_of_tile(
        self, tile: Tile, image: tf.Tensor, targets: tuple[Any, ...], by_sums: list[Any]
    ) -> tf.Tensor:
        crop = tile.crop(image)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(crop)
            features = self._network(crop)
        pairs = zip(self._with_targets(targets), by_sums, strict=True)
        # The tape adds up the gradients of several terms by one layer.
        by_layer = [
            part for (term, target), by in pairs for part in term.tile_gradient(features, target, tile, by).items()
        ]
        by_crop = tape.gradient([features[layer] for layer, _ in by_layer], crop, [each for _, each in by_layer])
        return tile.inner(by_crop)

    def _with_moments(
        self, tile: Tile, sums: list[Moments], style: tf.Tensor, regions: Sequence[tf.Tensor]
    ) -> list[Moments]:
        features = self._features(tile.crop(style))
        own = [
            tile_moments(features[layer], within, tile, layer)
            for layer, within in zip(self._style_layers, regions, strict=True)
        ]
        return tf.nest.map_structure(tf.add, sums, own)

    def _content_of_tile(self, tile: Tile, content: tf.Tensor) -> dict[str, tf.Tensor]:
        features = self._features(tile.crop(content))
        return {layer: tile.inner(wide(features[layer]), layer) for layer in self._content_layers}


def evaluation_specs(terms: Sequence[Term[Any]], dtype: tf.DType) -> list[Any]:
    """A `tf.TensorSpec` in place of each tensor of the arguments of an `Evaluation`."""
    image = tf.TensorSpec(contract.IMAGE.shape, tf.float32)
    targets = tuple(term.target_specs() for term in terms)
    return with_dtype([image, targets, term_weight_specs(terms)], dtype)


def with_dtype(specs: Any, dtype: tf.DType) -> Any:  # noqa: ANN401 - structures of tf.TensorSpec
    """`specs` with a dtype in place of float32."""

    def of(spec: tf.TensorSpec) -> tf.TensorSpec:
        return tf.TensorSpec(spec.shape, dtype if spec.dtype == tf.float32 else spec.dtype)

    return tf.nest.map_structure(of, specs)


def _zeros(specs: Any) -> Any:  # noqa: ANN401 - structures of tf.TensorSpec
    """Zeros of some specs, with 1 for each unknown size."""

    def of(spec: tf.TensorSpec) -> tf.Tensor:
        return tf.zeros([size or 1 for size in spec.shape.as_list()], spec.dtype)

    return tf.nest.map_structure(of, specs)
