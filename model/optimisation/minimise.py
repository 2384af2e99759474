"""The optimisation of the pixels: one loop for every loss and every optimiser, whose state is its loop variables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

import tensorflow as tf

from styleserve import contract

from ..checks import check
from ..loss.canvas import Canvas
from ..loss.objective import Objective
from ..loss.terms.term import TermWeights, term_weight_specs
from ..noinline import noinline
from .optimisers import Optimiser

_State = TypeVar("_State")


class Minimiser(Generic[_State]):
    """The loop of an optimiser, for one or more losses.

    Args:
        objectives: Losses, with terms of the same names.
        optimiser: Optimiser of the pixels.
        canvas: Canvas of a run, with a `tf.TensorSpec` in place of each tensor.
    """

    def __init__(self, objectives: Sequence[Objective], optimiser: Optimiser[_State], canvas: Canvas) -> None:
        self.objectives = objectives
        self.optimiser = optimiser
        image = tf.TensorSpec(contract.IMAGE.shape, tf.float32)
        init = tf.function(optimiser.init, autograph=False).get_concrete_function(image)
        state = tf.nest.map_structure(_spec, init.structured_outputs)
        weights, learning_rate = term_weight_specs(objectives[0].terms), tf.TensorSpec([None], tf.float32)
        # A call that is not inlined, because this loop holds calls (`cancellation_point`) and stands in the loop over
        # examples: inlined, TensorFlow would tie the calls to the wrong loop. One function for all losses: a server
        # prepares it once.
        index = tf.TensorSpec([], tf.int32)
        steps = tf.TensorSpec([None], tf.int32)
        self._call = noinline(self._run, [index, canvas, state, weights, steps, learning_rate])

    def run(
        self,
        loss: tf.Tensor,
        canvas: Canvas,
        state: _State,
        weights: TermWeights,
        *,
        steps: tf.Tensor,
        learning_rate: tf.Tensor,
    ) -> tuple[_State, tf.Tensor]:
        """The state after some more steps, and the losses.

        Args:
            loss: Index of the objective, int32 scalar; ignored if there is only one.
            canvas: Canvas of the run.
            state: State of the optimiser.
            weights: Factors of the losses.
            steps: Steps of each example, `[batch]` int32; after them its image does not change.
            learning_rate: Learning rate of Adam, `[batch]` float32.

        Returns:
            The state after these steps, and the losses that the optimiser reports, `[batch, max(steps), columns]`
            float32, NaN after an example's own last step.
        """
        return self._call(loss, canvas, state, weights, steps, learning_rate)

    def _run(
        self,
        loss: tf.Tensor,
        canvas: Canvas,
        state: _State,
        weights: TermWeights,
        steps: tf.Tensor,
        learning_rate: tf.Tensor,
    ) -> tuple[_State, tf.Tensor]:
        targets = _switch(loss, [partial(each.targets, canvas) for each in self.objectives])
        cover = canvas.cover()
        trial, update = self.optimiser.bind(state, learning_rate)
        most = tf.reduce_max(steps)

        def step(i: tf.Tensor, state: _State, history: tf.TensorArray) -> tuple[tf.Tensor, _State, tf.TensorArray]:
            running = i < steps
            point = trial(state)
            image = canvas.painted(point)
            evaluate = [partial(each.losses_and_gradient, image, targets, weights) for each in self.objectives]
            losses, gradient = _switch(loss, evaluate)
            state, losses = update(state, point, losses, cover * gradient, running)
            return i + 1, state, history.write(i, tf.where(running[:, None], losses, float("nan")))

        def unfinished(i: tf.Tensor, *_: object) -> tf.Tensor:
            return i < most

        # An empty array cannot be stacked, so without steps there is one row, which is cut off at the end.
        columns = 1 + len(self.objectives[0].terms)
        history = tf.TensorArray(tf.float32, size=tf.maximum(most, 1), element_shape=[None, columns])
        history = history.write(0, tf.fill([tf.shape(steps)[0], columns], float("nan")))
        _, state, history = tf.while_loop(
            unfinished,
            step,
            (tf.constant(0), state, history),
            parallel_iterations=1,  # iterations depend on each other; more would only hold memory
        )
        losses = tf.transpose(history.stack()[:most], [1, 0, 2])
        return state, check(losses, self.optimiser.is_finite(state, losses), self.optimiser.not_finite)


def _switch(index: tf.Tensor, branches: Sequence[Callable[[], Any]]) -> Any:  # noqa: ANN401 - of the branches
    return tf.switch_case(index, branches) if len(branches) > 1 else branches[0]()


def _spec(tensor: Any) -> tf.TensorSpec:  # noqa: ANN401 - a symbolic tensor
    return tf.TensorSpec(tensor.shape, tensor.dtype)
