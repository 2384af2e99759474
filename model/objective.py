"""A loss as a whole: the network, the parts of the loss, their balance, and the gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import tensorflow as tf

from styleserve import contract

from .architecture import CONV_LAYERS
from .bands import Border, by_size
from .canvas import Canvas, canvas_tensor_specs, flat_moments
from .interruptible import uninlined
from .statistics import moments
from .terms import ContentTerm, ReferenceTerm, SquaredVariationTerm, StyleTerm, TotalVariationTerm
from .terms.term import Term, TermWeights
from .vgg19 import Vgg19


@dataclass(frozen=True)
class LossSettings:
    """A loss, before it is joined to a network.

    Attributes:
        name: Value of `contract.LOSS`.
        terms: Parts of the loss, in the order of `contract.TERMS`.
        balance: Factor of each part where its weight is 1.
        border: Values beside the image, for the network.
    """

    name: str
    terms: tuple[Term[Any], ...]
    balance: tuple[float, ...]
    border: Border

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers that the parts need, each once, in network order."""
        named = {layer for term in self.terms for layer in term.layers}
        return tuple(layer.name for layer in CONV_LAYERS if layer.name in named)


_REFERENCE: Final = 1e6
"""Balance of the reference: a mean difference of a tenth of the range weighs as much as a changed content."""


def tutorial_loss(style_layers: tuple[str, ...], content_layer: str, *, relative: bool) -> LossSettings:
    """TensorFlow's style-transfer tutorial; with `relative`, for untrained weights, each layer over its target.

    Style: mean over layers of the mean squared difference of Gram matrices. Content: mean squared difference of
    features. Total variation: `tf.image.total_variation`, a sum over the image.
    """
    terms = (
        StyleTerm(style_layers, relative=relative),
        ContentTerm(content_layer, relative=relative),
        TotalVariationTerm(),
        ReferenceTerm(),
    )
    weights = [term.absolute_weight for term in contract.TERMS if term.absolute_weight is not None]
    own = [float(weight.relative if relative else weight.tutorial) for weight in weights]
    return LossSettings("tutorial", terms, (*own, _REFERENCE), "zeros")


def painter_loss(style_layers: tuple[str, ...], content_layer: str) -> LossSettings:
    """The painter's loss, for trained weights: relative losses, covariances and means, edges.

    The balance was chosen by looking at pictures; docs/look.md shows them.
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
        network: Returns at least the layers of the loss.
        loss: Parts of the loss.
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
        weight = tf.TensorSpec([None], tf.float32)
        # Of pictures that nothing is derived by. A call of its own, so that it stands in a graph once.
        self.features: Callable[[tf.Tensor], Mapping[str, tf.Tensor]] = by_size(
            self._features, [image], max_side=max_side
        )
        # A call of its own: of two losses in one graph, a server prepares only the one that is taken.
        self.targets: Callable[[Canvas], tuple[Any, ...]] = uninlined(
            self._targets, [canvas_tensor_specs(style_layers)]
        )
        """From what a run works on to the targets of each term."""
        weights = TermWeights({term.name: weight for term in self.terms}, tf.TensorSpec([None, None], tf.float32))
        self.losses_and_gradient: Callable[[tf.Tensor, tuple[Any, ...], TermWeights], tuple[tf.Tensor, tf.Tensor]] = (
            by_size(self._losses_and_gradient, [image, self.target_specs(), weights], max_side=max_side)
        )
        """Losses `[batch, 1 + terms]` and the gradient of each example's total loss by its own pixels.

        A call of its own: TensorFlow takes oneDNN's kernel for the gradient of a pooling if it has seen that of the
        pooling before. Within a loop, whose graph has no beginning, that is chance, and the other kernel works with
        one thread an example: at 512 pixels in bfloat16 a sixth of a step.
        """

    def style_moments(self, style: tf.Tensor, regions: tf.Tensor | None = None) -> tf.Tensor:
        """Moments of style pictures in the style layers, `[batch, numbers]` float32; see `canvas.flat_moments`.

        Args:
            style: `[batch, height, width, 3]` float32 in [0, 1].
            regions: Full-size mask of a single picture, `[0 or 1, height, width]` uint8; none counts everything.
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
        """What `targets` returns, each as a `tf.TensorSpec`."""
        return tuple(term.target_specs() for term in self.terms)

    def balanced(self, factors: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Weight of each term, by name, where 1 keeps the balance of the loss."""
        return {term.name: balance * factors[term.name] for term, balance in zip(self.terms, self.balance, strict=True)}

    def losses(
        self, image: tf.Tensor, targets: Sequence[Any], weights: TermWeights, *, banded: bool = False
    ) -> tf.Tensor:
        """Total loss and weighted parts of each example, `[batch, 1 + terms]` float32."""
        features = self._features(image, banded=banded)
        parts = tf.stack(
            [
                weights.parts[term.name] * term.loss(image, features, own, weights)
                for term, own in zip(self.terms, targets, strict=True)
            ],
            axis=1,
        )
        return tf.concat([tf.reduce_sum(parts, axis=1, keepdims=True), parts], axis=1)

    def _features(self, image: tf.Tensor, *, banded: bool) -> Mapping[str, tf.Tensor]:
        return self.network(image, self._layers, border=self._border, banded=banded)

    def _losses_and_gradient(
        self, image: tf.Tensor, targets: tuple[Any, ...], weights: TermWeights, *, banded: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(image)
            losses = self.losses(image, targets, weights, banded=banded)
            # Examples do not see each other, so the gradient of the sum is each example's own gradient.
            total = tf.reduce_sum(losses[:, 0])
        return losses, tape.gradient(total, image)
