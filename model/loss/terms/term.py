"""The interface of a term of the loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import tensorflow as tf

from ..canvas import Canvas

Targets = TypeVar("Targets")


class TermWeights(NamedTuple):
    """Weights of a request.

    Attributes:
        parts: Factor of each term, by its name, `[batch]` float32.
        layers: Factor of each style layer, `[batch, layers]` float32.
    """

    parts: dict[str, tf.Tensor]
    layers: tf.Tensor


class Term(ABC, Generic[Targets]):
    """A term of the loss.

    Attributes:
        name: Name of the `contract.Term`, which is that of its column of `losses`.
        layers: Layers of the network whose features the term needs.
    """

    name: ClassVar[str]
    layers: tuple[str, ...] = ()

    @abstractmethod
    def targets(self, canvas: Canvas, content: Mapping[str, tf.Tensor]) -> Targets:
        """Tensors to compare the image with, computed once per call.

        Args:
            canvas: Pictures and style statistics of the run.
            content: Features of the content, by layer.
        """

    @abstractmethod
    def target_specs(self) -> Targets:
        """Structure of `targets`, with a `tf.TensorSpec` in place of each tensor."""

    @abstractmethod
    def loss(
        self, image: tf.Tensor, features: Mapping[str, tf.Tensor], targets: Targets, weights: TermWeights
    ) -> tf.Tensor:
        """Loss of each example before its weight, `[batch]` float32.

        Args:
            image: `[batch, height, width, 3]` float32 in [0, 1].
            features: Features of the image, by layer.
            targets: Targets of the run.
            weights: Weights of the request; the caller applies the factor of the term.
        """


def term_weight_specs(terms: Iterable[Term[Any]]) -> TermWeights:
    """A `tf.TensorSpec` in place of each tensor of the weights of some terms."""
    factors = {term.name: tf.TensorSpec([None], tf.float32) for term in terms}
    return TermWeights(factors, tf.TensorSpec([None, None], tf.float32))
