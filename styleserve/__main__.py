"""The command line: registers the commands of every package."""

from __future__ import annotations

from typing import Annotated

import typer

from styleserve.bulk.command import register as register_bulk
from styleserve.client.cli.commands import register as register_client
from styleserve.client.cli.commands import version
from styleserve.client.cli.group import Commands
from styleserve.export.command import register as register_export
from styleserve.serving.command import register as register_serving
from styleserve.studio.command import register as register_studio
from styleserve.tensorflow_log import quieten_tensorflow


def _show_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


app = typer.Typer(
    name="styleserve",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Neural style transfer as a service: export a model, serve it, send it pictures."""


for register in (register_client, register_bulk, register_export, register_serving, register_studio):
    register(app)


def main() -> None:
    """Runs the command line."""
    quieten_tensorflow()
    app(prog_name="styleserve")


if __name__ == "__main__":
    main()
