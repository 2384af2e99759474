"""Objectives: a network, the terms of a loss, their balance, and the gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import tensorflow as tf

from styleserve import contract

from ..network.architecture import in_network_order
from ..network.vgg19 import Border, Vgg19
from ..noinline import noinline
from .canvas import Canvas, canvas_tensor_specs, flat_moments
from .statistics import moments, wide
from .terms import ContentTerm, ReferenceTerm, SquaredVariationTerm, StyleTerm, TotalVariationTerm
from .terms.term import Term, TermWeights
from .tiled_objective import Evaluation, TiledObjective, evaluation_specs, with_dtype

_T = TypeVar("_T")


@dataclass(frozen=True)
class LossSettings:
    """Settings of a loss, independent of the network.

    Attributes:
        name: Value of `contract.LOSS`.
        terms: Terms of the loss, in the order of `contract.TERMS`.
        balance: Factor of each term at weight 1.
        border: Values beside the image in the convolutions.
    """

    name: str
    terms: tuple[Term[Any], ...]
    balance: tuple[float, ...]
    border: Border

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers of all terms, each once, in network order."""
        return in_network_order(layer for term in self.terms for layer in term.layers)


_REFERENCE: Final = 1e6
"""Balance of the reference term: a mean difference of a tenth of the range costs as much as another content."""


def tutorial_loss(style_layers: tuple[str, ...], content_layer: str, *, relative: bool) -> LossSettings:
    """The loss of TensorFlow's style-transfer tutorial.

    Style: mean over layers of the mean squared difference of Gram matrices. Content: mean squared difference of
    features. Total variation: `tf.image.total_variation`, a sum over the image.

    Args:
        style_layers: Layers of the style term.
        content_layer: Layer of the content term.
        relative: Whether each layer's loss is divided by the mean square of its target, as untrained weights need.
    """
    terms = (
        StyleTerm(style_layers, relative=relative),
        ContentTerm(content_layer, relative=relative),
        TotalVariationTerm(),
        ReferenceTerm(),
    )
    weights = [term.absolute_weight for term in contract.TERMS if term.absolute_weight is not None]
    balance = [float(weight.relative if relative else weight.tutorial) for weight in weights]
    return LossSettings("tutorial", terms, (*balance, _REFERENCE), "zeros")


def painter_loss(style_layers: tuple[str, ...], content_layer: str) -> LossSettings:
    """The painter's loss, for trained weights: relative losses, covariances and means, edge padding.

    The balance was chosen by looking at pictures; docs/look.md shows them.

    Args:
        style_layers: Layers of the style term.
        content_layer: Layer of the content term.
    """
    terms = (
        StyleTerm(style_layers, relative=True, centred=True),
        ContentTerm(content_layer, relative=True),
        SquaredVariationTerm(),
        ReferenceTerm(),
    )
    return LossSettings("painter", terms, (5e4, 1e4, 4e4, _REFERENCE), "edge")


class Objective(tf.Module):
    """A loss over a network.

    Args:
        network: Network with at least the layers of the loss.
        loss: Settings of the loss.
        style_layers: Layers whose moments a canvas has.
        tile_pixels: Most pixels of a batch that the network processes at a time; larger images are tiled. None: images
            of any size are processed whole.
        dtype: Dtype of images and losses; float64 is for tests of exactness, with a network of float64.
    """

    def __init__(
        self,
        network: Vgg19,
        loss: LossSettings,
        *,
        style_layers: tuple[str, ...],
        tile_pixels: int | None = None,
        dtype: tf.DType = tf.float32,
    ) -> None:
        super().__init__(name="objective")
        self.loss_name = loss.name
        self.network = network
        self.terms = loss.terms
        self.balance = loss.balance
        self._layers = loss.layers
        self._border: Border = loss.border
        self._style_layers = style_layers
        self._dtype = dtype
        image = tf.TensorSpec(contract.IMAGE.shape, dtype)
        # A call, so that the network without a gradient is in a graph once.
        self.features: Callable[[tf.Tensor], Mapping[str, tf.Tensor]] = noinline(self._features, [image])
        """Features of an image, `[batch, height, width, 3]` float32 in [0, 1], by layer."""
        self._tiled: TiledObjective | None = None
        if tile_pixels is not None:
            self._tiled = TiledObjective(
                self.terms,
                layers=self._layers,
                style_layers=style_layers,
                network=self._features,
                features=self.features,
                tile_pixels=tile_pixels,
                dtype=dtype,
            )
        # A call, so that of two losses in one graph a server prepares only the one that a request uses.
        self.targets: Callable[[Canvas], tuple[Any, ...]] = noinline(
            self._targets, [with_dtype(canvas_tensor_specs(style_layers), dtype)]
        )
        """Targets of each term for a canvas."""
        # A call, because TensorFlow picks oneDNN's kernel for the gradient of a pooling only after it has seen the
        # pooling's. In the graph of a loop that order is chance, and the other kernel has one thread for each example:
        # a sixth of a step at 512 pixels in bfloat16.
        self._whole: Evaluation = noinline(self._losses_and_gradient, evaluation_specs(self.terms, dtype))

    def losses_and_gradient(
        self, image: tf.Tensor, targets: tuple[Any, ...], weights: TermWeights
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Losses, `[batch, 1 + terms]` float32, and the gradient of each example's total loss by its own pixels.

        Args:
            image: `[batch, height, width, 3]` float32 in [0, 1].
            targets: Targets of each term.
            weights: Weights of the terms and of the style layers.
        """
        return self._by_size(
            image,
            lambda: self._whole(image, targets, weights),
            lambda objective: objective.losses_and_gradient(image, targets, weights),
        )

    def style_moments(self, style: tf.Tensor, regions: tf.Tensor | None = None) -> tf.Tensor:
        """Moments of style pictures in the style layers, `[batch, numbers]` float32; see `canvas.flat_moments`.

        Args:
            style: `[batch, height, width, 3]` float32 in [0, 1].
            regions: Mask of a single picture, `[0 or 1, height, width]` uint8; without one, all pixels count.
        """

        def whole() -> tf.Tensor:
            features = self.features(style)
            if regions is None:
                return flat_moments([moments(features[layer], None) for layer in self._style_layers])
            masks = StyleTerm.within_layers(tf.cast(regions, self._dtype), self._style_layers)
            return flat_moments(
                [moments(features[layer], mask) for layer, mask in zip(self._style_layers, masks, strict=True)]
            )

        def tiled(objective: TiledObjective) -> tf.Tensor:
            none = tf.zeros(tf.concat([[0], tf.shape(style)[1:3]], axis=0), tf.uint8)
            return objective.style_moments(style, none if regions is None else regions)

        return self._by_size(style, whole, tiled)

    def _targets(self, canvas: Canvas) -> tuple[Any, ...]:
        layers = {layer for term in self.terms for layer in term.content_layers}

        def whole() -> dict[str, tf.Tensor]:
            features = self.features(canvas.content)
            return {layer: wide(features[layer]) for layer in sorted(layers)}

        content = self._by_size(canvas.content, whole, lambda objective: objective.content_features(canvas.content))
        return tuple(term.targets(canvas, content) for term in self.terms)

    def _by_size(self, image: tf.Tensor, whole: Callable[[], _T], tiled: Callable[[TiledObjective], _T]) -> _T:
        """The result of one of two functions: `tiled` if the image is larger than a tile."""
        objective = self._tiled
        if objective is None:
            return whole()
        pixels = tf.reduce_prod(tf.cast(tf.shape(image)[:3], tf.int64))
        return tf.cond(pixels > objective.tile_pixels, lambda: tiled(objective), whole)

    def target_specs(self) -> tuple[Any, ...]:
        """Structure of `targets`, with a `tf.TensorSpec` in place of each tensor."""
        return tuple(term.target_specs() for term in self.terms)

    def balanced(self, factors: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Weight of each term by name, `[batch]` float32: its balance times its factor, which is 1 by default."""
        return {term.name: balance * factors[term.name] for term, balance in zip(self.terms, self.balance, strict=True)}

    def losses(self, image: tf.Tensor, targets: Sequence[Any], weights: TermWeights) -> tf.Tensor:
        """The losses of `losses_and_gradient`, of an image of at most one tile."""
        features = self._features(image)
        parts = tf.stack(
            [
                weights.parts[term.name] * term.loss(image, features, target, weights)
                for term, target in zip(self.terms, targets, strict=True)
            ],
            axis=1,
        )
        return tf.concat([tf.reduce_sum(parts, axis=1, keepdims=True), parts], axis=1)

    def _features(self, image: tf.Tensor) -> Mapping[str, tf.Tensor]:
        return self.network(image, self._layers, border=self._border)

    def _losses_and_gradient(
        self, image: tf.Tensor, targets: tuple[Any, ...], weights: TermWeights
    ) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(image)
            losses = self.losses(image, targets, weights)
            # Examples are independent, so the gradient of the sum is each example's own gradient.
            total = tf.reduce_sum(losses[:, 0])
        return losses, tape.gradient(total, image)
