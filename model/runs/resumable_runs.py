"""Runs of one optimiser that start from files or resume from a state, and that end with a state."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, NamedTuple

import tensorflow as tf

from styleserve import contract
from styleserve.contract import Limits

from ..checks import check, checked_pixels, checked_sides, checked_work
from ..loss.canvas import Canvas
from ..loss.terms.term import TermWeights
from ..optimisation.lbfgs import HISTORY
from ..optimisation.minimise import Minimiser
from ..optimisation.quantized import word_count
from ..state import FINGERPRINT_BYTES, Dimensions, Layout, without_nan
from .run_inputs import choice_index

_STATE_FORMAT: Final = 4
"""Version of the bytes of a state; raised when their meaning changes."""

STATE_DIMENSIONS: Final = ("height", "width", "regions", "targets", "references", "pairs", "words")
"""Named dimensions of the tensors of a state; Adam has no pairs and no words."""


class Painted(NamedTuple):
    """Outcome of a call for one example.

    Attributes:
        image: Result, `[1, height, width, 3]` float32 in [0, 1].
        content: Content picture, shaped like the image.
        state: State after the steps, string scalar; empty if it was not asked for.
        losses: `[steps, columns]` float32.
    """

    image: tf.Tensor
    content: tf.Tensor
    state: tf.Tensor
    losses: tf.Tensor


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
        self._has_words = any("words" in spec.dims for spec in self._optimiser.specs)
        self._layout = Layout(STATE_DIMENSIONS, (canvas, self._optimiser.specs))

    def advance(self, inputs: Mapping[str, tf.Tensor], start: tuple[Canvas, tf.Tensor], batch: tf.Tensor) -> Painted:
        """Outcome of the steps of a call.

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
        steps = self._checked_reply_pixels(steps, canvas, batch)
        returns_state = self._checked_state_size(inputs[contract.RETURN_STATE.name] == 1, canvas, batch)
        factors = {term.name: inputs[term.weight.name][None] for term in contract.TERMS}
        parts = tf.switch_case(loss, [partial(each.balanced, factors) for each in self._minimiser.objectives])
        weights = TermWeights(parts, inputs[contract.STYLE_LAYER_WEIGHTS.name][None])
        learning_rate = inputs[contract.LEARNING_RATE.name][None]
        run, losses = self._minimiser.run(loss, canvas, run, weights, steps=steps, learning_rate=learning_rate)
        state = tf.cond(
            returns_state,
            lambda: self._layout.pack(self._fingerprint_of(loss), (canvas, self._optimiser.pack(run))),
            lambda: "",
        )
        return Painted(canvas.painted(self._optimiser.image(run)), canvas.content, state, losses[0])

    def _resumed(self, state: tf.Tensor, loss: tf.Tensor) -> tuple[Canvas, Any]:
        """Canvas and optimiser state, after a check that this model returned `state` for this loss and optimiser."""
        state, dimensions = self._layout.opened(state, self._fingerprint_of(loss))
        state = self._checked_dimensions(state, dimensions)
        state = self._layout.checked_length(state, dimensions)
        canvas, tensors = self._layout.unpack(state, dimensions)
        image = without_nan(tensors[0], (canvas, tensors))
        canvas = canvas._replace(content=checked_pixels(canvas.content, "the content in state"))
        return canvas, self._optimiser.unpack((checked_pixels(image, "the image in state"), *tensors[1:]))

    def _checked_reply_pixels(self, steps: tf.Tensor, canvas: Canvas, batch: tf.Tensor) -> tf.Tensor:
        """`steps`, after a check of the pixels of all examples, whose files stand in one reply."""
        limits, most = self._limits.numbers(), contract.MAX_REPLY_PIXELS
        if limits["max_pixels"] * limits["max_batch"] <= most:
            return steps
        sizes = tf.stack([batch, *tf.unstack(tf.shape(canvas.content)[1:3])])
        rule = f"{contract.CONTENT_BYTES.name} {contract.batch_pixels_rule(most)}"
        return check(steps, tf.reduce_prod(tf.cast(sizes, tf.int64)) <= most, rule, sizes)

    def _checked_state_size(self, returns_state: tf.Tensor, canvas: Canvas, batch: tf.Tensor) -> tf.Tensor:
        """`returns_state`, bool scalar, after a check of the bytes that the states of the call may have."""
        height, width = tf.unstack(tf.shape(canvas.content)[1:3])
        regions, targets, references = (tf.shape(each)[0] for each in (canvas.regions, canvas.styles, canvas.reference))
        most = (height, width, regions, targets, references, HISTORY, word_count(height * width * 3))
        size = self._layout.length(dict(zip(STATE_DIMENSIONS, most, strict=True))) * tf.cast(batch, tf.int64)
        rule = f"{contract.RETURN_STATE.name} {contract.STATE_SIZE_RULE}"
        return check(returns_state, ~returns_state | (size <= contract.MAX_STATE_BYTES), rule, size)

    def _fingerprint_of(self, loss: tf.Tensor) -> tf.Tensor:
        return tf.constant(self._fingerprints)[loss]

    def _checked_dimensions(self, state: tf.Tensor, sizes: Dimensions) -> tf.Tensor:
        sides = tf.stack([sizes["height"], sizes["width"]])
        state = checked_sides(state, sides, "the image in state", self._limits, self._min_side)
        regions, references, pairs = sizes["regions"], sizes["references"], sizes["pairs"]
        fits = (regions >= 0) & (regions <= self._limits.max_styles) & (sizes["targets"] == tf.maximum(regions, 1))
        fits &= (references >= 0) & (references <= 1) & (pairs >= 0) & (pairs <= HISTORY)
        fits &= sizes["words"] == (word_count(tf.reduce_prod(sides) * 3) if self._has_words else 0)
        counts = tf.stack([sizes[name] for name in STATE_DIMENSIONS[2:]])
        return check(state, fits, f"state is damaged: {', '.join(STATE_DIMENSIONS[2:])}:", counts)


def _fingerprint(optimizer: str, loss: str, facts: Mapping[str, Any]) -> bytes:
    """First bytes of a state, different for each model, loss and optimiser."""
    text = json.dumps({"format": _STATE_FORMAT, "optimizer": optimizer, "loss": loss, **facts}, sort_keys=True)
    return hashlib.sha256(text.encode()).digest()[:FINGERPRINT_BYTES]
