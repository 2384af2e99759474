"""Folders on a file system and in an object store, with the same behaviour."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from styleserve.bulk.folders import Folder, LocalFolder, RemoteFolder, folder_at, sha256
from styleserve.bulk.locations import read_picture
from styleserve.client import ImageError, OutputError, StyleServeError


@pytest.fixture(params=["local", "remote"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    place = tmp_path / "out"
    found = folder_at(str(place)) if request.param == "local" else folder_at(f"file://{place}")
    assert isinstance(found, LocalFolder if request.param == "local" else RemoteFolder)
    found.prepare()
    return pickle.loads(pickle.dumps(found))  # noqa: S301 - as Ray sends it to a worker


def test_files_come_back(folder: Folder) -> None:
    assert not folder.exists("a/b.bin")
    assert folder.names("a") == []
    folder.write("a/b.bin", b"one")
    folder.write("a/c.bin", b"two")
    assert folder.exists("a/b.bin")
    assert folder.read("a/b.bin") == b"one"
    assert folder.names("a") == ["a/b.bin", "a/c.bin"]
    folder.write("a/b.bin", b"three")
    assert folder.read("a/b.bin") == b"three"
    folder.write("a/b.bin", b"four", replace=False)
    assert folder.read("a/b.bin") == b"three"
    folder.remove("a/b.bin")
    folder.remove("a/b.bin")
    assert folder.names("a") == ["a/c.bin"]
    with pytest.raises(FileNotFoundError):
        folder.read("a/b.bin")


def test_a_picture_is_saved_by_its_own_writer(folder: Folder, tmp_path: Path) -> None:
    digest = folder.save("pictures/ab/abc.png", lambda path: path.write_bytes(path.suffix.encode()))
    assert digest == sha256(b".png")
    assert folder.read("pictures/ab/abc.png") == b".png"
    assert Path(folder.path_of("pictures/ab/abc.png")) == tmp_path / "out/pictures/ab/abc.png"


def test_what_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for location in (str(tmp_path / "file/out"), f"file://{tmp_path}/file/out"):
        with pytest.raises(OutputError, match=r"cannot write .*file/out"):
            folder_at(location).prepare()


def test_leftovers_are_removed(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    for name in ("pictures/ab/x.png", "pictures/ab/.styleserve.0123abcd.part", "ledger/.styleserve.0123abcd.part"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    folder.remove_leftovers()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["x.png"]


def test_pictures_are_read_within_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"12345")
    for location in (str(path), f"file://{path}"):
        assert read_picture(location, max_bytes=5) == b"12345"
        with pytest.raises(ImageError, match="has more than the 4 bytes allowed"):
            read_picture(location, max_bytes=4)
        with pytest.raises(ImageError, match="there is no file"):
            read_picture(f"{location}.gone")


def test_a_kind_of_url_without_its_package_says_how_to_get_it() -> None:
    with pytest.raises(StyleServeError, match=r"gs://bucket/out needs a package (?s:.*)pip install gcsfs"):
        folder_at("gs://bucket/out")
    with pytest.raises(StyleServeError, match="nothing://x cannot be used"):
        folder_at("nothing://x")
