"""Messages on stderr, JSON on stdout, and the exit code of each error."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NoReturn

import typer

from ..errors import JobsFailed, ServiceError, StyleServeError
from ..transport.signals import signal_number, stop_reason, stoppable

_SIGNAL_EXIT_CODE: Final = 128
"""Plus the number of the signal: exit code of a program that a signal ended, as shells have it."""


def print_message(text: str) -> None:
    """Prints a message on stderr."""
    typer.echo(text, err=True)


def print_json(value: Mapping[str, Any]) -> None:
    """Prints an object on stdout."""
    typer.echo(json.dumps(value, allow_nan=False))


@contextmanager
def exit_on_error(as_json: bool) -> Generator[None]:
    """Prints an error of the block on stderr, and exits with its code.

    Args:
        as_json: Whether to print the error also as an object on stdout.
    """
    try:
        with stoppable():
            yield
    except StyleServeError as error:
        facts = {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
        if isinstance(error, ServiceError):
            facts |= {"status": error.status, "request_id": error.request_id, "tries": error.tries}
        _exit(error.exit_code, str(error), facts, as_json)
    except KeyboardInterrupt as error:
        text = str(error) or stop_reason(error)
        message, _, hint = text.partition("\n")
        code = _SIGNAL_EXIT_CODE + signal_number(error)
        _exit(code, text, {"kind": "KeyboardInterrupt", "message": message, "hint": hint}, as_json)


def exit_after_failed_jobs(error: JobsFailed, summary: Mapping[str, Any], *, as_json: bool) -> NoReturn:
    """Prints the error of a run in which jobs failed, with JSON beside its summary, and exits with its code."""
    facts = {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
    _exit(error.exit_code, str(error), facts, as_json, summary)


def _exit(
    code: int, text: str, facts: Mapping[str, str | int], as_json: bool, beside: Mapping[str, Any] | None = None
) -> NoReturn:
    print_message(f"Error: {text}")
    if as_json:
        print_json({**(beside or {}), "error": {**facts, "exit_code": code}})
    raise typer.Exit(code)
