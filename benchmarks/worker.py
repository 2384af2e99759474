"""One measurement in a process of its own: `python -m benchmarks.worker '{"side": 64, ...}'` prints JSON."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from styleserve import contract
from styleserve.contract import Limits
from styleserve.export.layers import choose_layers
from styleserve.memory import keep_freed_memory
from styleserve.model import ModelSettings, Precision, StyleTransfer, file_weights, random_weights

from .memory import own_peak_mb
from .timing import median_in_turn, seconds_a_step


@dataclass(frozen=True)
class Job:
    """A measurement of square pictures.

    Attributes:
        side: Side of the pictures, in pixels.
        batch: Pictures of a call; 1 for `paint`.
        steps: Steps of a round.
        rounds: Rounds; the median is taken.
        signature: Signature to call.
        precision: Precision of the convolutions.
        give_back: Whether freed memory is returned to the system at once.
        styles: Styles of `paint`.
        regions: Whether each style has a region of its own, a stripe of the content.
        style_scale: Size of the styles, relative to the content.
        tile: Side of the square tiles with their margins, in pixels; None processes whole images.
        weights: "random", or a file.
    """

    side: int
    batch: int
    steps: int
    rounds: int
    signature: str
    precision: Precision
    give_back: bool
    styles: int = 1
    regions: bool = False
    style_scale: float = 1.0
    tile: int | None = None
    weights: str = "random"


@dataclass(frozen=True)
class Found:
    """Figures of a job.

    Attributes:
        step_s: Seconds a step.
        base_mb: Peak memory before the model was built, in MB.
        peak_mb: Peak memory at the end, in MB.
        gpu_peak_mb: Peak memory of the first GPU, in MB; None without a GPU.
    """

    step_s: float
    base_mb: float
    peak_mb: float
    gpu_peak_mb: float | None


def work(job: Job) -> Found:
    """Measures a job in this process."""
    base_mb = own_peak_mb()
    weights = random_weights(0) if job.weights == "random" else file_weights(Path(job.weights))
    layers = choose_layers(weights, None, None, trained=job.weights != "random")
    settings = ModelSettings(
        style_layers=layers.style,
        content_layer=layers.content,
        painter_content_layer=layers.painter_content,
        precision=job.precision,
        limits=Limits(max_side=max(job.side, 16), max_batch=max(job.batch, 1)),
        tile_pixels=None if job.tile is None else job.tile**2,
    )
    call = loop(StyleTransfer(weights, settings), job)
    call(job.steps)  # traces, and prepares kernels
    found = median_in_turn({"step": lambda: seconds_a_step(call, job.steps)}, job.rounds)
    return Found(found["step"], base_mb, own_peak_mb(), _gpu_peak_mb())


def loop(model: StyleTransfer, job: Job) -> Callable[[int], None]:
    """A function that runs a number of steps."""
    function = model.functions[job.signature]
    if job.signature == contract.PAINT:
        inputs = _files(job)

        def paint(steps: int) -> None:
            function(**inputs, steps=tf.constant([steps]))[contract.LOSSES.name].numpy()

        return paint
    shape = [job.batch, job.side, job.side, 3]
    content, style = (tf.random.stateless_uniform(shape, seed=[0, seed]) for seed in (1, 2))

    def call(steps: int) -> None:
        function(content, style, steps=[steps])[contract.STYLIZED_IMAGE.name].numpy()

    return call


def _files(job: Job) -> dict[str, tf.Tensor]:
    """Inputs of `paint`: noise as pictures, and stripes of the content as regions."""

    def png(pixels: tf.Tensor) -> tf.Tensor:
        return tf.io.encode_png(tf.cast(pixels * 255.0, tf.uint8))

    def noise(seed: int) -> tf.Tensor:
        return png(tf.random.stateless_uniform([job.side, job.side, 3], seed=[0, seed]))

    inputs = {
        contract.CONTENT_BYTES.name: noise(0)[None],
        contract.STYLE_BYTES.name: tf.stack([noise(1 + s) for s in range(job.styles)])[None],
        contract.MAX_SIDE.name: tf.constant([job.side]),
        contract.STYLE_SCALE.name: tf.constant([[job.style_scale]]),
    }
    if job.regions:
        stripe = tf.range(job.side) * job.styles // job.side
        masks = tf.cast(stripe[None, None, :, None] == tf.range(job.styles)[:, None, None, None], tf.float32)
        masks = tf.broadcast_to(masks, [job.styles, job.side, job.side, 1])
        inputs[contract.CONTENT_REGION_BYTES.name] = tf.stack([png(mask) for mask in tf.unstack(masks)])[None]
    return inputs


def _gpu_peak_mb() -> float | None:
    if not tf.config.list_physical_devices("GPU"):
        return None
    return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1e6


if __name__ == "__main__":
    arguments: dict[str, Any] = json.loads(sys.argv[1])
    job = Job(**arguments)
    if not job.give_back:
        keep_freed_memory()
    print(json.dumps(dataclasses.asdict(work(job))))
