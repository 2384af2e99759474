"""The interface of a part of the loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Generic, NamedTuple, TypeVar

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
    """A part of the loss.

    Attributes:
        name: Name of its column of `losses`, that of a `contract.Term`.
        layers: Layers of the network whose features it needs.
    """

    name: ClassVar[str]
    layers: tuple[str, ...] = ()

    @abstractmethod
    def targets(self, canvas: Canvas, content: Mapping[str, tf.Tensor]) -> Targets:
        """Tensors that the image is compared with, computed once per call.

        Args:
            canvas: Pictures and style statistics of the run.
            content: Features of the content, by layer.
        """

    @abstractmethod
    def target_specs(self) -> Targets:
        """What `targets` returns, each as a `tf.TensorSpec`."""

    @abstractmethod
    def loss(
        self, image: tf.Tensor, features: Mapping[str, tf.Tensor], targets: Targets, weights: TermWeights
    ) -> tf.Tensor:
        """Loss of each example before its weight, `[batch]` float32.

        Args:
            image: `[batch, height, width, 3]` float32.
            features: Of the image, by layer.
            targets: Of the run.
            weights: Of the request; the term's own factor is applied later.
        """
