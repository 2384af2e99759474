"""Help, version and errors of all commands."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from styleserve import __version__
from styleserve.__main__ import app

COMMANDS = [
    *("stylize", "again", "contact-sheet", "batch", "bulk", "describe"),
    *("status", "export", "serve", "deploy", "studio"),
]


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


@pytest.mark.parametrize(
    ("arguments", "message", "command"),
    [
        (["--nosuch"], "No such option: --nosuch", ""),
        (["nosuch"], "No such command 'nosuch'.", ""),
        (["status", "--nosuch"], "No such option: --nosuch", " status"),
        (["stylize", "a.jpg", "b.jpg"], "Missing option '--output' / '-o'.", " stylize"),
        (["stylize", "a.jpg", "b.jpg", "-o", "c.png", "--steps", "x"], "Invalid value for '--steps': ", " stylize"),
        (["serve", "--port", "-1"], "Invalid value for '--port': ", " serve"),
        (["export", "--max-work", "-1"], "Invalid value: ", " export"),
        (["deploy", "nowhere"], "Invalid value for ", " deploy"),
    ],
)
def test_wrong_usage_is_an_error_like_any_other(arguments: list[str], message: str, command: str) -> None:
    result = CliRunner().invoke(app, arguments, prog_name="styleserve")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"Error: {message}")
    assert result.stderr.endswith(f"\nTry 'styleserve{command} --help'.\n")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["deploy", "kubernetes", "--label", "x"], 1),
        (["status", "--server", "http://127.0.0.1"], 11),
        (["again", "nowhere.png"], 24),
        (["batch", "nowhere", "-o", "out"], 8),
    ],
)
def test_failures_of_all_commands_start_the_same_way(
    arguments: list[str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.startswith("Error: ")


@pytest.mark.parametrize("command", ["stylize", "again", "contact-sheet", "batch"])
def test_help_fits_two_screens(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "80"}).stdout
    assert len(shown.splitlines()) <= 2 * 50
