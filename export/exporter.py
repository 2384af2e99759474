"""Building, saving, checking and publishing one version of the model."""

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
from styleserve.version_directories import MAX_VERSION, inside_a_version, version_number

from .card import write_card
from .layers import choose_layers
from .precision import choose_precision
from .validation import OnStep, ValidationError, validate
from .warmup import write_warmup_requests

# Nothing is trained from a saved model, and its gradients are most of the functions that would be saved.
_SAVE_OPTIONS: Final = tf.saved_model.SaveOptions(experimental_custom_gradients=False)


class ExportError(Exception):
    """The model could not be built, checked or written. Nothing was published."""


@dataclass(frozen=True)
class ExportSettings:
    """What to export, and where to.

    Attributes:
        output: directory of the model; versions are written into it as `<unix time>/`.
        weights: "imagenet", "random", or the path of a file (`file_weights`).
        seed: of random weights, 0 or more.
        precision: of the convolutions; "auto" looks at this machine.
        style_layers: layers whose Gram matrices are matched; None for those of the tutorial that the weights have.
        content_layer: layer whose features are matched, by both losses; None for the tutorial's and the painter's own,
            or the deepest one that the weights have.
        loss_scale: None for what suits the weights: "relative" for random ones, else "tutorial".
        limits: bounds on requests, enforced by the graph.
    """

    output: Path
    weights: str = "imagenet"
    seed: int = 0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    style_layers: tuple[str, ...] | None = None
    content_layer: str | None = None
    loss_scale: LossScale | None = None
    limits: Limits = field(default_factory=Limits)

    def load_weights(self) -> Weights:
        """The weights that are named.

        Raises:
            OSError: there is no such file, or ImageNet weights cannot be fetched.
            ValueError: the file is not one of VGG-19 weights, or the seed is negative.
        """
        if self.weights == "imagenet":
            return imagenet_weights()
        if self.weights == "random":
            return random_weights(self.seed)
        return file_weights(Path(self.weights))


@contextmanager
def _plain_calls() -> Generator[None]:
    """Whatever is traced inside has its calls of functions marked as not to be rewritten; nor is what runs inside.

    A server rewrites a whole signature before it runs it first. Without the mark it would do so a second time for each
    function that is called, when it is called first: a third of the time until it is ready, for nothing. For the runs
    of the check rewriting is a fifth of an export, and the results are the same.
    """
    before = tf.config.optimizer.get_experimental_options().get("disable_meta_optimizer", False)
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": before})


@_plain_calls()
def export_model(
    settings: ExportSettings,
    *,
    say: Callable[[str], None] = lambda _: None,
    on_check: OnStep = lambda _number, _total, _name: None,
) -> Path:
    """Exports one version and returns its directory.

    It is written and checked in a staging directory, whose name no server takes for a version, and renamed in
    afterwards. Whatever fails or interrupts it, there is no new version.

    Args:
        settings: what to export, and where to.
        say: is called with a line for each step.
        on_check: is called before each step of the check, which takes most of the time.

    Raises:
        ExportError: with what went wrong and what to do.
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
        )
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
        (staging / "assets.extra").mkdir()
        write_warmup_requests(staging, model_settings)
        write_card(staging, weights, model_settings)
        validate(staging, model, on_check)
        return _publish(staging, settings.output)
    except ValidationError as error:
        raise ExportError(f"the exported model did not pass its check, so it was not published: {error}") from error
    except (OSError, tf.errors.OpError) as error:  # TensorFlow has errors of its own for a full disk
        raise ExportError(f"cannot write below {settings.output}: {error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _publish(staging: Path, output: Path) -> Path:
    for path in (staging, *staging.rglob("*")):
        # Servers run as other users, whatever umask the exporter has.
        path.chmod(0o755 if path.is_dir() else 0o644)
        _fsync(path)
    # Servers take the highest number, so one below those of a clock that was ahead would never be served.
    numbers = [number for path in output.iterdir() if (number := version_number(path.name)) is not None]
    version = max([int(time.time()), *(number + 1 for number in numbers)])
    if version > MAX_VERSION:
        raise _unusable(output, f"its version {MAX_VERSION} is the largest number that a server reads")
    while True:
        target = output / str(version)
        # Another export may have been as quick, and rename() would replace an empty directory.
        if not target.exists():
            try:
                staging.rename(target)
            except OSError:
                if not target.exists():
                    raise
            else:
                with suppress(OSError):  # it is published, whatever a network disk says of it
                    _fsync(output)
                return target
        version += 1


def _check_output(output: Path) -> None:
    """Whether versions can be written, as far as can be told before there is one; nothing is made for it yet.

    Raises:
        ExportError: they cannot.
    """
    # Not Path.exists(), which raises where it may not look.
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
    """Makes a directory, and those above it that are missing, so that other users can read them."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        path.chmod(0o755)
    directory.mkdir(exist_ok=True)  # raises where it is a file


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
