"""The command line: the commands of every room, put together here and nowhere else."""

import typer

from styleserve.client.command import register as register_client
from styleserve.export.command import register as register_export
from styleserve.memory import keep_freed_memory
from styleserve.serving.command import register as register_serving
from styleserve.tensorflow_log import quieten_tensorflow

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
    quieten_tensorflow()
    keep_freed_memory()
    app(prog_name="styleserve")


if __name__ == "__main__":
    main()
