"""Adam (Kingma and Ba, 2015, https://arxiv.org/abs/1412.6980) as a pure init/update pair."""

from __future__ import annotations

from typing import Final, NamedTuple

import tensorflow as tf

# The tutorial's settings. The large epsilon makes steps shrink where gradients are small.
BETA_1: Final = 0.99
BETA_2: Final = 0.999
EPSILON: Final = 0.1


class AdamState(NamedTuple):
    """First and second moments of the gradient, shaped like the image, and the number of updates made, int32."""

    step: tf.Tensor
    m: tf.Tensor
    v: tf.Tensor


def init(image: tf.Tensor) -> AdamState:
    """The state before the first update."""
    return AdamState(tf.constant(0), tf.zeros_like(image), tf.zeros_like(image))


def update(
    image: tf.Tensor, gradient: tf.Tensor, state: AdamState, *, learning_rate: tf.Tensor
) -> tuple[tf.Tensor, AdamState]:
    """One step, in the form at the end of section 2 of the paper, which is also that of Keras.

    There epsilon is added to the square root of the uncorrected second moment ("epsilon hat"). With an epsilon of
    0.1 that is another algorithm than the paper's algorithm 1, so it matters.

    Args:
        image: `[batch, height, width, 3]` float32.
        gradient: of the loss, shaped like the image.
        state: of the update before.
        learning_rate: `[batch]` float32.

    Returns:
        The new image, not clipped, and the new state.
    """
    step = state.step + 1
    t = tf.cast(step, tf.float32)
    m = state.m + (gradient - state.m) * (1.0 - BETA_1)
    v = state.v + (tf.square(gradient) - state.v) * (1.0 - BETA_2)
    alpha = learning_rate * tf.sqrt(1.0 - tf.pow(BETA_2, t)) / (1.0 - tf.pow(BETA_1, t))
    image -= alpha[:, None, None, None] * m / (tf.sqrt(v) + EPSILON)
    return image, AdamState(step, m, v)
