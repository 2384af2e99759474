"""The site is built, with every warning an error, and says what the code says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest

from styleserve import contract
from styleserve.client import errors
from styleserve.client.batch.job_rows import COLUMNS
from styleserve.client.errors import exit_codes
from styleserve.client.transport import settings

from .blocks import ROOT

for module in ("sphinx", "myst_parser", "furo", "sphinx_copybutton"):
    pytest.importorskip(module, reason="the extra 'docs' is not installed")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make docs` builds it, in a Python without TensorFlow."""
    folder = tmp_path_factory.mktemp("site")
    blocked = "import sys\nfor name in ('tensorflow', 'keras', 'tensorflow_serving'): sys.modules[name] = None\n"
    run = "from sphinx.cmd.build import main\nsys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", blocked + run, "-W", "--keep-going", "-q", "-b", "html", "docs", str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def text_of(page: Path) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page.read_text())).split())


def pages(site: Path) -> Iterator[Path]:
    return (page for page in site.rglob("*.html") if page.stem not in ("genindex", "search", "py-modindex"))


def test_search_finds_errors_and_options(site: Path) -> None:
    index = (site / "searchindex.js").read_text().removeprefix("Search.setIndex(").removesuffix(")")
    terms = set(json.loads(index)["terms"])
    assert {"unavail", "resource_exhaust", "deadlineexceed", "threadpool", "canari"} <= terms
    assert terms & {"bfgs", "bfg"}  # as older and newer versions of Sphinx cut words down


def test_every_page_is_reached(site: Path) -> None:
    home = (site / "index.html").read_text()
    found = [str(page.relative_to(site)) for page in pages(site) if page.name != "index.html"]
    assert len(found) > 15
    assert [page for page in found if f'href="{page}"' not in home] == []


def test_nothing_half_made_is_left(site: Path) -> None:
    assert [page.name for page in pages(site) if re.search(r"\{\{|ForwardRef|Flow\[", text_of(page))] == []


def test_the_contract_is_complete(site: Path) -> None:
    text = text_of(site / "reference" / "contract.html")
    names = [
        *contract.SIGNATURES,
        *(field.name for each in contract.SIGNATURES.values() for field in (*each.inputs, *each.outputs)),
        "max_encoded_pixels",
    ]
    assert [name for name in names if name not in text] == []
    for columns in ("total variation", "total variation | reference"):  # a bar ends a cell
        assert f"total | style | content | {columns}]: by Adam before each step" in text


def test_every_column_of_a_list_of_jobs_is_described(site: Path) -> None:
    text = text_of(site / "batch.html") + text_of(site / "controls.html")
    named = [(column, f"--{column.replace('_', '-')}") for column in COLUMNS]
    assert [column for column, option in named if column not in text and option not in text] == []


def test_errors_exit_codes_and_variables_are_complete(site: Path) -> None:
    listed = text_of(site / "reference" / "client.html")
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and kind.__module__ == errors.__name__]
    assert [kind.__name__ for kind in kinds if kind.__name__ not in listed] == []
    shell = text_of(site / "reference" / "exit-codes.html")
    assert [meaning for meaning in exit_codes().values() if meaning not in shell] == []
    security = text_of(site / "deploy" / "security.html")
    assert [name for name in settings.ENVIRONMENT.values() if name not in security] == []


def test_the_reference_of_the_commands_has_every_option(site: Path) -> None:
    from typer.main import get_command  # noqa: PLC0415

    from styleserve.__main__ import app  # noqa: PLC0415

    text = text_of(site / "reference" / "commands.html")
    commands = dict(vars(get_command(app))["commands"])
    for name, group in vars(commands.pop("bulk"))["commands"].items():
        commands["bulk" if name == "run" else f"bulk {name}"] = group
    for name, command in commands.items():
        assert f"styleserve {name}" in text
        for parameter in command.params:
            for flag in [] if parameter.param_type_name == "argument" else parameter.opts + parameter.secondary_opts:
                assert flag in text, (name, flag)


def test_what_needs_tensorflow_is_described_without_it(site: Path) -> None:
    text = text_of(site / "reference" / "server.html")
    for said in (
        "EmbeddedServer",
        "calls that run at a time",
        "export_model",
        "StyleTransfer",
        "loss_scale",
        "start",
    ):
        assert said in text, said
