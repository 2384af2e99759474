"""Objectives: a network, the terms of a loss, their balance, and the gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import tensorflow as tf

from styleserve import contract

from ..network.architecture import in_network_order
from ..network.tiled_convolution import Border, tiled_if_large
from ..network.vgg19 import Vgg19
from ..noinline import noinline
from .canvas import Canvas, canvas_tensor_specs, flat_moments
from .statistics import moments
from .terms import ContentTerm, ReferenceTerm, SquaredVariationTerm, StyleTerm, TotalVariationTerm
from .terms.term import Term, TermWeights, term_weight_specs


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
        max_side: Longest side of an image, in pixels.
    """

    def __init__(self, network: Vgg19, loss: LossSettings, *, style_layers: tuple[str, ...], max_side: int) -> None:
        super().__init__(name="objective")
        self.loss_name = loss.name
        self.network = network
        self.terms = loss.terms
        self.balance = loss.balance
        self._layers = loss.layers
        self._border: Border = loss.border
        self._style_layers = style_layers
        image = tf.TensorSpec(contract.IMAGE.shape, tf.float32)
        # A call, so that the network without a gradient is in a graph once.
        self.features: Callable[[tf.Tensor], Mapping[str, tf.Tensor]] = tiled_if_large(
            self._features, [image], max_side=max_side
        )
        """Features of an image, `[batch, height, width, 3]` float32 in [0, 1], by layer."""
        # A call, so that of two losses in one graph a server prepares only the one that a request uses.
        self.targets: Callable[[Canvas], tuple[Any, ...]] = noinline(self._targets, [canvas_tensor_specs(style_layers)])
        """Targets of each term for a canvas."""
        weights = term_weight_specs(self.terms)
        self.losses_and_gradient: Callable[[tf.Tensor, tuple[Any, ...], TermWeights], tuple[tf.Tensor, tf.Tensor]] = (
            tiled_if_large(self._losses_and_gradient, [image, self.target_specs(), weights], max_side=max_side)
        )
        """Losses, `[batch, 1 + terms]` float32, and the gradient of each example's total loss by its own pixels.

        A call, because TensorFlow picks oneDNN's kernel for the gradient of a pooling only after it has seen the
        pooling's. In the graph of a loop that order is chance, and the other kernel has one thread for each example: a
        sixth of a step at 512 pixels in bfloat16.
        """

    def style_moments(self, style: tf.Tensor, regions: tf.Tensor | None = None) -> tf.Tensor:
        """Moments of style pictures in the style layers, `[batch, numbers]` float32; see `canvas.flat_moments`.

        Args:
            style: `[batch, height, width, 3]` float32 in [0, 1].
            regions: Mask of a single picture, `[0 or 1, height, width]` uint8; without one, all pixels count.
        """
        features = self.features(style)
        if regions is None:
            return flat_moments([moments(features[layer], None) for layer in self._style_layers])
        masks = StyleTerm.within_layers(tf.cast(regions, tf.float32), self._style_layers)
        return flat_moments(
            [moments(features[layer], mask) for layer, mask in zip(self._style_layers, masks, strict=True)]
        )

    def _targets(self, canvas: Canvas) -> tuple[Any, ...]:
        content = self.features(canvas.content)
        return tuple(term.targets(canvas, content) for term in self.terms)

    def target_specs(self) -> tuple[Any, ...]:
        """Structure of `targets`, with a `tf.TensorSpec` in place of each tensor."""
        return tuple(term.target_specs() for term in self.terms)

    def balanced(self, factors: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Weight of each term by name, `[batch]` float32: its balance times its factor, which is 1 by default."""
        return {term.name: balance * factors[term.name] for term, balance in zip(self.terms, self.balance, strict=True)}

    def losses(
        self, image: tf.Tensor, targets: Sequence[Any], weights: TermWeights, *, tiled: bool = False
    ) -> tf.Tensor:
        """Total loss and weighted terms of each example, `[batch, 1 + terms]` float32.

        Args:
            image: `[batch, height, width, 3]` float32 in [0, 1].
            targets: Targets of each term.
            weights: Weights of the terms and of the style layers.
            tiled: Whether the convolutions are tiled.
        """
        features = self._features(image, tiled=tiled)
        parts = tf.stack(
            [
                weights.parts[term.name] * term.loss(image, features, target, weights)
                for term, target in zip(self.terms, targets, strict=True)
            ],
            axis=1,
        )
        return tf.concat([tf.reduce_sum(parts, axis=1, keepdims=True), parts], axis=1)

    def _features(self, image: tf.Tensor, *, tiled: bool) -> Mapping[str, tf.Tensor]:
        return self.network(image, self._layers, border=self._border, tiled=tiled)

    def _losses_and_gradient(
        self, image: tf.Tensor, targets: tuple[Any, ...], weights: TermWeights, *, tiled: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(image)
            losses = self.losses(image, targets, weights, tiled=tiled)
            # Examples are independent, so the gradient of the sum is each example's own gradient.
            total = tf.reduce_sum(losses[:, 0])
        return losses, tape.gradient(total, image)
