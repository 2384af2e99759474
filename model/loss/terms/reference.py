"""Reference loss: target pixels, weighted by a mask.

It is the temporal loss of Ruder et al. (2016, https://arxiv.org/abs/1604.08610, equation 7), with any picture in place
of the warped previous frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from ..canvas import Canvas
from .term import Term, TermWeights


class ReferenceTargets(NamedTuple):
    """Targets of the reference term.

    Attributes:
        pixels: `[0 or 1, height, width, 3]` float32 in [0, 1].
        weights: `[0 or 1, height, width, 1]` float32 in [0, 1].
    """

    pixels: tf.Tensor
    weights: tf.Tensor


class ReferenceTerm(Term[ReferenceTargets]):
    """Mean over all values of the weighted squared difference from target pixels; 0 without target pixels."""

    name = "reference"

    def targets(self, canvas: Canvas, content: Mapping[str, tf.Tensor]) -> ReferenceTargets:
        """See `Term`."""
        del content
        return ReferenceTargets(
            canvas.reference, tf.cast(canvas.reference_weight, canvas.reference.dtype)[..., None] / 255.0
        )

    def target_specs(self) -> ReferenceTargets:
        """See `Term`."""
        return ReferenceTargets(
            tf.TensorSpec([None, None, None, 3], tf.float32), tf.TensorSpec([None, None, None, 1], tf.float32)
        )

    def loss(
        self, image: tf.Tensor, features: Mapping[str, tf.Tensor], targets: ReferenceTargets, weights: TermWeights
    ) -> tf.Tensor:
        """See `Term`."""
        del features, weights
        values = tf.cast(tf.reduce_prod(tf.shape(image)[1:]), image.dtype)
        # A batch of several images has no reference, so this is one image or none.
        compared = image[: tf.shape(targets.pixels)[0]]
        total = tf.reduce_sum(tf.square(compared - targets.pixels) * targets.weights)
        return tf.fill([tf.shape(image)[0]], total / values)
