"""Examples in docstrings: each module that has some is one test."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("client", "export", "model", "serving", "studio")


def modules() -> list[str]:
    """Names of the modules with an example, those of a room below `styleserve`."""
    folders = [ROOT / "benchmarks", *(ROOT / "styleserve" / room for room in ROOMS)]
    paths = [*(ROOT / "styleserve").glob("*.py"), *(path for folder in folders for path in folder.rglob("*.py"))]
    with_examples = [path.relative_to(ROOT) for path in paths if ">>> " in path.read_text()]
    return sorted(".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in with_examples)


@pytest.mark.parametrize("name", modules())
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0


def test_every_room_has_examples() -> None:
    rooms = {name.split(".")[1] for name in modules() if name.startswith("styleserve.")}
    assert {"client", "contract", "model", "serving"} <= rooms
