"""`styleserve export`. The command imports TensorFlow only when it runs, so that `--help` is fast."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from styleserve import contract
from styleserve.contract import Limits
from styleserve.sizing import DEFAULT_MEMORY, memory_bytes
from styleserve.tensorflow_log import drop_notes_of_the_first_session
from styleserve.version_directories import DEFAULT_BASE_PATH

EXIT_EXPORT_FAILED = 1
EXIT_STOPPED = 130

_STOPPED = "Error: stopped with Ctrl-C; nothing was published"

_LIMITS = Limits()


class _Precision(str, Enum):
    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"


class _LossScale(str, Enum):
    auto = "auto"
    tutorial = "tutorial"
    relative = "relative"


def register(app: typer.Typer) -> None:
    """Adds the command to an application."""
    app.command(rich_help_panel="Server")(export)


def export(
    output: Annotated[
        Path, typer.Option(help="Directory of the model. The new version is a directory in it, named by the time.")
    ] = DEFAULT_BASE_PATH,
    weights: Annotated[
        str, typer.Option(help="'imagenet' (from Keras), 'random', or a file: .npz, .h5, .weights.h5, .keras.")
    ] = "imagenet",
    seed: Annotated[int, typer.Option(help="Seed of random weights.", min=0)] = 0,
    precision: Annotated[
        _Precision, typer.Option(help="Precision of the convolutions; 'auto' picks the fastest one on this machine.")
    ] = _Precision.auto,
    max_side: Annotated[
        int, typer.Option(help="Longest side of an image that the model accepts, in pixels.", min=16)
    ] = _LIMITS.max_side,
    max_steps: Annotated[int, typer.Option(help="Most steps of one call.", min=1)] = _LIMITS.max_steps,
    max_batch: Annotated[int, typer.Option(help="Most examples of one call.", min=1)] = _LIMITS.max_batch,
    max_pixels: Annotated[
        int | None,
        typer.Option(help="Most pixels of a processed image.", min=1, show_default="square of --max-side"),
    ] = None,
    max_batch_pixels: Annotated[
        int | None,
        typer.Option(
            help="Most pixels of all images of one call, which are in memory at the same time.",
            min=1,
            show_default="pixels of one image",
        ),
    ] = None,
    max_work: Annotated[
        float | None,
        typer.Option(
            help="Most megapixel-steps of one call: millions of pixels x steps x examples.",
            show_default="product of the other limits",
        ),
    ] = None,
    max_encoded_pixels: Annotated[
        int | None,
        typer.Option(
            help="Most pixels of a picture in a file, before it is resized.",
            min=1,
            show_default="64 million, or those of the largest image",
        ),
    ] = None,
    max_encoded_bytes: Annotated[
        int | None,
        typer.Option(help="Most bytes of a picture in a file.", min=1, show_default="16 MiB plus 8 for each pixel"),
    ] = None,
    style_layers: Annotated[
        str | None,
        typer.Option(
            help="Layers whose Gram matrices are matched, separated by commas.",
            show_default=f"{','.join(contract.STYLE_LAYERS)}, as far as the weights have them",
        ),
    ] = None,
    content_layer: Annotated[
        str | None,
        typer.Option(
            help="Layer whose features are matched.",
            show_default=f"{contract.CONTENT_LAYER} for the tutorial's loss, {contract.PAINTER_CONTENT_LAYER} for the "
            "painter's, or the deepest one that the weights have",
        ),
    ] = None,
    max_styles: Annotated[int, typer.Option(help="Most styles of one result.", min=1)] = _LIMITS.max_styles,
    loss_scale: Annotated[
        _LossScale,
        typer.Option(
            help="'tutorial': plain mean squares; 'relative': divided by the mean square of the target; 'auto': "
            "by weights."
        ),
    ] = _LossScale.auto,
    memory: Annotated[
        str,
        typer.Option(
            help="Memory of a call for its tensors, such as 12GiB. Images that need more are processed in tiles: "
            "the same results, in about twice the time or more."
        ),
    ] = f"{DEFAULT_MEMORY // 2**30}GiB",
    check_classifier: Annotated[
        Path | None, typer.Option(metavar="PICTURE", help="Also print VGG-19's five best classes for this picture.")
    ] = None,
) -> None:
    """Write the model as a version that TensorFlow Serving and `styleserve serve` pick up.

    The model is reloaded and run before it is published. The command prints the directory of the version.
    """
    try:
        limits = Limits(
            max_side=max_side,
            max_steps=max_steps,
            max_batch=max_batch,
            max_styles=max_styles,
            max_encoded_pixels=max_encoded_pixels,
            max_pixels=max_pixels,
            max_batch_pixels=max_batch_pixels,
            max_encoded_bytes=max_encoded_bytes,
            max_work=max_work,
        )
        memory_of_a_call = memory_bytes(memory)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error

    progress = _Progress()
    progress.say("loading TensorFlow")
    try:
        from . import ExportError, ExportSettings, export_model  # noqa: PLC0415
    except ModuleNotFoundError as error:
        how = "in styleserve's repository, pip install --constraint requirements.lock '.[tensorflow]'"
        progress.say(f"Error: {error}. Exporting needs TensorFlow: {how}")
        raise typer.Exit(EXIT_EXPORT_FAILED) from error
    except KeyboardInterrupt as error:  # TensorFlow takes seconds to import
        progress.say(_STOPPED)
        raise typer.Exit(EXIT_STOPPED) from error
    try:
        if check_classifier is not None:
            _check_classifier(check_classifier)
        settings = ExportSettings(
            output=output,
            weights=weights,
            seed=seed,
            precision=precision.value,
            style_layers=None if style_layers is None else _names(style_layers),
            content_layer=content_layer,
            loss_scale=None if loss_scale is _LossScale.auto else loss_scale.value,
            limits=limits,
            memory=memory_of_a_call,
        )
        with redirect_stdout(sys.stderr):  # Keras prints its downloads to stdout, which is for the path alone
            drop_notes_of_the_first_session()
            version = export_model(settings, say=progress.say, on_check=progress.step)
        progress.close()
        typer.echo(version)
    except ExportError as error:
        progress.say(f"Error: {error}")
        raise typer.Exit(EXIT_EXPORT_FAILED) from error
    except KeyboardInterrupt as error:
        progress.say(_STOPPED)
        raise typer.Exit(EXIT_STOPPED) from error


def _names(text: str) -> tuple[str, ...]:
    return tuple(layer.strip() for layer in text.split(",") if layer.strip())


class _Progress:
    """Progress lines on stderr. On a terminal, each step of the check overwrites the line of the step before."""

    def __init__(self) -> None:
        self._open = False

    def say(self, line: str) -> None:
        """Writes a line."""
        self.close()
        typer.echo(line, err=True)

    def step(self, number: int, total: int, name: str) -> None:
        """Writes the number and name of a step of the check."""
        text = f"checking {number} of {total}: {name}"
        if not sys.stderr.isatty():
            self.say(text)
            return
        typer.echo(f"\r{text:<60}", err=True, nl=False)
        self._open = True

    def close(self) -> None:
        """Ends the line of a step."""
        if self._open:
            typer.echo(err=True)
            self._open = False


def _check_classifier(picture: Path) -> None:
    from .classifier import classify  # noqa: PLC0415

    try:
        with redirect_stdout(sys.stderr):
            guesses = classify(picture)
        for guess in guesses:
            typer.echo(f"{guess.probability:7.1%}  {guess.label}", err=True)
    except (OSError, ValueError) as error:
        # The export continues, because the classifier is not part of the model.
        typer.echo(f"the classifier was not checked: {error}", err=True)
