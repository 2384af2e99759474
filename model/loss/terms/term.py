"""The interfaces of a term of the loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import tensorflow as tf

from ..canvas import Canvas
from ..tiles import Tile

Targets = TypeVar("Targets")
Sums = TypeVar("Sums")


class TermWeights(NamedTuple):
    """Weights of a request.

    Attributes:
        parts: Factor of each term, by its name, `[batch]` float32.
        layers: Factor of each style layer, `[batch, layers]` float32.
    """

    parts: dict[str, tf.Tensor]
    layers: tf.Tensor


class Term(ABC, Generic[Targets]):
    """A term of the loss. One on pixels alone has no layers; one on features is a `FeatureTerm`.

    Attributes:
        name: Name of the `contract.Term`, which is that of its column of `losses`.
        layers: Layers of the network whose features the term needs.
        content_layers: Layers whose features of the content its targets need.
    """

    name: ClassVar[str]
    layers: tuple[str, ...] = ()
    content_layers: tuple[str, ...] = ()

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


class FeatureTerm(Term[Targets], Generic[Targets, Sums]):
    """A term on features, whose loss is a function of sums over positions: they can be summed tile by tile."""

    @abstractmethod
    def sum_specs(self) -> Sums:
        """Structure of `tile_sums`, with a `tf.TensorSpec` in place of each tensor."""

    @abstractmethod
    def tile_sums(self, features: Mapping[str, tf.Tensor], targets: Targets, tile: Tile) -> Sums:
        """Sums over the inner positions of a tile; those of all tiles add up to the sums of the image.

        Args:
            features: Features of the crop of the tile, by layer.
            targets: Targets of the run, for the whole image.
            tile: The tile.
        """

    @abstractmethod
    def loss_of_sums(self, sums: Sums, targets: Targets, weights: TermWeights) -> tf.Tensor:
        """`loss` from the sums of the image."""

    @abstractmethod
    def tile_gradient(
        self, features: Mapping[str, tf.Tensor], targets: Targets, tile: Tile, by_sums: Sums
    ) -> dict[str, tf.Tensor]:
        """Gradient by the features of the whole crop, by layer, with shapes and dtypes of the features.

        Args:
            features: Features of the crop of the tile, by layer.
            targets: Targets of the run, for the whole image.
            tile: The tile.
            by_sums: Gradient by the sums of the image.
        """


def term_weight_specs(terms: Iterable[Term[Any]]) -> TermWeights:
    """A `tf.TensorSpec` in place of each tensor of the weights of some terms."""
    factors = {term.name: tf.TensorSpec([None], tf.float32) for term in terms}
    return TermWeights(factors, tf.TensorSpec([None, None], tf.float32))
