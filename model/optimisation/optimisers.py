"""The optimisers behind one interface: start a run, propose a point, take its losses and gradient, pack the state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import tensorflow as tf

from styleserve import contract

from ..state import Spec
from . import adam, lbfgs
from .pair_ring import PairRing
from .preconditioner import smoothing

_State = TypeVar("_State")
Trial = Callable[[_State], tf.Tensor]
Update = Callable[[_State, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], tuple[_State, tf.Tensor]]
"""Function of a state, its trial point, losses and gradient at that point, and the running examples, `[batch]` bool. It
returns the next state and the losses to report, `[batch, columns]` float32."""

_IMAGE = Spec("float32", (1, "height", "width", 3))


class Optimiser(ABC, Generic[_State]):
    """Interface of an optimiser of the pixels.

    Attributes:
        name: Value of `contract.OPTIMIZER`.
        not_finite: Error message for a result that is not finite.
        specs: `Spec` of each tensor that `pack` returns, the image first.
    """

    name: ClassVar[str]
    not_finite: ClassVar[str]
    specs: ClassVar[tuple[Spec, ...]]

    @abstractmethod
    def init(self, image: tf.Tensor) -> _State:
        """State of a run before its first step, at `image`, `[batch, height, width, 3]` float32 in [0, 1]."""

    @abstractmethod
    def image(self, state: _State) -> tf.Tensor:
        """Image of a state, `[batch, height, width, 3]` float32 in [0, 1]."""

    @abstractmethod
    def bind(self, state: _State, learning_rate: tf.Tensor) -> tuple[Trial[_State], Update[_State]]:
        """Trial and update functions for images of the size of those in `state`; `learning_rate`: `[batch]` float32."""

    @abstractmethod
    def is_finite(self, state: _State, losses: tf.Tensor) -> tf.Tensor:
        """Whether the result of a run is finite, bool scalar."""

    @abstractmethod
    def pack(self, state: _State) -> tuple[tf.Tensor, ...]:
        """Tensors of a run of one example, the image first, with the dtypes and shapes of `specs`."""

    @abstractmethod
    def unpack(self, tensors: tuple[tf.Tensor, ...]) -> _State:
        """State of a run from its packed tensors: the inverse of `pack`."""


class AdamRun(NamedTuple):
    """State of a run of Adam.

    Attributes:
        image: `[batch, height, width, 3]` float32 in [0, 1].
        moments: Moments of the gradient.
    """

    image: tf.Tensor
    moments: adam.AdamState


class Adam(Optimiser[AdamRun]):
    """The tutorial's optimiser, clipped to [0, 1] after each step. It reports the losses before each step."""

    name = "adam"
    not_finite = "the result is not finite; use smaller weights or a smaller learning_rate"
    specs = (_IMAGE, Spec("int32", (1,)), _IMAGE, _IMAGE)

    def init(self, image: tf.Tensor) -> AdamRun:
        """See `Optimiser`."""
        return AdamRun(image, adam.init(image))

    def image(self, state: AdamRun) -> tf.Tensor:
        """See `Optimiser`."""
        return state.image

    def bind(self, state: AdamRun, learning_rate: tf.Tensor) -> tuple[Trial[AdamRun], Update[AdamRun]]:
        """See `Optimiser`."""
        del state

        def update(
            run: AdamRun, point: tf.Tensor, losses: tf.Tensor, gradient: tf.Tensor, running: tf.Tensor
        ) -> tuple[AdamRun, tf.Tensor]:
            moved, moments = adam.update(point, gradient, run.moments, learning_rate=learning_rate)
            image = tf.where(running[:, None, None, None], tf.clip_by_value(moved, 0.0, 1.0), run.image)
            return AdamRun(image, moments), losses

        return self.image, update

    def is_finite(self, state: AdamRun, losses: tf.Tensor) -> tf.Tensor:
        """See `Optimiser`."""
        del losses
        return tf.reduce_all(tf.math.is_finite(state.image))

    def pack(self, state: AdamRun) -> tuple[tf.Tensor, ...]:
        """See `Optimiser`."""
        image, (step, m, v) = state
        return image, step[None], m, v

    def unpack(self, tensors: tuple[tf.Tensor, ...]) -> AdamRun:
        """See `Optimiser`."""
        image, step, m, v = tensors
        return AdamRun(image, adam.AdamState(step[0], m, v))


class Lbfgs(Optimiser[lbfgs.LbfgsState]):
    """L-BFGS, projected on [0, 1]. A step is one evaluation; the reported losses are those of the image after it.

    Packing is exact, because the memory itself is quantised: a resumed run gives the bytes of an uninterrupted one.
    """

    name = "lbfgs"
    not_finite = "the loss is not finite; use smaller weights"
    specs = (
        _IMAGE,
        _IMAGE,
        Spec("float32", (1, len(contract.LOSS_COLUMNS) + 3)),
        Spec("int64", ("pairs", 2, "words")),
        Spec("float32", ("pairs", 2, "height", 1, 1)),
        Spec("float32", ("pairs", 1)),
    )

    def init(self, image: tf.Tensor) -> lbfgs.LbfgsState:
        """See `Optimiser`."""
        return lbfgs.init(image, columns=len(contract.LOSS_COLUMNS))

    def image(self, state: lbfgs.LbfgsState) -> tf.Tensor:
        """See `Optimiser`."""
        return state.image

    def bind(
        self, state: lbfgs.LbfgsState, learning_rate: tf.Tensor
    ) -> tuple[Trial[lbfgs.LbfgsState], Update[lbfgs.LbfgsState]]:
        """See `Optimiser`."""
        del learning_rate
        precondition = smoothing(tf.shape(state.image)[1:3])

        def update(
            state: lbfgs.LbfgsState, point: tf.Tensor, losses: tf.Tensor, gradient: tf.Tensor, running: tf.Tensor
        ) -> tuple[lbfgs.LbfgsState, tf.Tensor]:
            state = lbfgs.update(state, point, losses, gradient, running=running, precondition=precondition)
            return state, state.losses

        return lambda state: lbfgs.trial(state, precondition), update

    def is_finite(self, state: lbfgs.LbfgsState, losses: tf.Tensor) -> tf.Tensor:
        """See `Optimiser`."""
        del state
        # L-BFGS accepts no step to an infinite loss, but the loss of the start may be infinite.
        return tf.reduce_all(~tf.math.is_inf(losses))

    def pack(self, state: lbfgs.LbfgsState) -> tuple[tf.Tensor, ...]:
        """See `Optimiser`."""
        memory = state.memory
        pairs = memory.pairs()
        numbers = [state.step[:, None], tf.cast(state.shrinks, tf.float32)[:, None], memory.scale[:, None]]
        return (
            state.image,
            state.gradient,
            tf.concat([state.losses, *numbers], axis=1),
            *memory.ring.packed(pairs),
            memory.rho[:pairs],
        )

    def unpack(self, tensors: tuple[tf.Tensor, ...]) -> lbfgs.LbfgsState:
        """See `Optimiser`."""
        image, gradient, numbers, words, scales, rho = tensors
        free = tf.zeros([lbfgs.HISTORY - tf.shape(rho)[0], 1])
        rho = tf.ensure_shape(tf.concat([rho, free], axis=0), [lbfgs.HISTORY, 1])
        memory = lbfgs.Memory(PairRing.unpacked(words, scales, tf.shape(image)), rho, numbers[:, -1])
        shrinks = tf.cast(numbers[:, -2], tf.int32)
        return lbfgs.LbfgsState(image, numbers[:, :-3], gradient, numbers[:, -3], shrinks, memory)


OPTIMISERS: tuple[Optimiser[Any], ...] = (Lbfgs(), Adam())
"""Optimisers in the order of `contract.OPTIMIZER.choices`."""
