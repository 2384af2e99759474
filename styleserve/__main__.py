"""The command line: the commands of every room, put together here and nowhere else."""

import typer

from styleserve.client.command import register as register_client
from styleserve.export.command import register as register_export
from styleserve.serving.command import register as register_serving

app = typer.Typer(
    name="styleserve",
    help="Neural style transfer as a service: export a model, serve it, send it pictures.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for register in (register_client, register_export, register_serving):
    register(app)


def main() -> None:
    """Runs the command line."""
    app()


if __name__ == "__main__":
    main()
