"""Names of version directories, and paths that are one level too low or too high."""

from __future__ import annotations

from pathlib import Path

import pytest

from styleserve.version_directories import inside_a_version, misplaced, other_names, version_number, versions_on_disk


@pytest.mark.parametrize(
    ("name", "number"),
    [
        *[("1", 1), ("0", 0), ("1700000000", 1700000000), ("00000123", 123), ("0000", 0)],
        *[("-3", -3), ("+3", 3), (" 7", 7), ("7\n", 7), ("-0", 0)],
        *[(str(2**63 - 1), 2**63 - 1), ("0" * 30 + "5", 5), (str(-(2**63)), -(2**63))],
        *[(str(2**63), None), (str(-(2**63) - 1), None), ("1.5", None), ("1e3", None), ("0x1", None), ("1_0", None)],
        *[("", None), ("-", None), ("--1", None), ("- 1", None), ("1 2", None), ("v1", None), (".staging-9", None)],
        *[("2-staging", None), ("\u0663", None), ("1\u00a0", None)],
    ],
)
def test_names_are_read_as_tensorflow_serving_reads_them(name: str, number: int | None) -> None:
    assert version_number(name) == number


def test_only_directories_named_by_numbers_are_versions(tmp_path: Path) -> None:
    for name in ("1", "007", "2-staging", ".3"):
        (tmp_path / name).mkdir()
    (tmp_path / "5").write_text("a file")
    assert versions_on_disk(tmp_path) == {1: tmp_path / "1", 7: tmp_path / "007"}


def test_two_names_of_one_number(tmp_path: Path) -> None:
    for name in ("1", "0001", "01", "2"):
        (tmp_path / name).mkdir()
    assert versions_on_disk(tmp_path) == {1: tmp_path / "1", 2: tmp_path / "2"}
    assert other_names(tmp_path / "1") == ["0001", "01"]
    assert other_names(tmp_path / "2") == other_names(tmp_path / "nosuch" / "1") == []


def test_a_directory_that_cannot_be_read_is_no_empty_one(tmp_path: Path) -> None:
    assert versions_on_disk(tmp_path) == {}
    with pytest.raises(FileNotFoundError):
        versions_on_disk(tmp_path / "nosuch")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        versions_on_disk(tmp_path / "file")


def saved_model(path: Path, file: str = "saved_model.pb") -> Path:
    path.mkdir(parents=True)
    (path / file).touch()
    return path


@pytest.mark.parametrize("file", ["saved_model.pb", "saved_model.pbtxt"])
def test_a_version_is_no_base_path(tmp_path: Path, file: str) -> None:
    version = saved_model(tmp_path / "m" / "0012", file)
    (version / "assets").mkdir()
    for path in (version, version / "assets"):
        near = misplaced(path)
        assert near is not None
        assert near == inside_a_version(path)
        assert near.base_path == tmp_path / "m"
        assert file in near.fault


def test_a_link_to_a_version(tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(saved_model(tmp_path / "m" / "3"))
    near = misplaced(tmp_path / "current")
    assert near is not None
    assert near.base_path == tmp_path / "m"


def test_a_relative_path_of_a_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved_model(tmp_path / "m" / "3")
    monkeypatch.chdir(tmp_path)
    near = misplaced(Path("m/3"))
    assert near is not None
    assert near.base_path == Path("m")
    monkeypatch.chdir(tmp_path / "m" / "3")
    near = misplaced(Path())
    assert near is not None
    assert near.base_path == tmp_path / "m"


def test_a_model_outside_of_a_version_directory(tmp_path: Path) -> None:
    near = misplaced(saved_model(tmp_path / "mine"))
    assert near is not None
    assert near.base_path is None
    assert f"Move all to {tmp_path / 'mine' / '1'}" in near.fault
    assert inside_a_version(tmp_path / "mine") is None


def test_the_directory_of_models(tmp_path: Path) -> None:
    saved_model(tmp_path / "b" / "01")
    (tmp_path / "a" / "1").mkdir(parents=True)
    near = misplaced(tmp_path)
    assert near == ("has no version in it, but b in it has. Give that", tmp_path / "b")


def test_nothing_near(tmp_path: Path) -> None:
    saved_model(tmp_path / "m" / "1")
    for path in (tmp_path / "m", tmp_path / "nosuch"):
        assert misplaced(path) is None
