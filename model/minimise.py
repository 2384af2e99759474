"""The optimisation of the pixels: one loop, for every loss and every optimiser; all that it owns is a loop variable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

import tensorflow as tf

from styleserve import contract

from .canvas import Canvas
from .checks import check
from .interruptible import uninlined
from .objective import Objective
from .optimisers import Optimiser
from .terms.term import TermWeights

_State = TypeVar("_State")


class Minimiser(Generic[_State]):
    """An optimiser, for every loss of a model.

    Args:
        objectives: The losses, with terms of the same names.
        optimiser: The optimiser.
        canvas: Tree of `tf.TensorSpec` of the canvas of a run.
    """

    def __init__(self, objectives: Sequence[Objective], optimiser: Optimiser[_State], canvas: Canvas) -> None:
        self.objectives = objectives
        self.optimiser = optimiser
        image = tf.TensorSpec(contract.IMAGE.shape, tf.float32)
        begin = tf.function(optimiser.init, autograph=False).get_concrete_function(image)
        state = tf.nest.map_structure(_spec, begin.structured_outputs)
        weight = tf.TensorSpec([None], tf.float32)
        names = [term.name for term in objectives[0].terms]
        weights = TermWeights(dict.fromkeys(names, weight), tf.TensorSpec([None, None], tf.float32))
        # Called, not inlined: the calls inside it (`interruptible`) may then stand in a loop.
        # In a loop within the loop over examples TensorFlow's inlining ties them to the wrong one.
        # One function for all losses: a server prepares it once.
        number = tf.TensorSpec([], tf.int32)
        self._call = uninlined(self._run, [number, canvas, state, weights, tf.TensorSpec([None], tf.int32), weight])

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
        """The state after some more steps.

        Args:
            loss: Number of the objective, int32 scalar; of one objective any.
            canvas: What the run works on.
            state: Of the optimiser.
            weights: Factors of the losses.
            steps: `[batch]` int32; an example that has had its steps stays still.
            learning_rate: `[batch]` float32; of Adam.

        Returns:
            The state after these steps, and the losses that the optimiser reports, `[batch, max(steps), columns]`, NaN
            after an example's own last step.
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
        targets = _branch(loss, [partial(each.targets, canvas) for each in self.objectives])
        cover = canvas.cover()
        trial, update = self.optimiser.bind(state, learning_rate)

        def step(state: _State, running: tf.Tensor) -> tuple[_State, tf.Tensor]:
            point = trial(state)
            image = canvas.painted(point)
            evaluate = [partial(each.losses_and_gradient, image, targets, weights) for each in self.objectives]
            losses, gradient = _branch(loss, evaluate)
            return update(state, point, losses, cover * gradient, running)

        state, losses = _loop(step, state, steps, columns=1 + len(self.objectives[0].terms))
        return state, check(losses, self.optimiser.is_finite(state, losses), self.optimiser.advice)


def _branch(number: tf.Tensor, branches: Sequence[Callable[[], Any]]) -> Any:  # noqa: ANN401 - of the branches
    return tf.switch_case(number, branches) if len(branches) > 1 else branches[0]()


def _spec(tensor: Any) -> tf.TensorSpec:  # noqa: ANN401 - a symbolic tensor
    return tf.TensorSpec(tensor.shape, tensor.dtype)


def _loop(step: Any, state: _State, steps: tf.Tensor, *, columns: int) -> tuple[_State, tf.Tensor]:  # noqa: ANN401
    """Runs `step` on the state as often as the example with the most steps wants it.

    Args:
        step: From a state, and which examples are running (`[batch]` bool), to the next state and the losses,
            `[batch, columns]`.
        state: Before the first step.
        steps: `[batch]` int32.
        columns: Losses of an example.

    Returns:
        The state after the last step, and all losses, `[batch, max(steps), columns]`, NaN after an example's own last
        step.
    """
    most = tf.reduce_max(steps)

    def body(i: tf.Tensor, state: _State, history: tf.TensorArray) -> tuple[tf.Tensor, _State, tf.TensorArray]:
        running = i < steps
        state, losses = step(state, running)
        return i + 1, state, history.write(i, tf.where(running[:, None], losses, float("nan")))

    def unfinished(i: tf.Tensor, *_: object) -> tf.Tensor:
        return i < most

    # An array without any element cannot be stacked, so there is one row too many where there are no steps.
    history = tf.TensorArray(tf.float32, size=tf.maximum(most, 1), element_shape=[None, columns])
    history = history.write(0, tf.fill([tf.shape(steps)[0], columns], float("nan")))
    _, state, history = tf.while_loop(
        unfinished,
        body,
        (tf.constant(0), state, history),
        parallel_iterations=1,  # iterations depend on one another; more would only hold memory
    )
    return state, tf.transpose(history.stack()[:most], [1, 0, 2])
