"""L-BFGS on [0, 1] (Liu and Nocedal, 1989, https://doi.org/10.1007/BF01589116) as a pure init/trial/update triple.

Each update takes one evaluation of the loss and its gradient, and ends with the point where it wants the next one. So
an evaluation is never thrown away without a word, and examples of a batch that are at different places, one in a line
search and one past it, share the passes through the network.

Safeguards: a point is accepted only with a sufficient decrease (Armijo; Nocedal and Wright, 2006, equation 3.4), give
or take the roughness of the loss, else the step shrinks; a pair that lacks positive curvature is not remembered; points
are projected on [0, 1]; where the memory leads nowhere it is dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import tensorflow as tf

from .rounding import Rounded

HISTORY: Final = 10
"""Pairs of steps and gradient differences that are remembered."""

FIRST_STEP: Final = 8.0 / 255.0
"""Mean change of a pixel that is tried first, while nothing is known of the curvature."""

_DECREASE: Final = 1e-4
# A loss this much worse, as a share of it, passes for a decrease. In bfloat16 losses are rough at that scale, and a
# search that insists on a decrease ends there for good.
_ROUGHNESS: Final = 5e-4
_CURVATURE: Final = 1e-8
# A step shrinks to a tenth at most and to a half at least; after so many in a row the memory is dropped.
_SHRINK: Final = (0.1, 0.5)
_MAX_SHRINKS: Final = 6

Preconditioner = Callable[[tf.Tensor], tf.Tensor]


class Memory(NamedTuple):
    """What the pairs of the last accepted steps tell of the curvature; everything per example of the batch.

    Pairs are kept in 8 bits a number: a quarter of the memory, and of what a run carries from call to call.

    Attributes:
        s: accepted steps, newest first, `[HISTORY, *image.shape]`.
        y: the gradient differences that belong to them.
        rho: 1 / (s . y), `[HISTORY, batch]`; 0 where there is no pair.
        scale: of the preconditioner, from the newest pair, `[batch]`; 0 where there is none.
    """

    s: Rounded
    y: Rounded
    rho: tf.Tensor
    scale: tf.Tensor

    def pairs(self) -> tf.Tensor:
        """Pairs of the example that has most of them, int32 scalar. They stand in front."""
        return tf.reduce_max(tf.math.count_nonzero(self.rho, axis=0, dtype=tf.int32))


class LbfgsState(NamedTuple):
    """What is known after some evaluations; everything per example of the batch.

    Attributes:
        image: the point accepted last, `[batch, height, width, channels]` float32 in [0, 1].
        losses: of that point, `[batch, columns]`, the first of them minimised; infinite before the first evaluation.
        gradient: of that point, shaped like the image.
        step: length of the next trial in units of the direction of search, `[batch]`.
        shrinks: refused trials since the last accepted one, `[batch]` int32.
        memory: the pairs that directions are made with.
    """

    image: tf.Tensor
    losses: tf.Tensor
    gradient: tf.Tensor
    step: tf.Tensor
    shrinks: tf.Tensor
    memory: Memory


def init(image: tf.Tensor, *, columns: int) -> LbfgsState:
    """The state before the first evaluation, which `trial` wants at `image` itself.

    Args:
        image: where to start, `[batch, height, width, channels]` float32 in [0, 1].
        columns: losses per example that evaluations give.
    """
    batch = tf.shape(image)[0]
    pairs = Rounded.zeros(tf.concat([[HISTORY], tf.shape(image)], axis=0))
    return LbfgsState(
        image=image,
        losses=tf.fill([batch, columns], float("inf")),
        gradient=tf.zeros_like(image),
        step=tf.ones([batch]),
        shrinks=tf.zeros([batch], tf.int32),
        memory=Memory(s=pairs, y=pairs, rho=tf.zeros([HISTORY, batch]), scale=tf.zeros([batch])),
    )


def padded(pairs: tf.Tensor) -> tf.Tensor:
    """`[pairs, ...]` as `[HISTORY, ...]`, with zeros for the pairs that are missing."""
    missing = HISTORY - tf.shape(pairs)[0]
    all_of_them = tf.pad(pairs, [[0, missing], *([[0, 0]] * (len(pairs.shape) - 1))])
    return tf.ensure_shape(all_of_them, [HISTORY, *pairs.shape[1:]])


def trial(state: LbfgsState, precondition: Preconditioner) -> tf.Tensor:
    """Where the loss is wanted next, `[batch, height, width, channels]` float32 in [0, 1].

    Args:
        state: of the run.
        precondition: a symmetric positive definite operator on images, the shape of the inverse Hessian where nothing
            is remembered; its scale does not matter.
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
        state: before it.
        point: `trial(state, precondition)`.
        losses: at that point, `[batch, columns]` float32, the first column minimised.
        gradient: of the first column at that point, shaped like the image.
        running: `[batch]` bool; False keeps an example where it is.
        precondition: see `trial`.
    """
    s, y = point - state.image, gradient - state.gradient
    slope = _dot(state.gradient, s)
    first = tf.math.is_inf(state.losses[:, 0])
    allowed = _ROUGHNESS * tf.abs(state.losses[:, 0])
    enough = losses[:, 0] <= state.losses[:, 0] + _DECREASE * slope + allowed
    # A descent that projection has turned into an ascent, or into nothing, is no descent; a NaN is not enough.
    accepted = running & (first & tf.math.is_finite(losses[:, 0]) | enough & (slope < 0.0))

    newest_s, newest_y = Rounded.of(s), Rounded.of(y)
    s, y = newest_s.exact(), newest_y.exact()
    sy = _dot(s, y)
    curved = accepted & ~first & (sy > _CURVATURE * tf.sqrt(_dot(s, s) * _dot(y, y)))
    shrinks = tf.where(accepted, 0, state.shrinks + 1)
    lost = ~accepted & (shrinks > _MAX_SHRINKS)
    memory = Memory(
        s=Rounded(*(_push(old, new, curved) for old, new in zip(state.memory.s, newest_s, strict=True))),
        y=Rounded(*(_push(old, new, curved) for old, new in zip(state.memory.y, newest_y, strict=True))),
        rho=tf.where(lost, 0.0, _push(state.memory.rho, tf.math.reciprocal_no_nan(sy), curved)),
        scale=tf.where(
            lost, 0.0, tf.where(curved, tf.math.divide_no_nan(sy, _dot(y, precondition(y))), state.memory.scale)
        ),
    )
    return LbfgsState(
        image=tf.where(_wide(accepted), point, state.image),
        losses=tf.where(accepted[:, None], losses, state.losses),
        gradient=tf.where(_wide(accepted), gradient, state.gradient),
        step=tf.where(accepted | lost, 1.0, state.step * _shrunk(state.losses[:, 0], losses[:, 0], slope)),
        shrinks=tf.where(lost, 0, shrinks),
        memory=memory,
    )


def _direction(gradient: tf.Tensor, memory: Memory, precondition: Preconditioner) -> tf.Tensor:
    """Minus the inverse Hessian times the gradient: the two-loop recursion (Nocedal and Wright, algorithm 7.4)."""

    # Loops, because a graph with every pair written out takes a server seconds more to prepare.
    def backward(i: tf.Tensor, q: tf.Tensor, alphas: tf.TensorArray) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
        alpha = memory.rho[i] * _dot(memory.s.exact(i), q)
        return i + 1, q - _wide(alpha) * memory.y.exact(i), alphas.write(i, alpha)

    def forward(i: tf.Tensor, r: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        beta = memory.rho[i] * _dot(memory.y.exact(i), r)
        return i - 1, r + _wide(alphas.read(i) - beta) * memory.s.exact(i)

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


def _shrunk(before: tf.Tensor, after: tf.Tensor, slope: tf.Tensor) -> tf.Tensor:
    """The minimum of the parabola through both losses and the slope, as a factor of the step, within `_SHRINK`."""
    factor = -slope / (2.0 * (after - before - slope))
    return tf.where(tf.math.is_finite(factor), tf.clip_by_value(factor, *_SHRINK), _SHRINK[0])


def _push(memory: tf.Tensor, newest: tf.Tensor, where: tf.Tensor) -> tf.Tensor:
    """`memory` with `newest` in front and its last one dropped, for the examples where that is wanted."""
    longer = tf.concat([newest[None], memory], axis=0)
    batch = tf.shape(where)[0]
    rows = (tf.range(HISTORY)[:, None] + tf.where(where, 0, 1)) * batch + tf.range(batch)
    # Copies of whole images: many times as fast as a choice for each number.
    return tf.gather(tf.reshape(longer, tf.concat([[(HISTORY + 1) * batch], tf.shape(longer)[2:]], axis=0)), rows)


def _dot(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Scalar product of each example: two `[batch, height, width, channels]` to `[batch]`."""
    return tf.reduce_sum(a * b, axis=[1, 2, 3])


def _wide(per_example: tf.Tensor) -> tf.Tensor:
    return per_example[:, None, None, None]
