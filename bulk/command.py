"""The commands `bulk`, `bulk status` and `bulk sheet`. Ray, pyarrow and fsspec are imported when they run."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from styleserve.client.batch.job import JobDefaults
from styleserve.client.cli.group import Commands
from styleserve.client.cli.options import CONNECTION_PANEL, Json, with_controls, with_settings
from styleserve.client.cli.print_options import Dpi
from styleserve.client.cli.printing import exit_after_failed_jobs, exit_on_error, print_json
from styleserve.client.errors import JobsFailed, StyleServeError
from styleserve.client.images.save import check_output, save_image
from styleserve.client.inputs.controls import Controls
from styleserve.client.transport.settings import ConnectionSettings

from .settings import BulkSettings

_RUN: Final = "run"
_RAY_PANEL: Final = "Ray"
_EXTRA: Final = "In styleserve's repository: pip install --constraint requirements.lock '.[bulk]'"


class _Bulk(Commands):
    """Group whose command `run` needs no name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - of click, or Typer's copy of it
        """Arguments, after the name of a command."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [_RUN, *args]
        return super().parse_args(ctx, args)


def register(app: typer.Typer) -> None:
    """Adds `bulk` to the command line."""
    bulk = typer.Typer(
        cls=_Bulk,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Paint any number of pictures on a Ray cluster: styleserve bulk JOBS -o OUT.",
    )
    bulk.command(name=_RUN)(with_settings(with_controls(run)))
    bulk.command()(status)
    bulk.command()(sheet)
    app.add_typer(bulk, name="bulk")


def run(
    connection: ConnectionSettings,
    jobs: Annotated[
        str,
        typer.Argument(
            metavar="JOBS", help="List of jobs: .parquet, .csv or .jsonl; a path or URL.", show_default=False
        ),
    ],
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="DIR", help="Folder or URL for results and ledger.", show_default=False),
    ],
    *,
    model: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Model that each worker serves for itself.", show_default=False),
    ] = None,
    controls: Controls,
    dpi: Dpi = None,
    file_format: Annotated[
        str, typer.Option("--format", metavar="EXT", help="Format of results whose job names none.")
    ] = "png",
    server: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST[:PORT]",
            help="Running server to use in place of --model; repeatable.",
            rich_help_panel=CONNECTION_PANEL,
            show_default=False,
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Ray cluster.",
            rich_help_panel=_RAY_PANEL,
            show_default="this machine",
        ),
    ] = None,
    workers: Annotated[
        str,
        typer.Option(metavar="N", help="Workers; auto: one for each GPU or machine.", rich_help_panel=_RAY_PANEL),
    ] = "auto",
    gpus_per_worker: Annotated[
        float, typer.Option(metavar="X", help="GPUs of a worker.", rich_help_panel=_RAY_PANEL)
    ] = BulkSettings.gpus_per_worker,
    calls: Annotated[
        int, typer.Option(metavar="N", help="Jobs at a time of a worker.", rich_help_panel=_RAY_PANEL)
    ] = BulkSettings.calls,
    dashboard: Annotated[
        bool, typer.Option(help="Serve Ray's dashboard on this machine.", rich_help_panel=_RAY_PANEL)
    ] = True,
    retries: Annotated[
        int, typer.Option(metavar="N", help="Retries of a job after a late or damaged answer.")
    ] = BulkSettings.retries,
    patience: Annotated[
        float, typer.Option(metavar="SECONDS", help="Time to retry while no server accepts work.")
    ] = BulkSettings.patience_s,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Repeat the jobs that failed in earlier runs.")
    ] = False,
    recheck: Annotated[
        bool, typer.Option("--recheck", help="Read all pictures again, to find those that changed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Paint a list of jobs; a second run paints only the missing ones."""
    started = time.monotonic()
    settings = BulkSettings(
        model=model,
        servers=tuple(server or ()),
        connection=connection,
        defaults=JobDefaults(controls=controls, extension=f".{file_format.lower().lstrip('.')}", dpi=dpi),
        address=address,
        workers=_worker_count(workers),
        gpus_per_worker=gpus_per_worker,
        calls=calls,
        retries=retries,
        patience_s=patience,
        retry_failed=retry_failed,
        recheck=recheck,
        dashboard=dashboard,
    )
    with _extra():
        from .display import bulk_display  # noqa: PLC0415
        from .runner import run_bulk  # noqa: PLC0415
    last = None
    with contextlib.closing(run_bulk(jobs, output, settings)) as progresses, bulk_display() as show:
        for last in progresses:
            show(last)
    assert last is not None  # noqa: S101 - a run ends with a progress
    facts = {
        "output": output,
        "jobs": last.total,
        "painted": last.painted,
        "done": last.done,
        "failed": last.failed,
        "seconds": round(time.monotonic() - started, 3),
    }
    if not as_json:
        typer.echo(
            f"{output}: {last.done} of {last.total} done, {last.painted} of them painted now, {last.failed} failed, "
            f"{facts['seconds']:.1f} s"
        )
    if last.failed:
        error = JobsFailed(
            f"{last.failed} of {last.total} jobs failed",
            hint=f"See `styleserve bulk status {output}`; --retry-failed repeats them.",
        )
        exit_after_failed_jobs(error, facts, as_json=as_json)
    if as_json:
        print_json(facts)


def status(
    output: Annotated[str, typer.Argument(metavar="OUT", help="Folder or URL of a run.", show_default=False)],
    *,
    as_json: Json = False,
) -> None:
    """Show how far a run is; also while it runs."""
    with exit_on_error(as_json), _extra():
        from .status import run_status  # noqa: PLC0415

        found = run_status(output)
        if as_json:
            print_json(found.to_json())
            return
        left = max(found.total - found.done - found.failed, 0)
        typer.echo(f"{output}: {found.done} of {found.total} done, {found.failed} failed, {left} left")
        if found.per_minute:
            typer.echo(f"{found.per_minute:.1f} pictures a minute, {found.seconds:.1f} s each")
        if left and found.dashboard:
            typer.echo(f"Dashboard of the last run: {found.dashboard}")
        for kind, count in sorted(found.errors.items()):
            typer.echo(f"{count} x {kind}")
        for failure in found.failures:
            typer.echo(f"  {failure.where}: {failure.message}")


def sheet(
    output: Annotated[str, typer.Argument(metavar="OUT", help="Folder or URL of a run.", show_default=False)],
    *,
    picture: Annotated[Path, typer.Option("--picture", "-p", metavar="FILE", help="Picture to write.")] = Path(
        "sheet.png"
    ),
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=600, help="Results on the sheet.")] = 24,
    side: Annotated[int, typer.Option(min=32, max=1024, help="Longest side of each, in pixels.")] = 192,
    seed: Annotated[int, typer.Option(help="Seed of the sample.")] = 0,
    as_json: Json = False,
) -> None:
    """Draw a contact sheet of a random sample of a run's results."""
    with exit_on_error(as_json), _extra():
        from .sheet import sample_sheet  # noqa: PLC0415

        check_output(picture)
        drawn, shown = sample_sheet(output, count, side, seed)
        save_image(drawn, picture, text={})
        if as_json:
            print_json({"picture": str(picture), "results": shown})
        else:
            typer.echo(f"{picture}: {shown} results")


def _worker_count(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal():
        raise typer.BadParameter(f"{text!r} is neither a number nor auto", param_hint="--workers")
    return int(text)


@contextlib.contextmanager
def _extra() -> Generator[None]:
    """Replaces the error of a missing package by one that names the extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise StyleServeError(f"{error}. `styleserve bulk` needs Ray and pyarrow", hint=_EXTRA) from error
