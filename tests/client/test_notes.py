"""Changes to a picture on reading it are reported to callers from a shell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from styleserve.client.cli.commands import register

app = typer.Typer(pretty_exceptions_enable=False)
register(app)

NOTE = "transparent parts were laid on white"


@pytest.fixture
def transparent(tmp_path: Path) -> Path:
    path = tmp_path / "transparent.png"
    Image.new("RGBA", (48, 64), (200, 40, 90, 100)).save(path)
    return path


def stderr_of(stub: Any, *arguments: object) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments), "--server", stub.address])
    assert result.exit_code == 0, result.output
    assert "Note" not in result.stdout
    return result.stderr


def test_stylize_tells_of_each_picture(stub: Any, transparent: Path, style: Path, tmp_path: Path) -> None:
    save = ("-o", tmp_path / "out.png")
    assert stderr_of(stub, "stylize", transparent, style, *save) == f"Note: {transparent}: {NOTE}.\n"
    both = stderr_of(stub, "stylize", transparent, transparent, *save)
    assert both == f"Note: {transparent}: {NOTE}.\n"
    assert stderr_of(stub, "stylize", style, style, *save) == ""


def test_describe_tells_of_its_picture(stub: Any, transparent: Path, style: Path) -> None:
    assert stderr_of(stub, "describe", transparent) == f"Note: {transparent}: {NOTE}.\n"
    assert stderr_of(stub, "describe", style) == ""
