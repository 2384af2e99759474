"""The command line: registers the commands of every package."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from styleserve.client.cli.commands import register as register_client
from styleserve.client.cli.commands import version
from styleserve.export.command import register as register_export
from styleserve.serving.command import register as register_serving
from styleserve.tensorflow_log import quieten_tensorflow


class Commands(TyperGroup):
    """Commands whose help shows flags without `<bool>`, which newer versions of Typer print."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401 - of click, or of Typer's copy of click
        """Command by its name."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            _without_types(command.get_params(ctx))
        return command

    def get_params(self, ctx: Any) -> Any:  # noqa: ANN401 - likewise
        """Options of the program itself."""
        return _without_types(super().get_params(ctx))


def _without_types(parameters: Any) -> Any:  # noqa: ANN401 - a list of click's parameters
    for each in parameters:
        if getattr(each, "is_flag", False) and each.metavar is None:
            each.metavar = ""
    return parameters


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


for register in (register_client, register_export, register_serving):
    register(app)


def main() -> None:
    """Runs the command line."""
    quieten_tensorflow()
    app(prog_name="styleserve")


if __name__ == "__main__":
    main()
