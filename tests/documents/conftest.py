"""The fake server of the client's tests, and a folder with all that the documents' snippets name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from styleserve.bulk.folders import LocalFolder
from styleserve.bulk.ledger import LedgerRow, LedgerWriter
from tests.client.conftest import content, draw, refusal, serve, stub, style

__all__ = ["content", "desk", "refusal", "serve", "stub", "style"]


def write_ledger(folder: Path) -> None:
    """The ledger of a bulk run, with a failed job."""
    ledger = LedgerWriter(LocalFolder(folder), "run", started_s=0.0)
    facts: dict[str, Any] = {"content": "a.png", "styles": ["b.png"], "seconds": 1.0, "worker": "host:1", "ended": 0.0}
    ledger.add(LedgerRow(key="0", status="failed", where="jobs.csv:2", error="ImageError", message="no", **facts))
    ledger.flush(0.0)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stub: Any) -> Path:
    """A folder to work in, with pictures, a list of jobs, and a server in the environment."""
    pictures = ("photo.jpg", "painting.jpg", "drawing.jpg", "start.jpg", "before.png", "photos/a.png", "photos/b.png")
    demo = ("demo/content.jpg", "demo/style.jpg")
    gallery = (
        *("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "lake.jpg"),
        *("swirl.jpg", "mosaic.jpg", "impasto.png", "glass.png", "ink.png", "saucer.png", "table.png"),
    )
    masks = ("sky.png", "ground.png", "strokes.png", "faces.png")
    for number, name in enumerate((*pictures, *demo, *masks, *gallery, "styles/c.png")):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        draw(40 + 4 * number, 32).save(path)
    (tmp_path / "jobs.csv").write_text("content,style\nphoto.jpg,painting.jpg\n")
    write_ledger(tmp_path / "results")
    for name in [name for name in os.environ if name.startswith("STYLESERVE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("STYLESERVE_SERVER", stub.address)
    monkeypatch.chdir(tmp_path)

    return tmp_path
