"""Runs of one optimiser that start from files or resume from a state, and that end with a state."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import tensorflow as tf

from styleserve import contract
from styleserve.contract import Limits

from ..checks import check, checked_pixels, checked_sides, checked_work
from ..loss.canvas import Canvas
from ..loss.terms.term import TermWeights
from ..optimisation.lbfgs import HISTORY
from ..optimisation.minimise import Minimiser
from ..state import FINGERPRINT_BYTES, Dimensions, Layout, without_nan
from .run_inputs import choice_index

_STATE_FORMAT: Final = 3
"""Version of the bytes of a state; raised when their meaning changes."""

STATE_DIMENSIONS: Final = ("height", "width", "regions", "targets", "references", "pairs")
"""Named dimensions of the tensors of a state; Adam has no pairs."""


class ResumableRuns:
    """Runs of one optimiser.

    Args:
        minimiser: Loop of the optimiser, with its losses.
        facts: Facts about the model on which the continuation of a run depends, as JSON values.
        canvas: Canvas with a `Spec` in place of each tensor.
        limits: Limits of the model.
        min_side: Shortest side that the network can process, in pixels.
    """

    def __init__(
        self,
        minimiser: Minimiser[Any],
        facts: Mapping[str, Any],
        canvas: Canvas,
        limits: Limits,
        min_side: int,
    ) -> None:
        self._minimiser = minimiser
        self._optimiser = minimiser.optimiser
        losses = [each.loss_name for each in minimiser.objectives]
        self._fingerprints = [_fingerprint(self._optimiser.name, loss, facts) for loss in losses]
        self._limits = limits
        self._min_side = min_side
        self._layout = Layout(STATE_DIMENSIONS, (canvas, self._optimiser.specs))

    def advance(
        self, inputs: Mapping[str, tf.Tensor], start: tuple[Canvas, tf.Tensor], batch: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The state after the steps of a call, string scalar, and their losses, `[steps, columns]` float32.

        Args:
            inputs: Inputs of the example by name, checked except for its state.
            start: Canvas and start image of a new run; ignored if the example has a state.
            batch: Examples of the call, int32 scalar.
        """
        loss, state = choice_index(inputs, contract.LOSS), inputs[contract.STATE.name]
        canvas, run = tf.cond(
            tf.strings.length(state) > 0,
            lambda: self._resumed(state, loss),
            lambda: (start[0], self._optimiser.init(start[1])),
        )
        steps = checked_work(inputs[contract.STEPS.name][None], canvas.content, batch, self._limits)
        factors = {term.name: inputs[term.weight.name][None] for term in contract.TERMS}
        parts = tf.switch_case(loss, [partial(each.balanced, factors) for each in self._minimiser.objectives])
        weights = TermWeights(parts, inputs[contract.STYLE_LAYER_WEIGHTS.name][None])
        learning_rate = inputs[contract.LEARNING_RATE.name][None]
        run, losses = self._minimiser.run(loss, canvas, run, weights, steps=steps, learning_rate=learning_rate)
        state = self._layout.pack(self._fingerprint_of(loss), (canvas, self._optimiser.pack(run)))
        return state, losses[0]

    def _resumed(self, state: tf.Tensor, loss: tf.Tensor) -> tuple[Canvas, Any]:
        """Canvas and optimiser state, after a check that this model returned `state` for this loss and optimiser."""
        state, dimensions = self._layout.opened(state, self._fingerprint_of(loss))
        state = self._checked_dimensions(state, dimensions)
        state = self._layout.checked_length(state, dimensions)
        canvas, tensors = self._layout.unpack(state, dimensions)
        image = without_nan(tensors[0], (canvas, tensors))
        canvas = canvas._replace(content=checked_pixels(canvas.content, "the content in state"))
        return canvas, self._optimiser.unpack((checked_pixels(image, "the image in state"), *tensors[1:]))

    def _fingerprint_of(self, loss: tf.Tensor) -> tf.Tensor:
        return tf.constant(self._fingerprints)[loss]

    def _checked_dimensions(self, state: tf.Tensor, sizes: Dimensions) -> tf.Tensor:
        sides = tf.stack([sizes["height"], sizes["width"]])
        state = checked_sides(state, sides, "the image in state", self._limits, self._min_side)
        regions, references, pairs = sizes["regions"], sizes["references"], sizes["pairs"]
        fits = (regions >= 0) & (regions <= self._limits.max_styles) & (sizes["targets"] == tf.maximum(regions, 1))
        fits &= (references >= 0) & (references <= 1) & (pairs >= 0) & (pairs <= HISTORY)
        counts = tf.stack([sizes[name] for name in STATE_DIMENSIONS[2:]])
        return check(state, fits, f"state is damaged: {', '.join(STATE_DIMENSIONS[2:])}:", counts)


def _fingerprint(optimizer: str, loss: str, facts: Mapping[str, Any]) -> bytes:
    """First bytes of a state, different for each model, loss and optimiser."""
    text = json.dumps({"format": _STATE_FORMAT, "optimizer": optimizer, "loss": loss, **facts}, sort_keys=True)
    return hashlib.sha256(text.encode()).digest()[:FINGERPRINT_BYTES]
