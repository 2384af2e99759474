"""Group of commands: errors that all look the same, and help without types beside flags."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final, cast

import typer
from typer.core import TyperGroup

from .printing import print_message

_UsageError: Final = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[1])
"""Base class of errors in arguments: of click, or of the copy that newer versions of Typer bring."""


class Commands(TyperGroup):
    """Commands whose errors all look the same, and whose help has no `<bool>` beside flags, as newer Typers print."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - Typer's, of click or its copy of it
        """Context of the call, from its own options."""
        with _plain_usage_errors():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - likewise
        """Runs the command that the arguments name."""
        with _plain_usage_errors():
            return super().invoke(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401 - of click, or of Typer's copy of click
        """Command by its name."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            _without_types(command.get_params(ctx))
        return command

    def get_params(self, ctx: Any) -> Any:  # noqa: ANN401 - likewise
        """Options of the program itself."""
        return _without_types(super().get_params(ctx))


@contextmanager
def _plain_usage_errors() -> Generator[None]:
    """Prints wrong usage as all other errors, without the frame that Typer draws around it."""
    try:
        yield
    except _UsageError as error:
        if error.ctx is None or type(error).__name__ == "NoArgsIsHelpError":
            raise
        print_message(f"Error: {error.format_message()}\nTry '{error.ctx.command_path} --help'.")
        raise typer.Exit(error.exit_code) from error


def _without_types(parameters: Any) -> Any:  # noqa: ANN401 - a list of click's parameters
    for each in parameters:
        if getattr(each, "is_flag", False) and each.metavar is None:
            each.metavar = ""
    return parameters
