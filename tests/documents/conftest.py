"""The fake server of the client's tests, and a folder with all that the documents' snippets name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.client.conftest import content, draw, refusal, serve, stub, style

__all__ = ["content", "desk", "refusal", "serve", "stub", "style"]


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
    for name in [name for name in os.environ if name.startswith("STYLESERVE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("STYLESERVE_SERVER", stub.address)
    monkeypatch.chdir(tmp_path)

    return tmp_path
