from __future__ import annotations

import json
import multiprocessing
import threading
from pathlib import Path
from typing import Any

import pytest

from styleserve.client import OutputError, Record
from styleserve.client.batch.manifest import MANIFEST_NAME, Manifest, file_digest, remove_leftovers


def record(key: str = "k", **values: Any) -> Record:
    facts: dict[str, Any] = {
        "pictures": {"content": "a.jpg", "style": "s.png"},
        "output": f"{key}.png",
        "sha256": "0" * 64,
        "controls": {"steps": 3},
        "model": "m",
        "model_version": 42,
        "loss_first": 2.5,
        "loss_last": 1.5,
        "seconds": 0.1,
        "tries": 1,
    }
    return Record(key=key, **{**facts, **values})


def failure(key: str) -> Record:
    return record(key, sha256=None, model_version=None, error={"kind": "ImageError", "message": "no\npicture"})


def test_a_record_is_one_line_and_comes_back() -> None:
    for each in (record(output="ü\u2028.png"), failure("k")):
        assert each.line.count(b"\n") == 1
        assert each.line.endswith(b"\n")
        assert Record.from_line(each.line) == each
    assert list(json.loads(record().line)) == [
        "key",
        "pictures",
        "output",
        "sha256",
        "controls",
        "model",
        "model_version",
        "loss_first",
        "loss_last",
        "seconds",
        "tries",
        "error",
    ]


def test_what_was_appended_is_known_at_once_and_later(tmp_path: Path) -> None:
    with Manifest(tmp_path) as manifest:
        assert manifest.painted("k") is None
        assert not manifest.mentions("k.png")
        manifest.append(record())
        assert manifest.painted("k") == record()
    with Manifest(tmp_path) as manifest:
        assert manifest.painted("k") == record()
        assert manifest.mentions("k.png")


def test_nothing_is_appended_after_the_end(tmp_path: Path) -> None:
    with Manifest(tmp_path) as manifest:
        pass
    with (tmp_path / "other").open("wb"), pytest.raises(OutputError, match="is closed"):  # gets the free number
        manifest.append(record())
    assert (tmp_path / "other").read_bytes() == b""


def test_a_failure_is_no_picture_and_takes_none_away(tmp_path: Path) -> None:
    with Manifest(tmp_path) as manifest:
        manifest.append(failure("k"))
        assert manifest.painted("k") is None
        manifest.append(record())
        manifest.append(failure("k"))
    with Manifest(tmp_path) as manifest:
        assert manifest.painted("k") == record()


def test_cut_anywhere_it_keeps_every_whole_line(tmp_path: Path) -> None:
    """As after a crash, at each byte of the second record; what is appended next is read, too."""
    path = tmp_path / MANIFEST_NAME
    first, second, third = record("1").line, record("2").line, record("3")
    for length in range(len(second) + 1):
        path.write_bytes(first + second[:length])
        with Manifest(tmp_path) as manifest:
            assert manifest.painted("1") == record("1")
            whole = length >= len(second) - 1  # without its end of line it is whole
            assert (manifest.painted("2") is not None) == whole
            manifest.append(third)
        assert path.read_bytes() == first + (second if whole else b"") + third.line


def test_a_damaged_line_is_as_good_as_none(tmp_path: Path) -> None:
    lines = [record("1").line, b'{"key": 3\n', b'{"key": "4"}\n', b"[]\n", b"\xff\n", record("2").line]
    (tmp_path / MANIFEST_NAME).write_bytes(b"".join(lines))
    with Manifest(tmp_path) as manifest:
        assert manifest.painted("1") is not None
        assert manifest.painted("2") is not None
        assert manifest.painted("4") is None


def test_fields_of_a_later_version_are_passed_over() -> None:
    line = json.dumps({**json.loads(record().line), "mood": "blue"}).encode()
    assert Record.from_line(line) == record()


@pytest.mark.parametrize("text", ["x", "{}", '{"name": "a.png"}\n{"name": "b.png"}'])
def test_another_file_of_the_name_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / MANIFEST_NAME
    path.write_text(text)
    with pytest.raises(OutputError, match="not a manifest of this program"):
        Manifest(tmp_path)
    assert path.read_text() == text


def test_lines_of_several_threads_stay_whole(tmp_path: Path) -> None:
    with Manifest(tmp_path) as manifest:

        def append(part: int) -> None:
            for number in range(20):
                manifest.append(record(f"{part}-{number}"))

        threads = [threading.Thread(target=append, args=(part,)) for part in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = (tmp_path / MANIFEST_NAME).read_bytes().splitlines()
    assert len({Record.from_line(line).key for line in lines}) == 100


def _lock_and_die(folder: Path, locked: Any) -> None:
    Manifest(folder)
    locked.set()
    threading.Event().wait()


def test_one_run_at_a_time(tmp_path: Path) -> None:
    """Until it ends, however it ends."""
    context = multiprocessing.get_context("spawn")
    locked = context.Event()
    process = context.Process(target=_lock_and_die, args=(tmp_path, locked))
    process.start()
    try:
        assert locked.wait(30)
        with pytest.raises(OutputError, match=f"another run uses {tmp_path}"):
            Manifest(tmp_path)
    finally:
        process.kill()
        process.join()
    Manifest(tmp_path).close()


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / MANIFEST_NAME).mkdir()
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(OutputError, match="cannot open"):
            Manifest(folder)


def test_only_leftovers_are_removed(tmp_path: Path) -> None:
    for name in (".a.png.0123abcd.part", ".a.png", "a.png.part", ".part", ".a.0123abcg.part", "a.png"):
        (tmp_path / name).touch()
    remove_leftovers([tmp_path])
    assert {path.name for path in tmp_path.iterdir()} == {".a.png", "a.png.part", ".part", ".a.0123abcg.part", "a.png"}


def test_no_file_has_no_digest(tmp_path: Path) -> None:
    assert file_digest(tmp_path / "none") is None
    assert file_digest(tmp_path) is None
