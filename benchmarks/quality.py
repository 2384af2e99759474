"""Time to quality: seconds until the loss of the tutorial's last step is reached.

Weights, images, losses and run are the same. Both loops are traced before the clock starts. The losses of both results
are computed in float32, because those of a bfloat16 model differ from the tutorial's.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from styleserve import contract
from styleserve.client import Picture, load_picture
from styleserve.model import ModelSettings, Precision, StyleTransfer, Weights, file_weights, random_weights
from styleserve.model.loss.canvas import plain_canvas
from styleserve.model.loss.terms.term import TermWeights

from .bench import Bench
from .curves import draw_curves
from .results import Curve, Row, Table
from .settings import QualitySettings
from .timing import seconds
from .tutorial import STYLE_WEIGHT, TOTAL_VARIATION_WEIGHT, Tutorial

Image = NDArray[np.float32]

FIRST_STEPS: Final = 50
CURVE_POINTS: Final = 200

_NOTES: Final = (
    "loss: of the resulting image, in float32; seconds leave tracing out",
    "steps: evaluations of the network; ours is the smallest number whose loss is at most the tutorial's last",
)


class Task(NamedTuple):
    """Weights, images and settings of both loops.

    Attributes:
        weights: Weights of VGG-19.
        content: `[1, height, width, 3]` float32 in [0, 1].
        style: `[1, height, width, 3]` float32 in [0, 1].
        settings: Settings of the part.
    """

    weights: Weights
    content: Image
    style: Image
    settings: QualitySettings

    def model(self, precision: Precision) -> StyleTransfer:
        """Our model, with the losses of the tutorial."""
        return StyleTransfer(
            self.weights,
            ModelSettings(
                style_layers=self.settings.style_layers,
                content_layer=self.settings.content_layer,
                painter_content_layer=self.settings.content_layer,
                loss_scale="tutorial",
                precision=precision,
                limits=contract.Limits(max_side=4096, max_steps=100_000),
            ),
        )


class _Trial(NamedTuple):
    """A run of our loop.

    Attributes:
        seconds: Wall time.
        loss: Loss of its image, computed in float32.
        image: `[1, height, width, 3]` float32 in [0, 1].
        losses: Losses that the run reported.
    """

    seconds: float
    loss: float
    image: Image
    losses: list[float]


class Outcome(NamedTuple):
    """Result of a loop.

    Attributes:
        steps: Steps of the run.
        seconds: Wall time.
        loss: Loss of its image, computed in float32; may be over the tutorial's.
        image: `[1, height, width, 3]` float32 in [0, 1].
        curve: Losses that the run reported, over its seconds.
    """

    steps: int
    seconds: float
    loss: float
    image: Image
    curve: Curve


def measure(settings: QualitySettings, bench: Bench) -> list[Table]:
    """One table, a row for each loop at each side, with their curves."""
    weights = file_weights(settings.weights) if settings.weights else random_weights(0)
    pictures = (load_picture(settings.content), load_picture(settings.style))
    precision = bench.precision_for(settings.precision)
    rows: list[Row] = []
    curves: dict[str, Curve] = {}
    for side in settings.sides:
        content, style = (picture.pixels(picture.size_within(side)) for picture in pictures)
        task = Task(weights, content, style, settings)
        outcomes = _side(task, side, precision.precision, bench)
        rows += _rows(side, outcomes)
        own = {name: outcome.curve for name, outcome in outcomes.items()}
        curves.update({f"{name}, {side} px": curve for name, curve in own.items()})
        if settings.images is not None:
            _save(settings.images, side, outcomes)
        if settings.picture is not None:
            draw_curves(own, next(iter(outcomes.values())).loss).save(settings.picture)
    notes = (*_NOTES, f"weights: {weights.source}; precision of ours: {precision.precision} ({precision.reason})")
    return [Table(f"Time to the tutorial's loss after {settings.steps} steps", rows, notes, curves)]


def _rows(side: int, outcomes: dict[str, Outcome]) -> list[Row]:
    tutorial = next(iter(outcomes.values()))
    return [
        {
            "side px": side,
            "loop": name if outcome.loss <= tutorial.loss else f"{name}: not reached",
            "steps": outcome.steps,
            "s": outcome.seconds,
            "loss": outcome.loss,
            "loss / tutorial's": outcome.loss / tutorial.loss,
            "times as fast as the tutorial": tutorial.seconds / outcome.seconds
            if outcome.loss <= tutorial.loss
            else None,
        }
        for name, outcome in outcomes.items()
    ]


def _side(task: Task, side: int, precision: Precision, bench: Bench) -> dict[str, Outcome]:
    judge = _judge(task)
    bench.say(f"quality: {side} px, the tutorial")
    tutorial = _tutorial(task, judge)
    outcomes = {"tutorial, Keras float32": tutorial}
    signatures = [contract.STYLIZE_LBFGS]
    if task.settings.adam:
        signatures.append(contract.SERVING_DEFAULT)
    for signature in signatures:
        bench.say(f"quality: {side} px, {signature}")
        outcomes[f"ours, {signature}, {precision}"] = _ours(task, signature, precision, judge, tutorial.loss, bench)
    return outcomes


def _judge(task: Task) -> Callable[[Image], float]:
    """Function from an image to its total loss, computed in float32."""
    objective = task.model("float32").objectives["tutorial"]
    targets = objective.targets(
        plain_canvas(tf.constant(task.content), objective.style_moments(tf.constant(task.style)))
    )
    factors = _weights(task.settings)
    parts = {term.name: tf.constant([factors.get(term.weight.name, 0.0)]) for term in contract.TERMS}
    weights = TermWeights(parts, tf.ones([1, len(task.settings.style_layers)]))

    def loss(image: Image) -> float:
        return float(objective.losses(tf.constant(image), targets, weights)[0, 0])

    return loss


def _weights(settings: QualitySettings) -> dict[str, float]:
    """The tutorial's factors, by the names of the contract."""
    return {
        contract.STYLE_WEIGHT.name: STYLE_WEIGHT,
        contract.CONTENT_WEIGHT.name: settings.content_weight,
        contract.TOTAL_VARIATION_WEIGHT.name: TOTAL_VARIATION_WEIGHT,
    }


def _tutorial(task: Task, judge: Callable[[Image], float]) -> Outcome:
    settings = task.settings
    tutorial = Tutorial(
        task.weights,
        tf.constant(task.content),
        tf.constant(task.style),
        style_layers=settings.style_layers,
        content_layer=settings.content_layer,
        content_weight=settings.content_weight,
    )
    tutorial.steps(2)  # traces
    tutorial.restart()
    losses: list[float] = []
    took_s = seconds(lambda: losses.extend(tutorial.steps(settings.steps)))
    image = tutorial.image.numpy()
    loss = judge(image)
    return Outcome(settings.steps, took_s, loss, image, _curve([*losses[1:], loss], took_s))


def _ours(
    task: Task,
    signature: str,
    precision: Precision,
    judge: Callable[[Image], float],
    target: float,
    bench: Bench,
) -> Outcome:
    """Run of our loop with the fewest steps whose loss is at most `target`, or with the most that are tried."""
    function = task.model(precision).functions[signature]
    controls = {name: [value] for name, value in _weights(task.settings).items()}

    def call(steps: int) -> dict[str, Any]:
        outputs = function(content_image=task.content, style_image=task.style, steps=[steps], **controls)
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    call(2)  # traces
    trials: dict[int, _Trial] = {}

    def trial(steps: int) -> _Trial:
        if steps not in trials:
            outputs: dict[str, Any] = {}
            took_s = seconds(lambda: outputs.update(call(steps)))
            image = outputs[contract.STYLIZED_IMAGE.name]
            losses = outputs[contract.LOSSES.name][0, :, 0].tolist()
            trials[steps] = _Trial(took_s, judge(image), image, losses)
            bench.say(f"quality: after {steps} steps a loss of {trials[steps].loss:.6g}; target {target:.6g}")
        return trials[steps]

    steps = fewest_steps(
        lambda steps: trial(steps).loss, lambda steps: trial(steps).losses, target, most=task.settings.most_steps
    )
    first_s, loss, image, losses = trials[steps]
    more = range(task.settings.repeats - 1)
    took_s = statistics.median([first_s, *(seconds(partial(call, steps)) for _ in more)])
    # Adam reports the loss before each step, L-BFGS the loss after it.
    after = losses[1:] if signature == contract.SERVING_DEFAULT else losses[:-1]
    return Outcome(steps, took_s, loss, image, _curve([*after, loss], took_s))


def fewest_steps(
    loss_after: Callable[[int], float], reported_losses: Callable[[int], list[float]], target: float, *, most: int
) -> int:
    """The fewest steps after which the loss is at most `target`; `most` if there are none.

    Each number of steps needs a run from the start, so the search begins at the reported losses, then widens and then
    bisects.

    Args:
        loss_after: Function from a number of steps to the loss after them; it falls almost everywhere.
        reported_losses: Function from a number of steps to the losses that the run reports, which may differ a little.
        target: Loss to reach.
        most: Most steps to try.
    """
    steps = min(FIRST_STEPS, most)
    while reported_losses(steps)[-1] > target and steps < most:
        steps = min(2 * steps, most)
    guess = next((i for i, loss in enumerate(reported_losses(steps), start=1) if loss <= target), steps)
    # `good` reaches the target and `bad` does not. One of them is the guess; growing strides find the other.
    good, bad, stride = guess, guess - 1, 1
    while loss_after(good) > target:
        if good == most:
            return most
        good, bad, stride = min(good + stride, most), good, 2 * stride
    while bad > 0 and loss_after(bad) <= target:
        good, bad, stride = bad, max(bad - stride, 0), 2 * stride
    while good - bad > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if loss_after(middle) <= target else (good, middle)
    return good


def _curve(losses: list[float], took_s: float) -> Curve:
    """The loss after each step over seconds, for steps of equal length, at `CURVE_POINTS` or a few more points."""
    stride = max(len(losses) // CURVE_POINTS, 1)
    points = [(took_s * (i + 1) / len(losses), loss) for i, loss in enumerate(losses)]
    return [*points[:-1:stride], points[-1]]


def _save(folder: Path, side: int, outcomes: dict[str, Outcome]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, outcome in outcomes.items():
        file = "-".join(name.replace(",", "").split())
        Picture.from_pixels(outcome.image[0], name=name).image.save(folder / f"{file}-{side}px.png")
