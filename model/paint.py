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
from .checks import check, checked_batch, checked_control, checked_per, checked_pixels, checked_sides, checked_work
from .colours import with_colours_of
from .interruptible import uninlined
from .lbfgs import HISTORY
from .minimise import Minimiser
from .pictures import encode
from .run_inputs import RunInputs
from .state import (
    FINGERPRINT_BYTES,
    Dimensions,
    checked_length,
    dimensions_of,
    pack,
    read_dimensions,
    unpack,
    without_nan,
)
from .terms.term import TermWeights

_STATE_FORMAT: Final = 3
"""Raised when the bytes of a state change their meaning."""

_DIMENSIONS: Final = ("height", "width", "regions", "targets", "references", "pairs")
"""Named dimensions of the tensors of a state; Adam has no pairs."""

_PER_STYLE: Final = (contract.STYLE_REGION_BYTES, contract.CONTENT_REGION_BYTES)
_LATER: Final = (
    *(term.weight for term in contract.TERMS),
    contract.STYLE_LAYER_WEIGHTS,
    contract.STEPS,
    contract.LEARNING_RATE,
)
"""Controls that each call reads; the others count when a run begins, or for the picture."""


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
        self._canvas = canvas_specs(style_layers)
        self._inputs = RunInputs([each.style_moments for each in minimisers[0].objectives], limits, min_side)
        self._optimisers = [_Chunks(each, facts, self._canvas, limits, min_side) for each in minimisers]
        state, number = tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.int32)
        later = {control.name: tf.TensorSpec([1] * len(control.shape), control.dtype) for control in _LATER}
        later[contract.STYLE_LAYER_WEIGHTS.name] = tf.TensorSpec([1, self._layers], tf.float32)
        self._begin = uninlined(self._begun, [self._own_specs()])
        self._draw = uninlined(self._file, [state] * 3)
        self._advance = [uninlined(each.advance, [state, number, later, number]) for each in self._optimisers]

    def __call__(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The outputs of the signature. Examples are worked on one after another: they may differ in size."""
        given, batch = self._checked(inputs)
        most = tf.reduce_max(given[contract.STEPS.name])

        def one(i: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            own = {name: tensor[i] for name, tensor in given.items()}
            loss, optimizer = _chosen(own, contract.LOSS), _chosen(own, contract.OPTIMIZER)
            state = self._begun_or_resumed(own)
            later = {control.name: own[control.name][None] for control in _LATER}
            state, losses = tf.switch_case(
                optimizer, [partial(each, state, loss, later, batch) for each in self._advance]
            )
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
        own = {field.name: checked_batch(inputs[field.name], field, self._limits) for field in fields}
        sizes = tf.stack([tf.shape(tensor)[0] for tensor in own.values()])
        batch = tf.reduce_max(sizes)
        message = f"{', '.join(own)} must have batch size 1 or that of the others; got"
        agreed = tf.reduce_all((sizes == 1) | (sizes == batch))
        own = {
            name: tf.broadcast_to(check(tensor, agreed, message, sizes), tf.concat([[batch], tf.shape(tensor)[1:]], 0))
            for name, tensor in own.items()
        }
        version = own.pop(contract.CONTRACT_VERSION_INPUT.name)
        state = contract.STATE.name
        right = tf.reduce_all(version == contract.CONTRACT_VERSION)
        rule = f"{contract.CONTRACT_VERSION_INPUT.name} {contract.CONTRACT_VERSION_RULE}"
        own[state] = check(own[state], right, rule, version)
        wanted = own[contract.RETURN_STATE.name]
        rule = f"{contract.RETURN_STATE.name} {contract.RETURN_STATE_RULE}"
        own[contract.RETURN_STATE.name] = check(wanted, tf.reduce_all((wanted == 0) | (wanted == 1)), rule, wanted)
        for control in contract.CONTROLS:
            field = next(each for each in contract.SIGNATURES[contract.PAINT].inputs if each.control is control)
            own[control.name] = checked_control(inputs[control.name], field, control, self._limits, batch)
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

    def _begun_or_resumed(self, own: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The state of the example before the steps of this call."""
        state = own[contract.STATE.name]
        pictures = tf.stack([tf.reduce_any(tf.strings.length(own[field.name]) > 0) for field in contract.FILES])
        required = tf.gather(pictures, [0, 1])  # content and styles
        state = check(
            state,
            tf.where(tf.strings.length(state) > 0, ~tf.reduce_any(pictures), tf.reduce_all(required)),
            "give either state, or content_bytes and style_bytes; got state, content_bytes, style_bytes:",
            tf.stack([tf.strings.length(state) > 0, pictures[0], pictures[1]]),
        )

        # Asked of the checked state: nothing begins before the check was made.
        return tf.cond(
            tf.strings.length(state) > 0,
            lambda: tf.identity(state),
            lambda: self._begin({name: own[name] for name in self._own_specs()}),
        )

    def _begun(self, own: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The state of a run before its first step."""
        canvas, start = self._inputs.canvas(own)
        loss = _chosen(own, contract.LOSS)
        begin = [partial(each.begin, canvas, start, loss) for each in self._optimisers]
        return tf.switch_case(_chosen(own, contract.OPTIMIZER), begin)

    def _own_specs(self) -> dict[str, tf.TensorSpec]:
        """Inputs of an example."""
        return {
            field.name: tf.TensorSpec(field.shape[1:], field.dtype)
            for field in contract.SIGNATURES[contract.PAINT].inputs
            if field not in (contract.RETURN_STATE, contract.CONTRACT_VERSION_INPUT)
        }

    def _file(self, state: tf.Tensor, colors: tf.Tensor, image_format: tf.Tensor) -> tf.Tensor:
        """The file of a state of this call, a string scalar."""
        # Canvas and image are the first tensors of every state.
        specs = self._canvas, self._optimisers[0].specs[:1]
        canvas, (image,) = unpack(state, _DIMENSIONS, read_dimensions(state, _DIMENSIONS), specs)
        image, content = canvas.painted(image)[0], canvas.content[0]
        image = tf.cond(colors == "content", lambda: with_colours_of(image, content), lambda: image)
        return encode(image, image_format)


class _Chunks:
    """Runs of one optimiser, from state to state.

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
        self._canvas = canvas
        self._limits = limits
        self._min_side = min_side
        self.specs = self._optimiser.specs

    def begin(self, canvas: Canvas, start: tf.Tensor, loss: tf.Tensor) -> tf.Tensor:
        """The state of a run before its first step, a string scalar; `loss` is a number of `contract.LOSS.choices`."""
        return self._pack(canvas, self._optimiser.init(start), loss)

    def advance(
        self, state: tf.Tensor, loss: tf.Tensor, later: Mapping[str, tf.Tensor], batch: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The state after some more steps, and their losses `[steps, columns]`.

        Args:
            state: String scalar; refused unless this model returned it for the same loss and optimiser.
            loss: Number of `contract.LOSS.choices`.
            later: Controls that each call reads, `[1]` or `[1, layers]`.
            batch: Examples of the call.
        """
        state, dimensions = dimensions_of(state, self._fingerprint_of(loss), _DIMENSIONS)
        state = self._checked_dimensions(state, dimensions)
        specs = self._canvas, self.specs
        state = checked_length(state, _DIMENSIONS, dimensions, specs)
        canvas, tensors = unpack(state, _DIMENSIONS, dimensions, specs)
        state = without_nan(state, (canvas, tensors))
        canvas = canvas._replace(content=checked_pixels(canvas.content, "the content in state"))
        run = self._optimiser.unpack((checked_pixels(tensors[0], "the image in state"), *tensors[1:]))
        steps = checked_work(later[contract.STEPS.name], canvas.content, batch, self._limits)
        layers, rate = later[contract.STYLE_LAYER_WEIGHTS.name], later[contract.LEARNING_RATE.name]

        factors = {own.name: later[own.weight.name] for own in contract.TERMS}
        parts = tf.switch_case(loss, [partial(each.balanced, factors) for each in self._minimiser.objectives])
        weights = TermWeights(parts, layers)
        run, losses = self._minimiser.run(loss, canvas, run, weights, steps=steps, learning_rate=rate)
        return self._pack(canvas, run, loss), losses[0]

    def _pack(self, canvas: Canvas, run: Any, loss: tf.Tensor) -> tf.Tensor:  # noqa: ANN401 - of any optimiser
        tree = canvas, self._optimiser.pack(run)
        return pack(self._fingerprint_of(loss), _DIMENSIONS, tree, (self._canvas, self.specs))

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


def _chosen(own: Mapping[str, tf.Tensor], control: contract.Control) -> tf.Tensor:
    """Number of the choice of an example, int32 scalar."""
    return tf.argmax(own[control.name] == tf.constant(control.choices), output_type=tf.int32)


def _padded(losses: tf.Tensor, most: tf.Tensor) -> tf.Tensor:
    """Losses `[steps, columns]` with NaN behind them, `[most, columns]`."""
    return tf.pad(losses, [[0, most - tf.shape(losses)[0]], [0, 0]], constant_values=float("nan"))
