"""What all commands have in common."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from styleserve import __version__
from styleserve.__main__ import app

COMMANDS = ["stylize", "again", "contact-sheet", "batch", "describe", "status", "export", "serve", "deploy"]


def test_version_as_an_option_and_as_a_command() -> None:
    shown = [CliRunner().invoke(app, [word]).stdout for word in ("--version", "version")]
    assert shown == [f"styleserve {__version__}, wire contract 2\n"] * 2


@pytest.mark.parametrize("command", [[], *([each] for each in COMMANDS)], ids=lambda words: " ".join(words) or "none")
def test_help_by_either_name_without_the_type_of_flags(command: list[str]) -> None:
    short, long = (CliRunner().invoke(app, [*command, flag], env={"COLUMNS": "80"}) for flag in ("-h", "--help"))
    assert (short.exit_code, short.stdout) == (0, long.stdout)
    assert "Usage: " in short.stdout
    assert "--help" in short.stdout
    assert "<bool>" not in short.stdout


@pytest.mark.parametrize("command", ["stylize", "again", "contact-sheet", "batch"])
def test_help_fits_two_screens(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "80"}).stdout
    assert len(shown.splitlines()) <= 2 * 50
