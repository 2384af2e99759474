"""The `serve` command. Importing this module does not import TensorFlow."""

from __future__ import annotations

import logging
import signal
import threading
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from styleserve.contract import DEFAULT_MODEL_NAME, DEFAULT_PORT

EXIT_START_FAILED = 1
"""No model, a broken model, or a port that is taken."""


def register(app: typer.Typer) -> None:
    """Adds `serve` to the command line."""
    app.command(rich_help_panel="Server")(serve)


def serve(
    model_base_path: Annotated[
        Path, typer.Option(help="Directory with one numbered sub-directory for each version of the model.")
    ],
    model_name: Annotated[str, typer.Option(help="What requests call the model.")] = DEFAULT_MODEL_NAME,
    host: Annotated[str, typer.Option(help="Address to listen on. 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = DEFAULT_PORT,
    max_calls: Annotated[
        int | None, typer.Option(min=1, help="Predict calls at a time; more are refused.", show_default="4 x cores")
    ] = None,
    poll_s: Annotated[float, typer.Option(min=0.01, help="Seconds between two looks for new versions.")] = 1.0,
    grace_s: Annotated[float, typer.Option(min=0, help="Seconds that calls may go on after SIGTERM or Ctrl-C.")] = 5.0,
    enable_batching: Annotated[
        bool, typer.Option("--enable-batching", help="Join requests with numbers that wait at the same time.")
    ] = False,
    batching_parameters_file: Annotated[
        Path | None, typer.Option(help="How they are joined: TensorFlow Serving's BatchingParameters.")
    ] = None,
) -> None:
    """Serve an exported model over gRPC, as TensorFlow Serving does."""
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("styleserve").setLevel(logging.INFO)
    try:
        from . import BatchingSettings, EmbeddedServer, ServerSettings, StartError  # noqa: PLC0415
    except ModuleNotFoundError as error:
        typer.echo(f"{error}. Serving needs TensorFlow: pip install 'styleserve[tensorflow]'", err=True)
        raise typer.Exit(EXIT_START_FAILED) from error

    settings = ServerSettings(host=host, port=port, poll_s=poll_s, grace_s=grace_s)
    if max_calls is not None:
        settings = replace(settings, max_calls=max_calls)
    try:
        settings = replace(settings, batching=BatchingSettings.chosen(enable_batching, batching_parameters_file))
        server = EmbeddedServer(model_base_path, model_name=model_name, settings=settings)
        server.start()
    except StartError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(EXIT_START_FAILED) from error
    versions = ", ".join(str(version) for version in server.serving()[model_name])
    typer.echo(f"Serving {model_name}, version {versions}, on {server.address}. Ctrl-C stops.")
    _wait_for_a_signal()
    typer.echo("Stopping.")
    server.stop()


def _wait_for_a_signal() -> None:
    told_to_stop = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        told_to_stop.set()

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, stop)
    told_to_stop.wait()
    # A second Ctrl-C ends the process at once.
    for number, handler in before.items():
        signal.signal(number, handler)
