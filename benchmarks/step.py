"""Seconds a step: our loop, the tutorial's, PyTorch's and the convolutions alone, in turn, in one process."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Final

import tensorflow as tf

from styleserve import contract
from styleserve.model import ModelSettings, Precision, StyleTransfer, Weights, random_weights

from . import pytorch
from .bench import Bench
from .ceiling import convolutions
from .results import Row, Table
from .settings import StepSettings
from .timing import in_turn, median_ratio, seconds, seconds_a_step
from .tutorial import Tutorial

TUTORIAL: Final = "tutorial, Keras float32"
SIGNATURES: Final = (contract.SERVING_DEFAULT, contract.STYLIZE_LBFGS)
STYLE_SIDE: Final = 64

_NOTES: Final = (
    "convolutions alone: forward and gradient by input of every layer, eagerly, in the precision of the row",
    "wanted: no more than 1.15 times the convolutions alone",
    "seconds: medians of the rounds; ratios: medians of each round's",
    "ours: a call with the steps minus a call without, both with the targets; serving_default is Adam",
)


def measure(settings: StepSettings, bench: Bench) -> list[Table]:
    """One table, a row for each loop at each side."""
    weights, choice = random_weights(0), bench.precision_for(settings.precision)
    # Always float32 as well, the precision of the tutorial.
    precisions: tuple[Precision, ...] = ("float32",) if choice.precision == "float32" else ("float32", "bfloat16")
    notes: list[str] = [*_NOTES]
    if choice.precision == "float32" and settings.precision == "auto":
        notes.append(f"without bfloat16: {choice.reason}")
    rows = [row for side in settings.sides for row in _side(side, weights, precisions, settings, bench)]
    return [Table("Seconds a step", rows, notes)]


def _side(
    side: int, weights: Weights, precisions: tuple[Precision, ...], settings: StepSettings, bench: Bench
) -> list[Row]:
    bench.say(f"step: {side} px")
    content = tf.random.stateless_uniform([1, side, side, 3], seed=[0, 1])
    # The size of the style image has no effect on a step, only on the targets, which each call computes.
    style = tf.random.stateless_uniform([1, STYLE_SIDE, STYLE_SIDE, 3], seed=[0, 2])
    layers = (*settings.style_layers, settings.content_layer)
    contestants: dict[str, Callable[[], float]] = {TUTORIAL: _tutorial(weights, content, style, settings)}
    for precision in precisions:
        model = _model(weights, settings, precision)
        for signature in SIGNATURES:
            contestants[_ours(signature, precision)] = _our_loop(model, signature, content, style, settings.steps)
        contestants[_alone(precision)] = convolutions(side, layers, precision)
        if pytorch.available():
            contestants[_pytorch(precision)] = _pytorch_loop(weights, content, style, settings, precision)
    for contestant in contestants.values():
        contestant()  # traces, and prepares kernels
    found = in_turn(contestants, settings.rounds)
    rows: list[Row] = [_row(side, TUTORIAL, found, "float32")]
    for name in (*(partial(_ours, signature) for signature in SIGNATURES), _pytorch):
        rows += [_row(side, name(precision), found, precision) for precision in precisions]
    return rows


def _row(side: int, loop: str, found: dict[str, list[float]], precision: Precision) -> Row:
    own, alone = found.get(loop), found[_alone(precision)]
    return {
        "side px": side,
        "loop": loop if own is not None else f"{loop}: not installed",
        "s a step": statistics.median(own) if own else None,
        "times as fast as the tutorial": median_ratio(found[TUTORIAL], own) if own else None,
        "convolutions alone s": statistics.median(alone),
        "step / convolutions alone": median_ratio(own, alone) if own else None,
    }


def _ours(signature: str, precision: Precision) -> str:
    return f"ours, {signature}, {precision}"


def _alone(precision: Precision) -> str:
    return f"convolutions, {precision}"


def _pytorch(precision: Precision) -> str:
    return f"PyTorch, {precision}" + (" channels-last" if precision == "bfloat16" else "")


def _tutorial(weights: Weights, content: tf.Tensor, style: tf.Tensor, settings: StepSettings) -> Callable[[], float]:
    tutorial = Tutorial(
        weights, content, style, style_layers=settings.style_layers, content_layer=settings.content_layer
    )
    return lambda: seconds(partial(tutorial.steps, settings.steps)) / settings.steps


def _model(weights: Weights, settings: StepSettings, precision: Precision) -> StyleTransfer:
    return StyleTransfer(
        weights,
        ModelSettings(
            style_layers=settings.style_layers,
            content_layer=settings.content_layer,
            painter_content_layer=settings.content_layer,
            precision=precision,
            limits=contract.Limits(max_side=8192),
        ),
    )


def _our_loop(
    model: StyleTransfer, signature: str, content: tf.Tensor, style: tf.Tensor, steps: int
) -> Callable[[], float]:
    function = model.functions[signature]

    def call(count: int) -> None:
        function(content, style, steps=[count])[contract.STYLIZED_IMAGE.name].numpy()

    return lambda: seconds_a_step(call, steps)


def _pytorch_loop(
    weights: Weights, content: tf.Tensor, style: tf.Tensor, settings: StepSettings, precision: Precision
) -> Callable[[], float]:
    loop = pytorch.PyTorch(
        weights,
        content.numpy(),
        style.numpy(),
        style_layers=settings.style_layers,
        content_layer=settings.content_layer,
        precision=precision,
    )
    return lambda: seconds(partial(loop.steps, settings.steps)) / settings.steps
