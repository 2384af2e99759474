"""Exporter: builds, saves, checks and publishes one version of a model."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import tensorflow as tf

from styleserve.contract import Limits, LossScale
from styleserve.model import ModelSettings, StyleTransfer, Weights, file_weights, imagenet_weights, random_weights
from styleserve.model.network.architecture import feature_bytes
from styleserve.sizing import DEFAULT_MEMORY, tile_pixels
from styleserve.version_directories import EXTRA_ASSETS, MAX_VERSION, inside_a_version, version_number

from .card import write_card
from .layers import choose_layers
from .precision import choose_precision
from .validation import OnStep, ValidationError, validate
from .warmup import write_warmup_requests

# Saved models are not trained, and gradients would be most of the saved functions.
_SAVE_OPTIONS: Final = tf.saved_model.SaveOptions(experimental_custom_gradients=False)


class ExportError(Exception):
    """The model could not be built, checked or written; no version was published."""


@dataclass(frozen=True)
class ExportSettings:
    """Settings of an export.

    Attributes:
        output: Directory of the model; versions are written into it as `<unix time>/`.
        weights: "imagenet", "random", or the path of a file (`file_weights`).
        seed: Seed of random weights, 0 or more.
        precision: Precision of the convolutions; "auto" for the fastest one on this machine.
        style_layers: Layers whose Gram matrices are matched; None for the tutorial's, as far as the weights have them.
        content_layer: Layer whose features are matched, by both losses; None for the default of each loss, or the
            deepest layer of the weights.
        loss_scale: Scale of the tutorial's loss; None for "relative" with random weights and "tutorial" with others.
        limits: Limits of requests, which the graph enforces.
        memory: Memory of a call for its tensors, in bytes; larger images are tiled, with the same results.
    """

    output: Path
    weights: str = "imagenet"
    seed: int = 0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    style_layers: tuple[str, ...] | None = None
    content_layer: str | None = None
    loss_scale: LossScale | None = None
    limits: Limits = field(default_factory=Limits)
    memory: int = DEFAULT_MEMORY

    def load_weights(self) -> Weights:
        """Weights by the name in `weights`.

        Raises:
            OSError: There is no such file, or ImageNet weights cannot be downloaded.
            ValueError: The file does not hold VGG-19 weights, or the seed is negative.
        """
        if self.weights == "imagenet":
            return imagenet_weights()
        if self.weights == "random":
            return random_weights(self.seed)
        return file_weights(Path(self.weights))


@contextmanager
def _without_rewriting() -> Generator[None]:
    """Turns graph rewriting off, for functions that run inside and for calls in graphs that are traced inside.

    A server rewrites a signature as a whole before its first run. Without this mark it would rewrite each called
    function once more: a third of its start. The check of an export is a fifth faster, with the same results.
    """
    before = tf.config.optimizer.get_experimental_options().get("disable_meta_optimizer", False)
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": before})


@_without_rewriting()
def export_model(
    settings: ExportSettings,
    *,
    say: Callable[[str], None] = lambda _: None,
    on_check: OnStep = lambda _number, _total, _name: None,
) -> Path:
    """Exports one version and returns its directory.

    The version is written and checked in a staging directory, which servers ignore, and then renamed. After a failure
    or an interruption there is no new version.

    Args:
        settings: Settings of the export.
        say: Function that is called with a line of progress for each step.
        on_check: Function that is called before each step of the check, which takes most of the time.

    Raises:
        ExportError: The export failed; the message has the reason and the next step.
    """
    _check_output(settings.output)
    try:
        choice = choose_precision(settings.precision)
        say(f"precision: {choice.precision} ({choice.reason})")
        weights = settings.load_weights()
        trained = settings.weights != "random"
        layers = choose_layers(weights, settings.style_layers, settings.content_layer, trained=trained)
        say(f"layers: {layers}")
        model_settings = ModelSettings(
            style_layers=layers.style,
            content_layer=layers.content,
            painter_content_layer=layers.painter_content,
            loss_scale=settings.loss_scale or ("tutorial" if trained else "relative"),
            trained=trained,
            precision=choice.precision,
            limits=settings.limits,
            tile_pixels=tile_pixels(
                settings.memory,
                pixels=int(settings.limits.numbers()["max_batch_pixels"]),
                feature_bytes=max(feature_bytes(layer) for layer in (layers.content, layers.painter_content)),
            ),
        )
        if model_settings.tile_pixels is not None:
            say(f"tiles: images of over {model_settings.tile_pixels} pixels are processed in tiles")
        say(f"weights: {weights.source}, {len(weights.layers)} layers; loss scale: {model_settings.loss_scale}")
        model = StyleTransfer(weights, model_settings)
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise ExportError(str(error)) from error
    try:
        _make_readable(settings.output)
        staging = Path(tempfile.mkdtemp(prefix=".staging-", dir=settings.output))
    except (OSError, ValueError) as error:
        raise _unusable(settings.output, str(error)) from error
    try:
        say("saving")
        tf.saved_model.save(model, str(staging), signatures=model.functions, options=_SAVE_OPTIONS)
        (staging / EXTRA_ASSETS).mkdir()
        write_warmup_requests(staging, model_settings)
        write_card(staging, weights, model_settings, memory=settings.memory, fingerprint=model.fingerprint)
        validate(staging, model, on_check)
        return _publish(staging, settings.output)
    except ValidationError as error:
        raise ExportError(f"the exported model did not pass its check, so it was not published: {error}") from error
    except (OSError, tf.errors.OpError) as error:  # TensorFlow raises its own errors for a full disk
        raise ExportError(f"cannot write below {settings.output}: {error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _publish(staging: Path, output: Path) -> Path:
    """Renames the staging directory to a new version, and returns the directory of the version."""
    for path in (staging, *staging.rglob("*")):
        # Readable by all users, because servers may run as another user.
        path.chmod(0o755 if path.is_dir() else 0o644)
        _fsync(path)
    # Servers serve the highest number, also if the clock of an earlier export was ahead.
    numbers = [number for path in output.iterdir() if (number := version_number(path.name)) is not None]
    version = max([int(time.time()), *(number + 1 for number in numbers)])
    if version > MAX_VERSION:
        raise _unusable(output, f"its version {MAX_VERSION} is the largest number that a server reads")
    while True:
        target = output / str(version)
        # Another export may have the same number, and rename() would replace an empty directory.
        if not target.exists():
            try:
                staging.rename(target)
            except OSError:
                if not target.exists():
                    raise
            else:
                with suppress(OSError):  # the version is published even if a network disk cannot sync
                    _fsync(output)
                return target
        version += 1


def _check_output(output: Path) -> None:
    """Checks that versions can be written to a directory, without creating it.

    Raises:
        ExportError: Versions cannot be written.
    """
    # Not Path.exists(), which raises without permission to search a directory.
    nearest = next((path for path in (output, *output.parents) if os.path.exists(path)), output)  # noqa: PTH110
    if not nearest.is_dir():
        raise _unusable(output, f"{nearest} is not a directory")
    if (inside := inside_a_version(output)) is not None:
        raise ExportError(f"{output} {inside.fault}: --output {inside.base_path}")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise _unusable(output, f"{nearest} cannot be written to, by its permissions or because the disk is read-only")


def _unusable(output: Path, why: str) -> ExportError:
    return ExportError(f"no versions can be written to {output}: {why}. Give another directory with --output")


def _make_readable(directory: Path) -> None:
    """Creates a directory and its missing parents, readable by all users."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        path.chmod(0o755)
    directory.mkdir(exist_ok=True)  # raises if it is a file


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
