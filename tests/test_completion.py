"""Completion with Tab, as a shell asks for it: of a process, and in the shells that are here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAM = [sys.executable, "-m", "styleserve"]


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def script(shell: str) -> str:
    """What `--show-completion` shows in a shell; that goes by the process around it, a shell by this variable."""
    return run(*PROGRAM, _STYLESERVE_COMPLETE=f"source_{shell}").stdout


def asked(shell: str, line: str) -> str:
    words = line.split(" ")
    variables = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)} if shell == "bash" else {}
    done = run(
        *PROGRAM,
        _STYLESERVE_COMPLETE=f"complete_{shell}",
        _TYPER_COMPLETE_ARGS=line,
        _TYPER_COMPLETE_FISH_ACTION="get-args",
        **variables,
    )
    return done.stdout


CASES = {
    "styleserve sty": {"stylize"},
    "styleserve stylize --opti": {"--optimizer"},
    "styleserve stylize --optimizer ": {"lbfgs", "adam"},
    "styleserve batch --format w": {"webp"},
    "styleserve export --precision ": {"auto", "float32", "bfloat16"},
}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize("line", CASES)
def test_commands_options_and_choices_complete(shell: str, line: str) -> None:
    answer = asked(shell, line)
    assert [word for word in CASES[line] if word not in answer] == []
    assert "describe" not in answer


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_for_the_program_by_its_name(shell: str) -> None:
    shown = script(shell)
    assert "styleserve" in shown
    assert f"_STYLESERVE_COMPLETE=complete_{shell}" in shown


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH with a `styleserve` in it, whatever is installed."""
    program = tmp_path / "bin" / "styleserve"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m styleserve "$@"\n')
    program.chmod(0o755)
    return f"{program.parent}{os.pathsep}{os.environ['PATH']}"


def in_shell(name: str, code: str, path: str, folder: Path) -> list[str]:
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"there is no {name} here")
    done = run(program, "-c", f'cd "{folder}"; {code}', PATH=path, HOME=str(folder))
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes(tmp_path: Path, path: str) -> None:
    code = (
        f"{script('bash')}\nCOMP_WORDS=(styleserve stylize --optimizer '') COMP_CWORD=3\n"
        '_styleserve_completion styleserve; echo "${COMPREPLY[@]}"'
    )
    assert in_shell("bash", code, path, tmp_path) == ["lbfgs", "adam"]


def test_fish_completes_choices_and_files(tmp_path: Path, path: str) -> None:
    (tmp_path / "photo.jpg").touch()
    code = f"{script('fish')}\ncomplete -C "
    assert set(in_shell("fish", code + "'styleserve stylize --optimizer '", path, tmp_path)) == {"lbfgs", "adam"}
    assert "photo.jpg" in in_shell("fish", code + "'styleserve stylize '", path, tmp_path)


def test_zsh_takes_the_script(tmp_path: Path, path: str) -> None:
    shown = script("zsh").replace("'", "'\\''")
    code = f"autoload -U compinit; compinit -u; eval '{shown}'; print $_comps[styleserve]"
    assert in_shell("zsh", code, path, tmp_path) == ["_styleserve_completion"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_it_is_installed_for_the_shell_that_asks(shell: str, tmp_path: Path, path: str) -> None:
    shown = in_shell(shell, "styleserve --install-completion; true", path, tmp_path)
    assert "completion installed" in " ".join(shown)
    written = [each.read_text() for each in tmp_path.rglob("*") if each.is_file() and each.parent.name != "bin"]
    assert any("_STYLESERVE_COMPLETE" in text for text in written)
