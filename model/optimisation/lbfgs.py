"""L-BFGS on [0, 1] (Liu and Nocedal, 1989, https://doi.org/10.1007/BF01589116) as a pure init/trial/update triple.

Each update consumes exactly one evaluation of the loss and its gradient, also within a line search. So the examples of
a batch share the passes through the network, one in a line search and another past it.

Safeguards:

- A point is accepted only with a sufficient decrease (Armijo; Nocedal and Wright, 2006, equation 3.4), within the
  roughness of the loss; otherwise the step shrinks.
- A pair without positive curvature is not stored.
- Points are projected on [0, 1].
- The memory is cleared after several rejected points in a row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import tensorflow as tf

from .pair_ring import HISTORY, PairRing
from .quantized import Quantized

FIRST_STEP: Final = 8.0 / 255.0
"""Mean change of a pixel in the first trial, before the memory holds a pair."""

_DECREASE: Final = 1e-4
"""Constant of Armijo's condition."""

_ROUGHNESS: Final = 5e-4
"""Increase of the loss, relative to it, that counts as a decrease. In bfloat16 losses are rough at that scale, and a
search without this tolerance stops there."""

_CURVATURE: Final = 1e-8
"""Smallest cosine between step and gradient difference of a pair to store."""

_SHRINK: Final = (0.1, 0.5)
"""Smallest and largest factor of a step after a rejected point."""

_MAX_SHRINKS: Final = 6
"""Rejected points in a row, after which the memory is cleared."""

Preconditioner = Callable[[tf.Tensor], tf.Tensor]


class Memory(NamedTuple):
    """Curvature pairs of the last accepted steps, for each example of the batch.

    Pairs are quantised to 8 bits: a quarter of the memory, and of the state that a run carries from call to call.

    Attributes:
        ring: Accepted steps s and the gradient differences y of these steps.
        rho: 1 / (s . y), newest first, `[HISTORY, batch]` float32; 0 without a pair.
        scale: Scale of the preconditioner, from the newest pair, `[batch]` float32; 0 without a pair.
    """

    ring: PairRing
    rho: tf.Tensor
    scale: tf.Tensor

    def pairs(self) -> tf.Tensor:
        """Largest number of pairs of an example, int32 scalar. Pairs come before free places."""
        return tf.reduce_max(tf.math.count_nonzero(self.rho, axis=0, dtype=tf.int32))


class LbfgsState(NamedTuple):
    """State after some evaluations, for each example of the batch.

    Attributes:
        image: Last accepted point, `[batch, height, width, channels]` float32 in [0, 1].
        losses: Losses at that point, `[batch, columns]` float32; the first column is minimised. Infinite before the
            first evaluation.
        gradient: Gradient at that point, shape and dtype of the image.
        step: Length of the next trial in units of the search direction, `[batch]` float32.
        shrinks: Rejected trials since the last accepted one, `[batch]` int32.
        memory: Pairs that give the search direction.
    """

    image: tf.Tensor
    losses: tf.Tensor
    gradient: tf.Tensor
    step: tf.Tensor
    shrinks: tf.Tensor
    memory: Memory


def init(image: tf.Tensor, *, columns: int) -> LbfgsState:
    """The state before the first evaluation, whose `trial` is `image` itself.

    Args:
        image: Start of the run, `[batch, height, width, channels]` float32 in [0, 1].
        columns: Number of losses of an example.
    """
    batch = tf.shape(image)[0]
    return LbfgsState(
        image=image,
        losses=tf.fill([batch, columns], float("inf")),
        gradient=tf.zeros_like(image),
        step=tf.ones([batch]),
        shrinks=tf.zeros([batch], tf.int32),
        memory=Memory(PairRing.empty(tf.shape(image)), rho=tf.zeros([HISTORY, batch]), scale=tf.zeros([batch])),
    )


def trial(state: LbfgsState, precondition: Preconditioner) -> tf.Tensor:
    """Point of the next evaluation, `[batch, height, width, channels]` float32 in [0, 1].

    Args:
        state: State of the run.
        precondition: Symmetric positive definite operator on images: the inverse Hessian, up to its scale, while the
            memory is empty.
    """
    direction = _direction(state.gradient, state.memory, precondition)
    return tf.clip_by_value(state.image + _wide(state.step) * direction, 0.0, 1.0)


def update(
    state: LbfgsState,
    point: tf.Tensor,
    losses: tf.Tensor,
    gradient: tf.Tensor,
    *,
    running: tf.Tensor,
    precondition: Preconditioner,
) -> LbfgsState:
    """The state after one evaluation.

    Args:
        state: State before the evaluation.
        point: `trial(state, precondition)`.
        losses: Losses at that point, `[batch, columns]` float32; the first column is minimised.
        gradient: Gradient of the first column at that point, shape and dtype of the image.
        running: `[batch]` bool; an example with False keeps its image.
        precondition: The operator of `trial`.
    """
    s, y = point - state.image, gradient - state.gradient
    slope = _dot(state.gradient, s)
    first = tf.math.is_inf(state.losses[:, 0])
    allowed = _ROUGHNESS * tf.abs(state.losses[:, 0])
    enough = losses[:, 0] <= state.losses[:, 0] + _DECREASE * slope + allowed
    # After projection a step may have no descent left, so the slope is checked, too. A NaN fails both comparisons.
    accepted = running & (first & tf.math.is_finite(losses[:, 0]) | enough & (slope < 0.0))

    newest_s, newest_y = Quantized.of(s), Quantized.of(y)
    s, y = newest_s.dequantized(point), newest_y.dequantized(point)
    sy = _dot(s, y)
    curved = accepted & ~first & (sy > _CURVATURE * tf.sqrt(_dot(s, s) * _dot(y, y)))
    shrinks = tf.where(accepted, 0, state.shrinks + 1)
    cleared = ~accepted & (shrinks > _MAX_SHRINKS)
    rho = tf.concat([tf.math.reciprocal_no_nan(sy)[None], state.memory.rho[:-1]], axis=0)
    memory = Memory(
        ring=state.memory.ring.with_pair(newest_s, newest_y, curved),
        rho=tf.where(cleared, 0.0, tf.where(curved, rho, state.memory.rho)),
        scale=tf.where(
            cleared, 0.0, tf.where(curved, tf.math.divide_no_nan(sy, _dot(y, precondition(y))), state.memory.scale)
        ),
    )
    return LbfgsState(
        image=tf.where(_wide(accepted), point, state.image),
        losses=tf.where(accepted[:, None], losses, state.losses),
        gradient=tf.where(_wide(accepted), gradient, state.gradient),
        step=tf.where(accepted | cleared, 1.0, state.step * _shrink(state.losses[:, 0], losses[:, 0], slope)),
        shrinks=tf.where(cleared, 0, shrinks),
        memory=memory,
    )


def _direction(gradient: tf.Tensor, memory: Memory, precondition: Preconditioner) -> tf.Tensor:
    """Minus the inverse Hessian times the gradient: the two-loop recursion (Nocedal and Wright, algorithm 7.4)."""

    # Loops, because a graph with every pair unrolled adds seconds to a server's start.
    def backward(i: tf.Tensor, q: tf.Tensor, alphas: tf.TensorArray) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
        s, y = memory.ring.pair(i, gradient)
        alpha = memory.rho[i] * _dot(s, q)
        return i + 1, q - _wide(alpha) * y, alphas.write(i, alpha)

    def forward(i: tf.Tensor, r: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        s, y = memory.ring.pair(i, gradient)
        beta = memory.rho[i] * _dot(y, r)
        return i - 1, r + _wide(alphas.read(i) - beta) * s

    def older(i: tf.Tensor, *_: object) -> tf.Tensor:
        return i < count

    def newer(i: tf.Tensor, *_: object) -> tf.Tensor:
        return i >= 0

    count = memory.pairs()
    alphas = tf.TensorArray(tf.float32, size=count, element_shape=[None], clear_after_read=False)
    _, q, alphas = tf.while_loop(older, backward, (tf.constant(0), gradient, alphas), parallel_iterations=1)
    r = precondition(q)
    unknown = tf.math.divide_no_nan(FIRST_STEP, tf.reduce_mean(tf.abs(r), axis=[1, 2, 3]))
    r *= _wide(tf.where(memory.scale > 0.0, memory.scale, unknown))
    _, r = tf.while_loop(newer, forward, (count - 1, r), parallel_iterations=1)
    return -r


def _shrink(before: tf.Tensor, after: tf.Tensor, slope: tf.Tensor) -> tf.Tensor:
    """Factor of the step, `[batch]` float32 within `_SHRINK`: the minimum of the parabola through losses and slope."""
    factor = -slope / (2.0 * (after - before - slope))
    return tf.where(tf.math.is_finite(factor), tf.clip_by_value(factor, *_SHRINK), _SHRINK[0])


def _dot(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Scalar product of each example: two `[batch, height, width, channels]` to `[batch]`."""
    return tf.reduce_sum(a * b, axis=[1, 2, 3])


def _wide(per_example: tf.Tensor) -> tf.Tensor:
    """`[batch]` as `[batch, 1, 1, 1]`."""
    return per_example[:, None, None, None]
