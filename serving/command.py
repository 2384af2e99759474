"""The `serve` command. Importing this module imports neither TensorFlow nor gRPC."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from styleserve.contract import DEFAULT_MODEL_NAME, DEFAULT_PORT
from styleserve.memory import keep_freed_memory
from styleserve.sizing import memory_bytes
from styleserve.tensorflow_log import drop_notes_of_the_first_session
from styleserve.version_directories import DEFAULT_BASE_PATH

from .deploy.command import deploy
from .observability.logs import LogFormat, set_up_logging

logger = logging.getLogger(__name__)

EXIT_START_FAILED = 1
"""Exit code for a start that failed: no model, a broken model, or a port in use."""
EXIT_STOPPED = 130
"""Exit code for Ctrl-C before the server was ready; afterwards Ctrl-C is a normal end."""


def register(app: typer.Typer) -> None:
    """Adds `serve` and `deploy` to the command line."""
    for command in (serve, deploy):
        app.command(rich_help_panel="Server")(command)


def serve(
    model_base_path: Annotated[
        Path, typer.Option(help="Directory with one numbered sub-directory for each version of the model.")
    ] = DEFAULT_BASE_PATH,
    model_name: Annotated[str, typer.Option(help="Name of the model in requests.")] = DEFAULT_MODEL_NAME,
    host: Annotated[str, typer.Option(help="Address to listen on. 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = DEFAULT_PORT,
    max_calls: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Predict calls that run at a time.",
            show_default="cores, and at least 2",
        ),
    ] = None,
    max_memory: Annotated[
        str | None,
        typer.Option(help="Memory of the server, such as 14GiB; calls wait for it.", show_default="all there is"),
    ] = None,
    max_waiting: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Predict calls that wait; a further one is refused.",
            show_default="enough for 4 x cores long ones in all",
        ),
    ] = None,
    poll_s: Annotated[float, typer.Option(min=0.01, max=86_400, help="Seconds between polls for new versions.")] = 1.0,
    max_num_load_retries: Annotated[
        int, typer.Option(min=0, help="Retries of a version that does not load; none at the start.")
    ] = 5,
    load_retry_interval_micros: Annotated[
        int, typer.Option(min=0, max=86_400_000_000, help="Microseconds from a failure to the next retry.")
    ] = 60_000_000,
    grace_s: Annotated[
        float, typer.Option(min=0, max=86_400, help="Seconds for running calls to end after SIGTERM or Ctrl-C.")
    ] = 25.0,
    max_request_bytes: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=2**31 - 1,
            help="Largest request in bytes; a larger one is refused before it is read.",
            show_default="two full batches of the model's largest images, and at least 202 MB",
        ),
    ] = None,
    ssl_config_file: Annotated[
        Path | None, typer.Option(help="TLS: TensorFlow Serving's SSLConfig as a text proto, with PEM contents.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File of tokens, one on each line; every call needs one, except health checks.")
    ] = None,
    allow_plain_token: Annotated[
        bool,
        typer.Option(
            "--allow-plain-token", help="Accept tokens from other machines without TLS, if something else encrypts."
        ),
    ] = False,
    rest_api_port: Annotated[
        int,
        typer.Option(min=0, max=65535, help="Port for Prometheus metrics over HTTP, as in 8501; 0 is none."),
    ] = 0,
    rest_api_host: Annotated[str, typer.Option(help="Address of the metrics, which need no token.")] = "127.0.0.1",
    monitoring_config_file: Annotated[
        Path | None,
        typer.Option(help="TensorFlow Serving's MonitoringConfig as a text proto: the path of the metrics."),
    ] = None,
    log_format: Annotated[
        LogFormat, typer.Option(help="Format of the log on stderr, with a line for each call.")
    ] = LogFormat.TEXT,
    watch_stdin: Annotated[
        bool, typer.Option("--watch-stdin", help="Stop when standard input closes, as with the parent process.")
    ] = False,
) -> None:
    """Serve an exported model over gRPC, as TensorFlow Serving does."""
    if watch_stdin:
        threading.Thread(target=_stop_with_stdin, name="styleserve-stdin", daemon=True).start()
    try:
        memory = None if max_memory is None else memory_bytes(max_memory)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--max-memory") from error
    keep_freed_memory()  # before the process has threads
    set_up_logging(log_format)
    logger.info("loading model %s from %s", model_name, model_base_path)
    try:
        _check_before_loading(model_base_path.absolute(), (host, port), (rest_api_host, rest_api_port))
        from . import EmbeddedServer, ServerSettings  # noqa: PLC0415
    except ModuleNotFoundError as error:
        how = "in styleserve's repository, pip install --constraint requirements.lock '.[tensorflow]'"
        typer.echo(f"Error: {error}. Serving needs TensorFlow: {how}", err=True)
        raise typer.Exit(EXIT_START_FAILED) from error
    except KeyboardInterrupt as error:  # TensorFlow takes seconds to import
        typer.echo("Error: stopped with Ctrl-C before it served", err=True)
        raise typer.Exit(EXIT_STOPPED) from error

    try:
        settings = ServerSettings(
            host=host,
            port=port,
            max_calls=max_calls,
            max_memory=memory,
            max_waiting=max_waiting,
            poll_s=poll_s,
            max_num_load_retries=max_num_load_retries,
            load_retry_interval_micros=load_retry_interval_micros,
            grace_s=grace_s,
            max_request_bytes=max_request_bytes,
            ssl_config_file=ssl_config_file,
            token_file=token_file,
            allow_plain_token=allow_plain_token,
            rest_api_port=rest_api_port,
            rest_api_host=rest_api_host,
            monitoring_config_file=monitoring_config_file,
        )
        drop_notes_of_the_first_session()
        with _exit_on_a_start_error():
            server = EmbeddedServer(model_base_path, model_name=model_name, settings=settings)
            server.start()
    except KeyboardInterrupt as error:
        typer.echo("Error: stopped with Ctrl-C before it served", err=True)
        raise typer.Exit(EXIT_STOPPED) from error
    versions = ", ".join(str(version) for version in server.serving()[model_name])
    typer.echo(f"Serving {model_name}, version {versions}, on {server.address}. Ctrl-C stops.")
    _wait_for_a_signal()
    calls = server.open_calls
    note = f" Running calls ({calls}) have up to {grace_s:g} s to end; a second signal ends them at once."
    typer.echo(f"Stopping.{note if calls else ''}")
    server.stop()


# These functions import gRPC, which the help does not need, and no TensorFlow, which takes seconds to import.


def _check_before_loading(base_path: Path, grpc_port: tuple[str, int], metrics_port: tuple[str, int]) -> None:
    """Checks the ports and the base path."""
    from .models.version_policy import check_base_path  # noqa: PLC0415
    from .ports import check_port  # noqa: PLC0415

    with _exit_on_a_start_error():
        check_port(*grpc_port)
        if metrics_port[1]:
            check_port(*metrics_port, metrics=True)
        check_base_path(base_path)


@contextmanager
def _exit_on_a_start_error() -> Generator[None]:
    from .errors import StartError  # noqa: PLC0415

    try:
        yield
    except StartError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(EXIT_START_FAILED) from error


def _stop_with_stdin() -> None:
    """Sends SIGTERM to this process when standard input closes: the parent process ended, however it ended."""
    # Not through sys.stdin, whose lock a blocked read would keep: Python aborts if it is held when the process ends.
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _wait_for_a_signal() -> None:
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    # Python runs handlers between its own instructions. A signal just before an endless wait would stay unhandled until
    # the next signal.
    while not stopping.wait(1.0):
        pass
    # A second signal ends the process at once. Python's default for Ctrl-C would wait for threads of running calls.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
