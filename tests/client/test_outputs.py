from __future__ import annotations

import json
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from PIL import Image

from styleserve.client import OutputError
from styleserve.client.outputs import EXTENSIONS, check_output, save_image, write_atomically

TEXT = {"Software": "styleserve 9", "Model": "style_transfer", "Parameters": json.dumps({"steps": 3})}


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize("extension", [*EXTENSIONS, ".PNG"])
def test_every_extension_saves_the_picture_and_its_facts(tmp_path: Path, picture: Image.Image, extension: str) -> None:
    path = save_image(picture, tmp_path / f"out{extension}", text=TEXT)
    with Image.open(path) as saved:
        saved.load()
        assert saved.size == picture.size
        if saved.format == "PNG":
            assert {key: saved.info[key] for key in TEXT} == TEXT
        elif saved.format != "BMP":  # which has no place for them
            assert saved.getexif()[0x0131] == "styleserve 9"
            assert saved.getexif()[0x010E] == 'Model: style_transfer; Parameters: {"steps": 3}'
        if saved.format in ("JPEG", "AVIF"):
            assert np.abs(np.asarray(saved, np.int16) - np.asarray(picture, np.int16)).mean() < 2
        else:
            assert saved.convert("RGB").tobytes() == picture.tobytes()
    assert names(tmp_path) == [path.name]


def test_jpeg_keeps_its_colours(tmp_path: Path, picture: Image.Image) -> None:
    with Image.open(save_image(picture, tmp_path / "out.jpg", text={})) as saved:
        difference = np.asarray(saved, np.int16) - np.asarray(picture, np.int16)
    assert np.abs(difference).mean() < 1.5  # with halved colours, 4


def test_text_beyond_latin_1(tmp_path: Path, picture: Image.Image) -> None:
    for name in ("out.png", "out.jpg"):
        save_image(picture, tmp_path / name, text={"Model": "画風"})
    with Image.open(tmp_path / "out.png") as saved:
        assert saved.info["Model"] == "画風"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("out.gif", "has the extension '.gif'"),
        ("out", "has no extension"),
        ("missing/out.png", "there is no folder"),
        ("folder.png", "is a folder"),
    ],
)
def test_a_wrong_place_is_found_before_the_work(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputError, match=message):
        check_output(tmp_path / name)


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="needs a folder that nobody may write to")
def test_a_folder_that_cannot_be_written_to_is_found_before_the_work() -> None:
    with pytest.raises(OutputError, match="cannot write into the folder /proc"):
        check_output("/proc/out.png")


def test_checking_leaves_nothing_behind(tmp_path: Path) -> None:
    check_output(tmp_path / "out.png")
    assert names(tmp_path) == []


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device"), ValueError])
def test_a_failed_write_leaves_the_old_file(tmp_path: Path, failure: BaseException | type[BaseException]) -> None:
    path = tmp_path / "out.png"
    path.write_bytes(b"old")

    def fail(file: IO[bytes]) -> None:
        file.write(b"half")
        raise failure

    with pytest.raises((KeyboardInterrupt, OutputError, ValueError)) as caught:
        write_atomically(path, fail)
    if isinstance(failure, OSError):
        assert "No space left" in str(caught.value)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["out.png"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "target.png").write_bytes(b"old")
    link = tmp_path / "link.png"
    link.symlink_to("target.png")

    def write(file: IO[bytes]) -> None:
        file.write(b"new")

    write_atomically(link, write)
    assert link.is_symlink()
    assert (tmp_path / "target.png").read_bytes() == b"new"
