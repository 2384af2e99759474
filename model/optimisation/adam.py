"""Adam (Kingma and Ba, 2015, https://arxiv.org/abs/1412.6980) as a pure init/update pair."""

from __future__ import annotations

from typing import Final, NamedTuple

import tensorflow as tf

# The tutorial's settings. The large epsilon makes steps shrink where gradients are small.
BETA_1: Final = 0.99
BETA_2: Final = 0.999
EPSILON: Final = 0.1


class AdamState(NamedTuple):
    """State of Adam.

    Attributes:
        step: Number of updates made, int32 scalar.
        m: First moment of the gradient, `[batch, height, width, 3]` float32.
        v: Second moment of the gradient, `[batch, height, width, 3]` float32, 0 or more.
    """

    step: tf.Tensor
    m: tf.Tensor
    v: tf.Tensor


def init(image: tf.Tensor) -> AdamState:
    """The state before the first update of an image, `[batch, height, width, 3]` float32."""
    return AdamState(tf.constant(0), tf.zeros_like(image), tf.zeros_like(image))


def update(
    image: tf.Tensor, gradient: tf.Tensor, state: AdamState, *, learning_rate: tf.Tensor
) -> tuple[tf.Tensor, AdamState]:
    """The image and the state after one update, in the form at the end of section 2 of the paper, as in Keras.

    That form adds epsilon to the square root of the uncorrected second moment ("epsilon hat"). With an epsilon of 0.1
    it is another algorithm than algorithm 1 of the paper.

    Args:
        image: `[batch, height, width, 3]` float32.
        gradient: Gradient of the loss, shape and dtype of the image.
        state: State before the update.
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
