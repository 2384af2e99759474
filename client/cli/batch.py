"""The command `batch`: paints a folder or a list of jobs into a folder with a manifest.

NumPy, Pillow and gRPC are imported when the command runs, so that `--help` is quick.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Annotated, Final

import typer

from ..batch.job import Job, JobDefaults, folder_jobs
from ..batch.job_list import read_jobs
from ..batch.settings import BatchSettings
from ..errors import JobListError
from ..inputs.controls import Controls
from ..transport.retry import RetryPolicy
from ..transport.settings import DEFAULT_SERVER, ENVIRONMENT, ConnectionSettings
from .batch_printing import batch_display, print_summary
from .options import CONNECTION_PANEL, Json, Timeout, VersionLabel
from .print_options import Dpi

_DEFAULTS: Final = BatchSettings()
_NO_RETRIES: Final = RetryPolicy(tries=1)
"""A batch retries jobs itself, and adapts its calls to rejections."""


class _Format(str, Enum):
    PNG = "png"
    JPG = "jpg"
    WEBP = "webp"
    AVIF = "avif"
    BMP = "bmp"
    TIFF = "tiff"


def batch(
    connection: ConnectionSettings,
    jobs: Annotated[
        Path,
        typer.Argument(
            metavar="JOBS",
            help="Folder of pictures, or a list of jobs (.csv, .jsonl).",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="Folder for results and manifest.", show_default=False),
    ],
    *,
    controls: Controls,
    dpi: Dpi = None,
    style: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="Painting, or a folder of them; repeatable.", show_default=False),
    ] = None,
    server: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST[:PORT]",
            help="gRPC address of a server; repeatable.",
            envvar=ENVIRONMENT["server"],
            show_envvar=False,
            rich_help_panel=CONNECTION_PANEL,
            show_default=DEFAULT_SERVER,
        ),
    ] = None,
    version_label: VersionLabel = None,
    file_format: Annotated[
        _Format, typer.Option("--format", metavar="NAME", help=f"Format of unnamed results: {', '.join(_Format)}.")
    ] = _Format.PNG,
    concurrency: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Calls at once to each server.",
            show_default="adapts to the server",
        ),
    ] = None,
    timeout: Timeout = None,
    retries: Annotated[
        int, typer.Option(metavar="N", help="Retries of a job after a late or damaged answer.")
    ] = _DEFAULTS.retries,
    patience: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="Time to retry while no server accepts work.",
        ),
    ] = _DEFAULTS.patience_s,
    as_json: Json = False,
) -> None:
    """Paint many pictures; a second run paints only the missing ones."""
    started = time.monotonic()
    defaults = JobDefaults(controls=controls, extension=f".{file_format.value}", dpi=dpi)
    found = _jobs(jobs, style or [], output, defaults)

    settings = BatchSettings(concurrency=concurrency, timeout_s=timeout, retries=retries, patience_s=patience)

    from ..api.client import StyleClient  # noqa: PLC0415
    from ..batch.runner import run_batch  # noqa: PLC0415

    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(
                StyleClient(settings=replace(connection, server=each, retry=_NO_RETRIES), version_label=version_label)
            )
            for each in server or [DEFAULT_SERVER]
        ]
        display = stack.enter_context(batch_display(len(found)))
        results = run_batch(found, clients, output, settings=settings, on_progress=display.progress)
        for result in stack.enter_context(contextlib.closing(results)):
            display.result(result)
    summary = display.counts.summary(output, time.monotonic() - started)
    print_summary(summary, as_json=as_json)


def _jobs(source: Path, styles: list[Path], output: Path, defaults: JobDefaults) -> tuple[Job, ...]:
    if not source.is_dir():
        if not source.exists():
            kind = "folder" if styles else "folder or list of jobs"
            raise JobListError(f"there is no {kind} {source}", hint="Name the pictures to paint.")
        if styles:
            raise JobListError("--style is for a folder of pictures", hint="In a list, each job names its style.")
        return read_jobs(source, defaults)
    if output.resolve() in {folder.resolve() for folder in (source, *styles)}:
        raise JobListError(
            f"the results would be among the pictures, in {output}", hint="Name another folder with --output."
        )
    return folder_jobs(source, styles, defaults)
