"""The signature `paint`: a run, or some steps of it, from files or from a state."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import tensorflow as tf

from styleserve import contract
from styleserve.contract import Limits

from .canvas import Canvas, canvas_specs
from .checks import check, checked_batches, checked_controls, checked_per, checked_pixels, checked_sides, checked_work
from .colours import with_colours_of
from .interruptible import uninlined
from .lbfgs import HISTORY
from .minimise import Minimiser
from .pictures import encode
from .run_inputs import RunInputs, chosen
from .state import (
    FINGERPRINT_BYTES,
    Dimensions,
    Layout,
    Spec,
    map_specs,
    without_nan,
)
from .terms.term import TermWeights

_STATE_FORMAT: Final = 3
"""Raised when the bytes of a state change their meaning."""

_DIMENSIONS: Final = ("height", "width", "regions", "targets", "references", "pairs")
"""Named dimensions of the tensors of a state; Adam has no pairs."""

_PER_STYLE: Final = (contract.STYLE_REGION_BYTES, contract.CONTENT_REGION_BYTES)


class Painter:
    """The signature `paint` of one model.

    Args:
        minimisers: One for each of `contract.OPTIMIZER.choices`, each with the losses of `contract.LOSS.choices`.
        facts: Facts about the model that decide how a run continues, as JSON takes them.
        style_layers: Style layers of the model.
        limits: Limits of the model.
        min_side: Fewest pixels the network can work on.
    """

    def __init__(
        self,
        minimisers: Sequence[Minimiser[Any]],
        facts: Mapping[str, Any],
        style_layers: tuple[str, ...],
        limits: Limits,
        min_side: int,
    ) -> None:
        self._limits = limits
        self._min_side = min_side
        self._layers = len(style_layers)
        canvas = canvas_specs(style_layers)
        inputs = RunInputs([each.style_moments for each in minimisers[0].objectives], limits, min_side)
        self._begin = uninlined(inputs.canvas, [self._example_specs()])
        self._runs = [_Runs(each, facts, canvas, limits, min_side) for each in minimisers]
        self._canvas = canvas
        # Canvas and image are the first tensors of every state.
        self._drawn = Layout(_DIMENSIONS, (canvas, minimisers[0].optimiser.specs[:1]))
        self._draw = uninlined(self._file, [tf.TensorSpec([], tf.string)] * 3)

    def __call__(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The outputs of the signature. Examples are worked on one after another: they may differ in size."""
        given, batch = self._checked(inputs)
        most = tf.reduce_max(given[contract.STEPS.name])

        def one(i: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            state, losses = self._example({name: tf.gather(given[name], i) for name in self._example_specs()}, batch)
            return state, _padded(losses, most)

        spec = (tf.TensorSpec([], tf.string), tf.TensorSpec([None, len(contract.LOSS_COLUMNS)], tf.float32))
        # One at a time, which bounds memory to one example's.
        states, losses = tf.map_fn(one, tf.range(batch), fn_output_signature=spec, parallel_iterations=1)
        formats = [given[control.name] for control in (contract.COLORS, contract.IMAGE_FORMAT)]

        def draw(own: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
            return self._draw(*own)

        return {
            # By itself, so that it costs nothing where it is not fetched.
            contract.IMAGE_BYTES.name: tf.map_fn(
                draw,
                (states, *formats),
                fn_output_signature=tf.TensorSpec([], tf.string),
                parallel_iterations=1,
            ),
            contract.LOSSES.name: losses,
            # Megabytes that most callers do not want, and that REST cannot leave out or encode.
            contract.STATE.name: tf.where(given[contract.RETURN_STATE.name] == 1, states, ""),
        }

    def _checked(self, inputs: Mapping[str, tf.Tensor]) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """All inputs as `[batch]`, `[batch, styles]` or `[batch, layers]`, after every check but those of files."""
        fields = (*contract.FILES, contract.STATE, contract.RETURN_STATE, contract.CONTRACT_VERSION_INPUT)
        own, batch = checked_batches(inputs, fields, self._limits)
        version = own.pop(contract.CONTRACT_VERSION_INPUT.name)
        state = contract.STATE.name
        right = tf.reduce_all(version == contract.CONTRACT_VERSION)
        rule = f"{contract.CONTRACT_VERSION_INPUT.name} {contract.CONTRACT_VERSION_RULE}"
        own[state] = check(own[state], right, rule, version)
        wanted = own[contract.RETURN_STATE.name]
        rule = f"{contract.RETURN_STATE.name} {contract.RETURN_STATE_RULE}"
        own[contract.RETURN_STATE.name] = check(wanted, tf.reduce_all((wanted == 0) | (wanted == 1)), rule, wanted)
        own |= checked_controls(inputs, contract.SIGNATURES[contract.PAINT].inputs, self._limits, batch)
        styles = tf.shape(own[contract.STYLE_BYTES.name])[1]
        most = self._limits.max_styles
        rule = f"{contract.STYLE_BYTES.name} {contract.styles_rule(most)}"
        own[contract.STYLE_BYTES.name] = check(
            own[contract.STYLE_BYTES.name], (styles >= 1) & (styles <= most), rule, styles
        )
        for name in (
            *(field.name for field in _PER_STYLE),
            *(each.name for each in contract.CONTROLS if each.per == "style"),
        ):
            own[name] = checked_per(own[name], name, "style", styles)
        layers = contract.STYLE_LAYER_WEIGHTS.name
        own[layers] = checked_per(own[layers], layers, "style layer", tf.constant(self._layers))
        blend = own[contract.STYLE_BLEND.name]
        total = tf.reduce_sum(blend, axis=1, keepdims=True)
        blend = check(blend, tf.reduce_all(total > 0.0), f"{contract.STYLE_BLEND.name} {contract.BLEND_RULE}", blend)
        own[contract.STYLE_BLEND.name] = blend / total
        return own, batch

    def _example(self, own: Mapping[str, tf.Tensor], batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """State and losses of an example after the steps of the call."""
        own = self._checked_files(own)
        resumed = tf.strings.length(own[contract.STATE.name]) > 0
        begun = tf.cond(resumed, self._nothing, lambda: self._begin(own))
        advance = [partial(each.advance, own, begun, batch) for each in self._runs]
        return tf.switch_case(chosen(own, contract.OPTIMIZER), advance)

    def _checked_files(self, own: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Inputs of an example that has either a state or pictures."""
        state = own[contract.STATE.name]
        pictures = tf.stack([tf.reduce_any(tf.strings.length(own[field.name]) > 0) for field in contract.FILES])
        required = tf.gather(pictures, [0, 1])  # content and styles
        state = check(
            state,
            tf.where(tf.strings.length(state) > 0, ~tf.reduce_any(pictures), tf.reduce_all(required)),
            "give either state, or content_bytes and style_bytes; got state, content_bytes, style_bytes:",
            tf.stack([tf.strings.length(state) > 0, pictures[0], pictures[1]]),
        )
        return {**own, contract.STATE.name: state}

    def _nothing(self) -> tuple[Canvas, tf.Tensor]:
        """A canvas and a start of no pixels, where a state has them."""

        def empty(spec: Spec) -> tf.Tensor:
            return tf.zeros([size if isinstance(size, int) else 0 for size in spec.dims], spec.dtype)

        return map_specs(empty, self._canvas), tf.zeros([1, 0, 0, 3])

    def _example_specs(self) -> dict[str, tf.TensorSpec]:
        """Inputs of an example."""
        fields = contract.SIGNATURES[contract.PAINT].inputs
        specs = {field.name: tf.TensorSpec(field.shape[1:], field.dtype) for field in fields}
        for field in (contract.RETURN_STATE, contract.CONTRACT_VERSION_INPUT):
            del specs[field.name]
        specs[contract.STYLE_LAYER_WEIGHTS.name] = tf.TensorSpec([self._layers], tf.float32)
        return specs

    def _file(self, state: tf.Tensor, colors: tf.Tensor, image_format: tf.Tensor) -> tf.Tensor:
        """The file of a state of this call, a string scalar."""
        canvas, (image,) = self._drawn.unpack(state, self._drawn.dimensions(state))
        image, content = canvas.painted(image)[0], canvas.content[0]
        image = tf.cond(colors == "content", lambda: with_colours_of(image, content), lambda: image)
        return encode(image, image_format)


class _Runs:
    """Runs of one optimiser, from files or a state to a state.

    Args:
        minimiser: The optimiser, with its losses.
        facts: See `Painter`.
        canvas: Tree of `Spec` of the canvas.
        limits: Limits of the model.
        min_side: Fewest pixels the network can work on.
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
        names = [each.loss_name for each in minimiser.objectives]
        self._fingerprints = [_fingerprint(self._optimiser.name, name, facts) for name in names]
        self._limits = limits
        self._min_side = min_side
        self._layout = Layout(_DIMENSIONS, (canvas, self._optimiser.specs))

    def advance(
        self, own: Mapping[str, tf.Tensor], begun: tuple[Canvas, tf.Tensor], batch: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The state after the steps of a call, and their losses, `[steps, columns]`.

        Args:
            own: Inputs of the example, checked but for its state.
            begun: Canvas and start, where it has no state.
            batch: Examples of the call.
        """
        loss, state = chosen(own, contract.LOSS), own[contract.STATE.name]
        canvas, run = tf.cond(
            tf.strings.length(state) > 0,
            lambda: self._resumed(state, loss),
            lambda: (begun[0], self._optimiser.init(begun[1])),
        )
        steps = checked_work(own[contract.STEPS.name][None], canvas.content, batch, self._limits)
        factors = {term.name: own[term.weight.name][None] for term in contract.TERMS}
        parts = tf.switch_case(loss, [partial(each.balanced, factors) for each in self._minimiser.objectives])
        weights = TermWeights(parts, own[contract.STYLE_LAYER_WEIGHTS.name][None])
        rate = own[contract.LEARNING_RATE.name][None]
        run, losses = self._minimiser.run(loss, canvas, run, weights, steps=steps, learning_rate=rate)
        state = self._layout.pack(self._fingerprint_of(loss), (canvas, self._optimiser.pack(run)))
        return state, losses[0]

    def _resumed(self, state: tf.Tensor, loss: tf.Tensor) -> tuple[Canvas, Any]:
        """Canvas and run of a state; refused unless this model returned it for the same loss and optimiser."""
        state, dimensions = self._layout.opened(state, self._fingerprint_of(loss))
        state = self._checked_dimensions(state, dimensions)
        state = self._layout.checked_length(state, dimensions)
        canvas, tensors = self._layout.unpack(state, dimensions)
        image = without_nan(tensors[0], (canvas, tensors))
        canvas = canvas._replace(content=checked_pixels(canvas.content, "the content in state"))
        return canvas, self._optimiser.unpack((checked_pixels(image, "the image in state"), *tensors[1:]))

    def _fingerprint_of(self, loss: tf.Tensor) -> tf.Tensor:
        return tf.constant(self._fingerprints)[loss]

    def _checked_dimensions(self, state: tf.Tensor, own: Dimensions) -> tf.Tensor:
        sides = tf.stack([own["height"], own["width"]])
        state = checked_sides(state, sides, "the image in state", self._limits, self._min_side)
        regions = own["regions"]
        fits = (regions >= 0) & (regions <= self._limits.max_styles) & (own["targets"] == tf.maximum(regions, 1))
        fits &= (own["references"] >= 0) & (own["references"] <= 1) & (own["pairs"] >= 0) & (own["pairs"] <= HISTORY)
        counts = tf.stack([own[name] for name in _DIMENSIONS[2:]])
        return check(state, fits, f"state is damaged: {', '.join(_DIMENSIONS[2:])}:", counts)


def _fingerprint(optimizer: str, loss: str, facts: Mapping[str, Any]) -> bytes:
    """Bytes that only states of one model, loss and optimiser begin with."""
    own = {"format": _STATE_FORMAT, "optimizer": optimizer, "loss": loss}
    text = json.dumps({**own, **facts}, sort_keys=True)
    return hashlib.sha256(text.encode()).digest()[:FINGERPRINT_BYTES]


def _padded(losses: tf.Tensor, most: tf.Tensor) -> tf.Tensor:
    """Losses `[steps, columns]` with NaN behind them, `[most, columns]`."""
    return tf.pad(losses, [[0, most - tf.shape(losses)[0]], [0, 0]], constant_values=float("nan"))
