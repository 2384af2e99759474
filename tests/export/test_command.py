"""`styleserve export` on the command line: its limits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from styleserve.__main__ import app
from styleserve.contract import SIGNATURES, Limits
from styleserve.export import exporter
from styleserve.export.command import _Progress
from styleserve.sizing import memory_bytes

SMALL = (
    *("--weights", "random", "--precision", "float32"),
    *("--style-layers", "block1_conv1", "--content-layer", "block1_conv1"),
)


@pytest.mark.usefixtures("one_signature")
def test_limits_are_chosen_by_options(tmp_path: Path) -> None:
    limits = {
        "max_side": 48,
        "max_steps": 20,
        "max_batch": 2,
        "max_pixels": 900,
        "max_batch_pixels": 1300,
        "max_work": 0.03,
        "max_encoded_pixels": 4000,
        "max_encoded_bytes": 5000,
        "max_styles": 3,
    }
    options = [f"--{name.replace('_', '-')}={limit}" for name, limit in limits.items()]
    ran = CliRunner().invoke(app, ["export", "--output", str(tmp_path), *SMALL, *options])
    assert ran.exit_code == 0, ran.output
    (version,) = tmp_path.iterdir()
    card = json.loads((version / "assets.extra" / "model_card.json").read_text())
    assert card["limits"] == limits == Limits(**limits).numbers()  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("memory", "tile_pixels"),
    [([], None), (["--memory", "12.6GiB"], None), (["--memory", "6GiB"], (6 * 2**30 - (300 + 256) * 2048**2) // 2900)],
    ids=["default", "whole", "tiles"],
)
def test_memory_decides_on_tiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: list[str], tile_pixels: int | None
) -> None:
    monkeypatch.setattr(exporter, "validate", lambda *_: None)
    ran = CliRunner().invoke(app, ["export", "--output", str(tmp_path), *SMALL, "--max-side", "2048", *memory])
    assert ran.exit_code == 0, ran.output
    assert ("images of over" in ran.stderr) == (tile_pixels is not None)
    (version,) = tmp_path.iterdir()
    assert json.loads((version / "assets.extra" / "model_card.json").read_text())["tile_pixels"] == tile_pixels


def test_memory_that_is_too_small_says_how_much_is_needed(tmp_path: Path) -> None:
    options = ("--max-side", "8192", "--memory", "12GiB")
    ran = CliRunner().invoke(app, ["export", "--output", str(tmp_path), *SMALL, *options])
    assert ran.exit_code == 1
    assert "memory is 12 GiB; images of 67108864 pixels need at least 35.86 GiB" in ran.stderr


@pytest.mark.parametrize("memory", ["12", "GiB", "0GiB", "-1GiB", "1e3GiB", "12 KiB", "12GiB of RAM"])
def test_memory_needs_a_number_and_a_unit(memory: str) -> None:
    with pytest.raises(ValueError, match=r"give a number over 0 and one of MB, GB, MiB, GiB, as in 12GiB"):
        memory_bytes(memory)
    ran = CliRunner().invoke(app, ["export", f"--memory={memory}"])
    assert ran.exit_code == 2


@pytest.mark.parametrize("when", ["__getattr__", "export_model"], ids=["while-it-imports", "while-it-exports"])
def test_ctrl_c_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"styleserve.export.{when}", stopped)
    ran = CliRunner().invoke(app, ["export", "--output", str(tmp_path)])
    assert (ran.exit_code, ran.stdout) == (130, "")
    assert ran.stderr == "loading TensorFlow\nError: stopped with Ctrl-C; nothing was published\n"


def test_on_a_terminal_a_step_takes_the_place_of_the_one_before(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    progress = _Progress()
    progress.step(1, 2, "reload")
    progress.step(2, 2, "limits")
    progress.say("error: none")
    progress.close()
    shown = [f"\r{'checking 1 of 2: reload':<60}", f"\r{'checking 2 of 2: limits':<60}", "\n", "error: none\n"]
    assert capsys.readouterr().err == "".join(shown)


def test_defaults_are_within_the_limits(tmp_path: Path) -> None:
    options = ("--max-pixels", "400", "--max-work", "0.002")
    ran = CliRunner().invoke(app, ["export", "--output", str(tmp_path), *SMALL, *options])
    assert ran.exit_code == 0, ran.output
    lines = ran.stderr.splitlines()
    checks = ["reload", *SIGNATURES, "warm-up requests"]
    assert lines[lines.index("saving") + 1 :] == [
        f"checking {number} of {len(checks)}: {name}" for number, name in enumerate(checks, 1)
    ]
    (version,) = tmp_path.iterdir()
    defaults = json.loads((version / "assets.extra" / "model_card.json").read_text())["defaults"]
    assert (defaults["max_side"], defaults["steps"]) == (20, 5)


@pytest.mark.parametrize(
    ("option", "text"),
    [("--max-work=0", "max_work is 0.0; it must be over 0"), ("--max-encoded-bytes=3000000000", "at most 2147483647")],
)
def test_limits_that_make_no_sense(tmp_path: Path, option: str, text: str) -> None:
    ran = CliRunner().invoke(app, ["export", "--output", str(tmp_path), *SMALL, option])
    assert ran.exit_code == 2
    assert text in " ".join(ran.output.replace("│", " ").split())
    assert not list(tmp_path.iterdir())
