"""The command: options, tables, and a file that is whole or not there."""

import json
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import soak
from benchmarks.bench import Bench
from benchmarks.results import Table, write_json
from benchmarks.settings import SoakSettings


@pytest.fixture
def soaked(monkeypatch: pytest.MonkeyPatch) -> list[SoakSettings]:
    """Settings that the part is called with; it returns one table."""
    calls: list[SoakSettings] = []

    def measure(settings: SoakSettings, _: Bench) -> list[Table]:
        calls.append(settings)
        return [Table("A table", [{"what": "x", "s": 0.25, "ratio": float("nan")}])]

    monkeypatch.setattr(soak, "measure", measure)
    return calls


def test_part_with_options(soaked: list[SoakSettings], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "new" / "figures.json"
    assert command.main(["soak", "--requests", "7", "--full", "--json", str(kept)]) == 0
    assert soaked == [SoakSettings(requests=7)]
    assert "A table" in capsys.readouterr().out
    document = json.loads(kept.read_text())
    assert document["parts"]["soak"]["settings"]["requests"] == 7
    assert document["parts"]["soak"]["tables"][0]["rows"] == [{"what": "x", "s": 0.25, "ratio": None}]
    assert set(document["machine"]["cpu_flags"]) == {"amx_bf16", "avx512_bf16", "avx512f", "avx2"}
    assert document["machine"]["versions"]["tensorflow"]
    assert [path.name for path in kept.parent.iterdir()] == ["figures.json"]


def test_part_that_fails_is_reported_and_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_settings: SoakSettings, _bench: Bench) -> list[Table]:
        raise RuntimeError("no such luck")

    monkeypatch.setattr(soak, "measure", fail)
    kept = tmp_path / "figures.json"
    assert command.main(["soak", "--json", str(kept)]) == 1
    assert "RuntimeError: no such luck" in capsys.readouterr().out
    assert json.loads(kept.read_text())["parts"]["soak"]["error"] == "RuntimeError: no such luck"


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    kept = tmp_path / "figures.json"
    write_json(kept, {"a": 1})
    with pytest.raises(TypeError):
        write_json(kept, {"a": object()})
    assert json.loads(kept.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [kept]
