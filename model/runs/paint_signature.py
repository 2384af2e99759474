"""The signature `paint`: a whole run, or some steps of it, from files or from a state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import tensorflow as tf

from styleserve import contract
from styleserve.contract import Field, Limits

from ..checks import check, checked_batches, checked_controls, checked_per
from ..loss.canvas import Canvas, canvas_specs
from ..noinline import noinline
from ..optimisation.minimise import Minimiser
from ..state import Spec, map_specs
from .colours import with_colours_of
from .pictures import encode
from .resumable_runs import Painted, ResumableRuns
from .run_inputs import RunInputs, choice_index

_PER_STYLE: Final = (
    contract.STYLE_REGION_BYTES.name,
    contract.CONTENT_REGION_BYTES.name,
    *(control.name for control in contract.CONTROLS if control.per == "style"),
)
"""Inputs with one value for all styles, or one for each."""


class PaintSignature:
    """The signature `paint` of one model.

    Args:
        minimisers: One for each of `contract.OPTIMIZER.choices`, each with the losses of `contract.LOSS.choices`.
        facts: Facts about the model on which the continuation of a run depends, as JSON values.
        style_layers: Style layers of the model.
        limits: Limits of the model.
        min_side: Shortest side that the network can process, in pixels.
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
        self._layers = len(style_layers)
        canvas = canvas_specs(style_layers)
        run_inputs = RunInputs([each.style_moments for each in minimisers[0].objectives], limits, min_side)
        self._new_run = noinline(run_inputs.canvas, [self._example_specs()])
        self._runs = [ResumableRuns(each, facts, canvas, limits, min_side) for each in minimisers]
        self._canvas = canvas
        # A loop body holds a single call: with more, TensorFlow's inlining ties calls to the wrong loop.
        self._one = noinline(self._example, [self._example_specs(), tf.TensorSpec([], tf.int32)])

    def __call__(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Outputs of the signature by name. Examples run one after another, because they may differ in size."""
        checked, batch = self._checked(inputs)
        most = tf.reduce_max(checked[contract.STEPS.name])

        def run(i: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            file, state, losses = self._one(
                {name: tf.gather(checked[name], i) for name in self._example_specs()}, batch
            )
            return file, state, _padded(losses, most)

        text, columns = tf.TensorSpec([], tf.string), len(contract.LOSS_COLUMNS)
        spec = (text, text, tf.TensorSpec([None, columns], tf.float32))
        # One iteration at a time, which bounds the memory to that of one example.
        outputs = tf.map_fn(run, tf.range(batch), fn_output_signature=spec, parallel_iterations=1)
        return {
            field.name: output
            for field, output in zip((contract.IMAGE_BYTES, contract.STATE, contract.LOSSES), outputs, strict=True)
        }

    def _checked(self, inputs: Mapping[str, tf.Tensor]) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """All inputs as `[batch]`, `[batch, styles]` or `[batch, layers]`, after every check but those of files."""
        fields = (*contract.FILES, contract.STATE, contract.RETURN_STATE, contract.CONTRACT_VERSION_INPUT)
        checked, batch = checked_batches(inputs, fields, self._limits)
        version = checked.pop(contract.CONTRACT_VERSION_INPUT.name)

        def require(field: Field, condition: tf.Tensor, message: str, data: tf.Tensor) -> None:
            checked[field.name] = check(checked[field.name], condition, message, data)

        right = tf.reduce_all(version == contract.CONTRACT_VERSION)
        rule = f"{contract.CONTRACT_VERSION_INPUT.name} {contract.CONTRACT_VERSION_RULE}"
        require(contract.STATE, right, rule, version)
        flag = checked[contract.RETURN_STATE.name]
        rule = f"{contract.RETURN_STATE.name} {contract.RETURN_STATE_RULE}"
        require(contract.RETURN_STATE, tf.reduce_all((flag == 0) | (flag == 1)), rule, flag)
        checked |= checked_controls(inputs, contract.SIGNATURES[contract.PAINT].inputs, self._limits, batch)
        styles = tf.shape(checked[contract.STYLE_BYTES.name])[1]
        most = self._limits.max_styles
        rule = f"{contract.STYLE_BYTES.name} {contract.styles_rule(most)}"
        require(contract.STYLE_BYTES, (styles >= 1) & (styles <= most), rule, styles)
        for name in _PER_STYLE:
            checked[name] = checked_per(checked[name], name, "style", styles)
        layers = contract.STYLE_LAYER_WEIGHTS.name
        checked[layers] = checked_per(checked[layers], layers, "style layer", tf.constant(self._layers))
        blend = checked[contract.STYLE_BLEND.name]
        total = tf.reduce_sum(blend, axis=1, keepdims=True)
        blend = check(blend, tf.reduce_all(total > 0.0), f"{contract.STYLE_BLEND.name} {contract.BLEND_RULE}", blend)
        checked[contract.STYLE_BLEND.name] = blend / total
        return checked, batch

    def _example(self, inputs: Mapping[str, tf.Tensor], batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """File, state and losses of an example after the steps of the call: two string scalars, `[steps, columns]`."""
        inputs = self._checked_files(inputs)
        resumed = tf.strings.length(inputs[contract.STATE.name]) > 0
        start = tf.cond(resumed, self._no_start, lambda: self._new_run(inputs))
        advance = [partial(each.advance, inputs, start, batch) for each in self._runs]
        painted = Painted(*tf.switch_case(choice_index(inputs, contract.OPTIMIZER), advance))
        image, content = painted.image[0], painted.content[0]
        keeps_colours = inputs[contract.COLORS.name] == "content"
        image = tf.cond(keeps_colours, lambda: with_colours_of(image, content), lambda: image)
        return encode(image, inputs[contract.IMAGE_FORMAT.name]), painted.state, painted.losses

    def _checked_files(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Inputs of an example, after a check that it has either a state or pictures."""
        state = inputs[contract.STATE.name]
        pictures = tf.stack([tf.reduce_any(tf.strings.length(inputs[field.name]) > 0) for field in contract.FILES])
        required = tf.gather(pictures, [0, 1])  # content and styles
        state = check(
            state,
            tf.where(tf.strings.length(state) > 0, ~tf.reduce_any(pictures), tf.reduce_all(required)),
            "give either state, or content_bytes and style_bytes; got state, content_bytes, style_bytes:",
            tf.stack([tf.strings.length(state) > 0, pictures[0], pictures[1]]),
        )
        return {**inputs, contract.STATE.name: state}

    def _no_start(self) -> tuple[Canvas, tf.Tensor]:
        """Canvas and start image without pixels, for an example whose state has them."""

        def empty(spec: Spec) -> tf.Tensor:
            return tf.zeros([size if isinstance(size, int) else 0 for size in spec.dims], spec.dtype)

        return map_specs(empty, self._canvas), tf.zeros([1, 0, 0, 3])

    def _example_specs(self) -> dict[str, tf.TensorSpec]:
        """A `tf.TensorSpec` of each input of an example, by name."""
        fields = contract.SIGNATURES[contract.PAINT].inputs
        specs = {field.name: tf.TensorSpec(field.shape[1:], field.dtype) for field in fields}
        del specs[contract.CONTRACT_VERSION_INPUT.name]
        specs[contract.STYLE_LAYER_WEIGHTS.name] = tf.TensorSpec([self._layers], tf.float32)
        return specs


def _padded(losses: tf.Tensor, most: tf.Tensor) -> tf.Tensor:
    """Losses, `[steps, columns]` float32, with NaN after the last step, `[most, columns]`."""
    return tf.pad(losses, [[0, most - tf.shape(losses)[0]], [0, 0]], constant_values=float("nan"))
