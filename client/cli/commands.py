"""Commands of the client.

Results go to stdout, messages to stderr. With `--json` stdout has exactly one JSON object. NumPy, Pillow and gRPC are
imported by the commands that need them, so that `--help` is quick.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from styleserve import __version__, contract

from ..errors import ModelNotReady, exit_codes
from ..inputs.controls import Controls
from ..transport.settings import ADMIN_TIMEOUT_S
from . import formatting
from .again import again
from .batch import batch
from .contact_sheet import contact_sheet
from .options import AdminTimeout, Json, Timeout, or_unset, with_client, with_controls, with_settings
from .printing import print_json, print_message
from .progress_display import spinner
from .stylize import stylize

if TYPE_CHECKING:
    from ..api.client import StyleClient


def register(app: typer.Typer) -> None:
    """Adds the client's commands to an application."""
    app.command()(with_client(with_controls(stylize)))
    app.command()(with_client(with_controls(again)))
    app.command(name="contact-sheet")(with_client(with_controls(contact_sheet)))
    app.command()(with_settings(with_controls(batch)))
    for command in (describe, status, metadata, wait):
        of_a_version = command not in (status, wait)
        app.command()(with_client(command, of_a_version=of_a_version))
    app.command()(version)
    app.command(name="exit-codes")(show_exit_codes)


def describe(
    client: StyleClient,
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="Picture to look at.", show_default=False)],
    *,
    max_side: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Longest side, in pixels, to resize to first.",
            show_default=f"at most {contract.MAX_SIDE.relative}",
        ),
    ] = None,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Show what the network sees in IMAGE: statistics of each layer."""
    controls = Controls(max_side=or_unset(max_side))
    picture = client.load_picture(image)
    size = None if max_side is None else controls.expected_max_side
    with spinner(f"Looking, on {client.server}"):
        found = client.describe(picture, size=size, timeout_s=timeout)
    if as_json:
        print_json({"image": str(image), "model": client.model_name, **formatting.description_json(found)})
        return
    for note in found.notes:
        print_message(f"Note: {image}: {note}.")
    typer.echo(formatting.description_table(found, f"{image}: {found.width} x {found.height} pixels"))


def status(client: StyleClient, *, timeout: AdminTimeout = ADMIN_TIMEOUT_S, as_json: Json = False) -> None:
    """Show the versions of the model; fails if none is available."""
    found = client.status(timeout_s=timeout)
    if not any(each.available for each in found):
        versions = ", ".join(map(str, found)) or "no version"
        raise ModelNotReady(
            f"{client.model_name!r} at {client.server}: {versions}", hint="Wait for it with `styleserve wait`."
        )
    if as_json:
        versions = formatting.versions_json(found)
        print_json({"model": client.model_name, "server": client.server, "versions": versions})
        return
    for each in found:
        typer.echo(f"{client.model_name} version {each.version}: {each.state} {each.error}".rstrip())


def metadata(client: StyleClient, *, timeout: AdminTimeout = ADMIN_TIMEOUT_S, as_json: Json = False) -> None:
    """Show contract version, limits and signatures of the model."""
    found = client.metadata(timeout_s=timeout)
    if as_json:
        print_json(formatting.metadata_json(found))
    else:
        typer.echo("\n".join(formatting.metadata_lines(found)))


def wait(
    client: StyleClient,
    *,
    timeout: Annotated[float, typer.Option("--timeout", metavar="SECONDS", help="How long to wait.")] = 120.0,
    as_json: Json = False,
) -> None:
    """Wait until the model is available."""
    with spinner(f"Waiting for {client.model_name} at {client.server}"):
        ready = client.wait_until_ready(timeout)
    if as_json:
        print_json({"model": client.model_name, "server": client.server, "version": ready.version})
    else:
        typer.echo(f"{client.model_name} version {ready.version}: {ready.state}")


def version(*, as_json: Json = False) -> None:
    """Show the version of this program and of the wire contract."""
    if as_json:
        print_json({"styleserve": __version__, "contract": contract.CONTRACT_VERSION})
    else:
        typer.echo(f"styleserve {__version__}, wire contract {contract.CONTRACT_VERSION}")


def show_exit_codes(*, as_json: Json = False) -> None:
    """Show what each exit code means."""
    codes = exit_codes()
    if as_json:
        print_json({"exit_codes": {str(code): meaning for code, meaning in codes.items()}})
        return
    for code, meaning in codes.items():
        typer.echo(textwrap.fill(meaning, 80, initial_indent=f"{code:>3}  ", subsequent_indent=" " * 5))
    typer.echo("For every failure of export, serve and deploy the code is 1.")
