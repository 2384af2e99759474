"""Claims of README, CHANGELOG and the page of commands. Snippets of all pages are tried in tests/documents."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from styleserve import __version__
from styleserve.__main__ import app
from styleserve.contract import CONTRACT_VERSION
from styleserve.serving import EmbeddedServer, ServerSettings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_readme_has_fewer_than_1000_words() -> None:
    assert len(README.split()) < 1000


def test_every_command_is_on_the_page_of_commands() -> None:
    page = (ROOT / "docs" / "call" / "command-line.md").read_text()
    shown = CliRunner().invoke(app, ["--help"]).output
    listed = re.findall(r"^│ ([a-z][a-z-]*) ", shown, re.MULTILINE)
    assert {"stylize", "contact-sheet", "export", "serve"} <= set(listed)
    assert [name for name in listed if f"`{name}" not in page and name != "version"] == []


def project() -> dict[str, Any]:
    """The table `project` of pyproject.toml."""
    toml = pytest.importorskip("tomllib", reason="tomllib is in Python 3.11 and later")
    return toml.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_every_dependency_has_a_row_on_its_page() -> None:
    groups = {"": project()["dependencies"], **project()["optional-dependencies"]}
    page = (ROOT / "docs" / "dependencies.md").read_text()
    assert [extra for extra in groups if f"`{extra}`" not in page and extra] == []
    packages = {match[0] for group in groups.values() for each in group if (match := re.match(r"[\w-]+", each))}
    assert len(packages) > 30
    words = set(re.findall(r"[\w-]+", page.replace("[and-cuda]", "")))
    assert packages - words - {"styleserve"} == set()


def test_both_extras_with_tensorflow_have_its_bounds() -> None:
    extras = project()["optional-dependencies"]
    (plain,) = [each for each in extras["tensorflow"] if each.startswith("tensorflow>")]
    assert [each.partition(";")[0] for each in extras["gpu"]] == [
        "styleserve[tensorflow]",
        plain.replace("tensorflow", "tensorflow[and-cuda]"),
    ]


@pytest.mark.slow
def test_python_of_the_readme_runs(
    tiny_model_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("photo.jpg", "painting.jpg")):
        pixels = np.random.default_rng(seed).integers(0, 255, (40, 60, 3), np.uint8)
        Image.fromarray(pixels).save(name)
    with EmbeddedServer(tiny_model_base, settings=ServerSettings(port=0)) as server:
        snippet = snippet.replace("127.0.0.1:8500", server.address).replace("steps=200", "steps=3")
        exec(compile(snippet, "README.md", "exec"), {})  # noqa: S102 - our own document
    with Image.open("result.png") as result:
        assert result.size == (64, 43)
    assert capsys.readouterr().out.startswith("1")  # a version is a time


def test_changelog_knows_the_versions() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert f"[{__version__}]" in changelog
    assert f"Wire contract {CONTRACT_VERSION}:" in changelog


def test_commands_are_listed_without_tensorflow() -> None:
    code = "import sys, styleserve.__main__; sys.exit(any(name.startswith('tensorflow') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
