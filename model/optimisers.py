"""The two optimisers behind one interface: begin a run, go on with it, and carry it as tensors of a state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import tensorflow as tf

from styleserve import contract
from styleserve.contract import Control

from . import adam, lbfgs
from .checks import check
from .interruptible import uninlined
from .losses import LossWeights, Targets
from .rounding import Rounded
from .state import Part, Sizes
from .stylize import AdamRun, Stylizer

Controls = Mapping[str, tf.Tensor]
_State = TypeVar("_State")


class Optimiser(ABC, Generic[_State]):
    """One way to optimise the pixels.

    Args:
        stylizer: has the losses.
        targets: the structure of `tf.TensorSpec` of its targets.
    """

    name: ClassVar[str]
    controls: ClassVar[tuple[Control, ...]]

    def __init__(self, stylizer: Stylizer, targets: Targets) -> None:
        self._stylizer = stylizer
        controls = {control.name: tf.TensorSpec([None], control.dtype) for control in self.controls}
        image = tf.TensorSpec(contract.CONTENT_IMAGE.shape, tf.float32)
        # Called, not inlined: signatures share it, and the calls inside it (`interruptible`) may then stand in a loop.
        # In a loop within the loop over examples TensorFlow's inlining ties them to the wrong one.
        begin = tf.function(self.init, autograph=False).get_concrete_function(image)
        state = tf.nest.map_structure(_spec, begin.structured_outputs)
        self.run: Callable[[Targets, _State, Controls], tuple[_State, tf.Tensor]] = uninlined(
            self._run, [targets, state, controls]
        )

    @abstractmethod
    def init(self, image: tf.Tensor) -> _State:
        """A run that has not begun, at `image`, `[batch, height, width, 3]` float32 in [0, 1]."""

    @abstractmethod
    def image(self, state: _State) -> tf.Tensor:
        """Where a run is, `[batch, height, width, 3]` float32 in [0, 1]."""

    @abstractmethod
    def _run(self, targets: Targets, state: _State, controls: Controls) -> tuple[_State, tf.Tensor]:
        """The run after `steps` more, and its losses; refused where it diverged."""

    @abstractmethod
    def pack(self, state: _State) -> tuple[Sizes, list[tf.Tensor]]:
        """The run of one example as what a state holds of it, the image first."""

    @abstractmethod
    def parts(self, sizes: Sizes) -> list[Part]:
        """What `pack` gave, by its sizes."""

    @abstractmethod
    def unpack(self, sizes: Sizes, tensors: Sequence[tf.Tensor]) -> _State:
        """The run that was packed."""


class Adam(Optimiser[AdamRun]):
    """The tutorial's optimiser. A run that is packed and unpacked goes on as if nothing had been."""

    name = "adam"
    controls = contract.ADAM_CONTROLS

    def init(self, image: tf.Tensor) -> AdamRun:
        """See `Optimiser`."""
        return AdamRun(image, adam.init(image))

    def image(self, state: AdamRun) -> tf.Tensor:
        """See `Optimiser`."""
        return state.image

    def _run(self, targets: Targets, state: AdamRun, controls: Controls) -> tuple[AdamRun, tf.Tensor]:
        state, losses = self._stylizer.adam(
            targets,
            state,
            _loss_weights(controls),
            steps=controls[contract.STEPS.name],
            learning_rate=controls[contract.LEARNING_RATE.name],
        )
        finite = tf.reduce_all(tf.math.is_finite(state.image))
        advice = "the result is not finite; use smaller weights or a smaller learning_rate"
        return state._replace(image=check(state.image, finite, advice)), losses

    def pack(self, state: AdamRun) -> tuple[Sizes, list[tf.Tensor]]:
        """See `Optimiser`."""
        image, (step, m, v) = state
        return _sizes(image, step, tf.constant(0)), [image, m, v]

    def parts(self, sizes: Sizes) -> list[Part]:
        """See `Optimiser`."""
        return [_image_part(sizes)] * 3

    def unpack(self, sizes: Sizes, tensors: Sequence[tf.Tensor]) -> AdamRun:
        """See `Optimiser`."""
        image, m, v = tensors
        return AdamRun(image, adam.AdamState(sizes.updates, m, v))


class Lbfgs(Optimiser[lbfgs.LbfgsState]):
    """L-BFGS. What it remembers has 8 bits a number, so a run goes on from those as if nothing had been."""

    name = "lbfgs"
    controls = contract.LBFGS_CONTROLS

    def init(self, image: tf.Tensor) -> lbfgs.LbfgsState:
        """See `Optimiser`."""
        return lbfgs.init(image, columns=len(contract.LOSS_COLUMNS))

    def image(self, state: lbfgs.LbfgsState) -> tf.Tensor:
        """See `Optimiser`."""
        return state.image

    def _run(self, targets: Targets, state: lbfgs.LbfgsState, controls: Controls) -> tuple[lbfgs.LbfgsState, tf.Tensor]:
        weights = _loss_weights(controls)
        state, losses = self._stylizer.lbfgs(targets, state, weights, steps=controls[contract.STEPS.name])
        # It takes no step that makes the loss infinite, but it may have started there.
        finite = tf.reduce_all(~tf.math.is_inf(losses))
        return state._replace(image=check(state.image, finite, "the loss is not finite; use smaller weights")), losses

    def pack(self, state: lbfgs.LbfgsState) -> tuple[Sizes, list[tf.Tensor]]:
        """See `Optimiser`."""
        memory = state.memory
        pairs = memory.pairs()
        remembered = [tensor[:pairs] for tensor in (*memory.s, *memory.y, memory.rho)]
        own = [state.image, state.gradient, state.losses, state.step, state.shrinks, memory.scale]
        return _sizes(state.image, tf.constant(0), pairs), [*own, *remembered]

    def parts(self, sizes: Sizes) -> list[Part]:
        """See `Optimiser`."""
        image, vector = _image_part(sizes), Part(tf.float32, (1,))
        levels = Part(tf.float32, (sizes.pairs, 1, sizes.height, 1, 1))
        memory = [Part(tf.int8, (sizes.pairs, *image.shape)), levels]
        losses, rho = Part(tf.float32, (1, len(contract.LOSS_COLUMNS))), Part(tf.float32, (sizes.pairs, 1))
        return [image, image, losses, vector, Part(tf.int32, (1,)), vector, *memory, *memory, rho]

    def unpack(self, sizes: Sizes, tensors: Sequence[tf.Tensor]) -> lbfgs.LbfgsState:  # noqa: ARG002 - all is in them
        """See `Optimiser`."""
        image, gradient, losses, step, shrinks, scale, *remembered = tensors
        s, s_level, y, y_level, rho = (lbfgs.padded(tensor) for tensor in remembered)
        memory = lbfgs.Memory(Rounded(s, s_level), Rounded(y, y_level), rho, scale)
        return lbfgs.LbfgsState(image, losses, gradient, step, shrinks, memory)


def _spec(tensor: Any) -> tf.TensorSpec:  # noqa: ANN401 - a symbolic tensor
    return tf.TensorSpec(tensor.shape, tensor.dtype)


def _sizes(image: tf.Tensor, updates: tf.Tensor, pairs: tf.Tensor) -> Sizes:
    shape = tf.shape(image)
    return Sizes(shape[1], shape[2], updates, pairs)


def _image_part(sizes: Sizes) -> Part:
    return Part(tf.float32, (1, sizes.height, sizes.width, 3))


def _loss_weights(controls: Controls) -> LossWeights:
    return LossWeights(
        style=controls[contract.STYLE_WEIGHT.name],
        content=controls[contract.CONTENT_WEIGHT.name],
        total_variation=controls[contract.TOTAL_VARIATION_WEIGHT.name],
    )
