"""The command line: the commands of every room, put together here and nowhere else."""

import os
from pathlib import Path

import typer

from styleserve.client.command import register as register_client
from styleserve.export.command import register as register_export
from styleserve.memory import keep_freed_memory
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
    quieten_tensorflow()
    keep_freed_memory()
    app(prog_name="styleserve")


def quieten_tensorflow() -> None:
    """Keeps TensorFlow's greeting off the terminal, and its complaint about CUDA where there is no NVIDIA device.

    TensorFlow reads the variable once, when it is imported, which the commands that need it do later.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if Path("/dev/nvidiactl").exists() else "3")


if __name__ == "__main__":
    main()
