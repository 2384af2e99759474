"""Completion with Tab: the program answers a shell by its name, with its own commands, options and choices."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from styleserve.__main__ import app

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("styleserve sty", {"stylize"}),
        ("styleserve stylize --opti", {"--optimizer"}),
        ("styleserve stylize --optimizer ", {"lbfgs", "adam"}),
        ("styleserve batch --format w", {"webp"}),
        ("styleserve export --precision ", {"auto", "float32", "bfloat16"}),
    ],
)
def test_commands_options_and_choices_complete(line: str, words: set[str]) -> None:
    environment = {"_STYLESERVE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": f"{line.count(' ')}"}
    assert set(CliRunner().invoke(app, env=environment, prog_name="styleserve").stdout.split()) == words


def test_bash_completes(tmp_path: Path) -> None:
    """With a `styleserve` in its PATH, and the script that this one shows."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash here")
    program = tmp_path / "styleserve"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m styleserve "$@"\n')
    program.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    code = (
        'eval "$(_STYLESERVE_COMPLETE=source_bash styleserve)"; COMP_WORDS=(styleserve stylize --optimizer "") '
        'COMP_CWORD=3; _styleserve_completion styleserve; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        [bash, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": path, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.stdout.split(), done.stderr) == (["lbfgs", "adam"], "")
