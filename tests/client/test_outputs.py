from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from PIL import Image

from styleserve.client import OutputError
from styleserve.client.images.save import (
    EXTENSIONS,
    check_output,
    is_same_file,
    save_image,
    save_or_fall_back,
    write_atomically,
)

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
        ("pipe.png", "is not a regular file"),
        ("loop.png", "Too many levels of symbolic links"),
        ("\u5199" * 84 + ".png", "File name too long"),
        ("a\0b.png", "null"),
    ],
)
def test_a_wrong_place_is_found_before_the_work(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "loop.png").symlink_to("loop.png")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(OutputError, match=message):
        check_output(tmp_path / name)


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="needs a folder without permission to write")
def test_a_folder_that_cannot_be_written_to_is_found_before_the_work() -> None:
    with pytest.raises(OutputError, match="cannot write into the folder /proc"):
        check_output("/proc/out.png")


@pytest.mark.parametrize("extension", [".avif", ".webp"])
def test_a_format_that_pillow_lacks_is_found_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extension: str
) -> None:
    monkeypatch.setattr("PIL.features.check_module", lambda _: False)
    with pytest.raises(OutputError, match=f"this build of Pillow cannot write {extension}"):
        check_output(tmp_path / f"out{extension}")
    check_output(tmp_path / "out.png")


def test_a_disk_without_room_is_found_before_the_work(tmp_path: Path) -> None:
    check_output(tmp_path / "out.png", needed_bytes=1000)
    with pytest.raises(
        OutputError, match=r"out\.png may take 1,000,000,000,000,000,000 bytes, and its disk has [\d,]+ left"
    ):
        check_output(tmp_path / "out.png", needed_bytes=10**18)


def test_a_link_into_a_folder_that_cannot_be_written_to_is_found_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "out.png").symlink_to(tmp_path / "missing" / "out.png")
    with pytest.raises(OutputError, match=r"there is no folder .*missing"):
        check_output(tmp_path / "out.png")


@pytest.mark.parametrize("length", [240, 241, 255])
def test_a_name_as_long_as_file_systems_take(tmp_path: Path, picture: Image.Image, length: int) -> None:
    stem = "\u5199" * ((length - 4) // 3)
    path = tmp_path / f"{stem + 'a' * (length - 4 - 3 * len(stem))}.png"
    assert len(os.fsencode(path.name)) == length
    save_image(picture, path, text={})
    with Image.open(path) as saved:
        assert saved.size == picture.size
    assert names(tmp_path) == [path.name]


def test_a_result_that_cannot_be_saved_is_saved_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def save(path: Path) -> Path:
        write_atomically(path, lambda file: file.write(b"picture"))  # pyright: ignore[reportArgumentType]
        return path

    assert save_or_fall_back(save, tmp_path / "out.png") == tmp_path / "out.png"
    assert names(tmp_path / "here") == []
    with pytest.raises(OutputError, match=r"cannot write .*gone.out\.png: No such file or directory") as caught:
        save_or_fall_back(save, tmp_path / "gone" / "out.png")
    (name,) = names(tmp_path / "here")
    assert caught.value.hint == f"Saved as {name} instead."
    assert name.endswith(".png")
    assert Path(name).read_bytes() == b"picture"


def test_the_next_folder_is_tried_then_the_error_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    tried: list[Path] = []

    def save(path: Path) -> Path:
        tried.append(path.parent)
        if path.parent == tmp_path / "home":
            return path
        raise OutputError("full")

    with pytest.raises(OutputError, match="full") as caught:
        save_or_fall_back(save, tmp_path / "out.png")
    assert tried == [tmp_path, Path(), tmp_path / "home"]
    assert caught.value.hint.startswith(f"Saved as {tmp_path / 'home'}")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(OutputError, match=r"^full$"):
        save_or_fall_back(save, tmp_path / "out.png")


def test_one_file_by_several_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "a.png"
    file.touch()
    (tmp_path / "link.png").symlink_to(file)
    (tmp_path / "hard.png").hardlink_to(file)
    for other in ("a.png", "./a.png", "link.png", "hard.png", tmp_path / "a.png"):
        assert is_same_file(file, Path(other))
    assert not is_same_file(file, Path("b.png"))
    assert is_same_file(Path("new.png"), tmp_path / "NEW.png"), "one file on macOS and Windows, once it is there"
    assert not is_same_file(Path("new.png"), Path("newer.png"))


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
