"""The command `contact-sheet`."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from styleserve.client import PRESETS, ControlError, Controls
from styleserve.client.cli.commands import register
from styleserve.client.report.contact_sheet import default_entries, draw_sheet, varied_entries
from styleserve.client.wire.tensors import to_array

app = typer.Typer(pretty_exceptions_enable=False)
register(app)


def run(stub: Any, *arguments: object) -> Result:
    return CliRunner().invoke(app, ["contact-sheet", *map(str, arguments), "--server", stub.address])


def test_the_usual_sheet(stub: Any, content: Path, style: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    result = run(stub, content, style, "-o", out, "--steps", 4, "--json")
    assert result.exit_code == 0, result.output
    entries = json.loads(result.stdout)["cells"]
    assert list(entries) == [
        *(f"--preset {name}" for name in PRESETS),
        "--style-scale 0.5",
        "--style-scale 2",
        "--colors matched",
    ]
    assert all(each["max_side"] == 192 for each in entries.values())
    steps = [
        int(to_array(request.inputs["steps"], "")[0])
        for request in stub.paints
        if request.output_filter[-1] == "image_bytes"
    ]
    assert sum(steps) >= 4 * len(entries)
    with Image.open(out) as sheet:
        assert sheet.width == 2 * 24 + 4 * 192 + 3 * 16
        assert 3 * 128 < sheet.height < 3 * 300
        assert sheet.info["Settings"].startswith("--preset tutorial; --preset painter; ")


def test_labels_are_the_options_to_type(stub: Any, content: Path, style: Path, tmp_path: Path) -> None:
    """Each entry of a sheet is what `stylize` makes of its label."""
    vary = ("--vary", "style-weight=0.5,3", "--vary", "blend=2;1,1;2", "--steps", 3)
    result = run(stub, content, style, content, "-o", tmp_path / "sheet.png", *vary, "--json")
    assert result.exit_code == 0, result.output
    for label, controls in json.loads(result.stdout)["cells"].items():
        arguments = ["stylize", content, style, content, "-o", tmp_path / "o.png", *shlex.split(label), "--json"]
        common = ["--steps", 3, "--max-side", 192, "--server", stub.address]
        single = CliRunner().invoke(app, [*map(str, arguments), *map(str, common)])
        assert json.loads(single.stdout)["controls"] == controls


def test_cells_of_one_and_two_controls() -> None:
    base = Controls(steps=9)
    entries, columns = varied_entries(base, ["octaves=1,2,3"])
    assert [entry.label for entry in entries] == ["--octaves 1", "--octaves 2", "--octaves 3"]
    assert [entry.controls for entry in entries] == [Controls(steps=9, octaves=number) for number in (1, 2, 3)]
    assert columns == 3
    entries, columns = varied_entries(base, ["preset=bold,subtle", "noise=0,0.5,1"])
    assert (len(entries), columns) == (6, 3)
    assert entries[4].label == "--preset subtle --noise 0.5"
    assert entries[4].controls == Controls(steps=9, style_weight=0.3, start_noise=0.5)


def test_options_hold_for_all_cells() -> None:
    for entry in default_entries(Controls(style_weight=7, max_side=96)):
        assert entry.controls.max_side == 96
        if entry.label not in ("--preset bold", "--preset subtle"):
            assert entry.controls.style_weight == 7


@pytest.mark.parametrize(
    ("varied", "message"),
    [
        (["style-weight"], "--vary is 'style-weight'; it must be NAME=V1,V2"),
        (["nosuch=1,2"], "there is no control 'nosuch'"),
        (["steps=1,x"], "steps is 'x'; it must be a whole number"),
        (["steps=-1"], "steps is -1"),
        (["preset=nosuch"], "preset is 'nosuch'"),
        (["steps=1", "seed=1", "noise=1"], "--vary is given 3 times"),
    ],
)
def test_wrong_variations(varied: list[str], message: str) -> None:
    with pytest.raises(ControlError, match=re.escape(message)):
        varied_entries(Controls(), varied)


def test_a_sheet_of_a_run_that_ends_early_has_what_was_painted(
    stub: Any, content: Path, style: Path, tmp_path: Path, refusal: Any
) -> None:
    good, out = stub.predict, tmp_path / "sheet.png"
    lost = refusal(grpc.StatusCode.INTERNAL, "lost")
    stub.predict = lambda request: lost if to_array(request.inputs["steps"], "")[0] == 5 else good(request)
    result = run(stub, content, style, "-o", out, "--vary", "steps=3,4,5,6")
    assert result.exit_code == 10
    assert f"Note: 2 of 4 results are on {out}.\n" in result.stderr
    assert out.exists()


def test_a_sheet_replaces_no_picture(stub: Any, content: Path, style: Path) -> None:
    result = run(stub, content, style, "-o", style)
    assert result.exit_code == 5
    assert f"{style} is the style; the sheet would replace it" in result.stderr
    assert stub.requests == []


def test_every_picture_is_on_the_sheet() -> None:
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (90, 90, 90), (180, 180, 20)]
    pictures = [Image.new("RGB", (60, 40), colour) for colour in colours]
    sheet = draw_sheet(
        [("content", pictures[0]), ("style", pictures[1])],
        [("--a 1", pictures[2]), ("--b 2 " * 20, pictures[3]), ("--c 3", pictures[4]), ("--d 4", None)],
        2,
        60,
    )
    pixels = np.asarray(sheet)
    for colour in colours:
        found = (pixels == colour).all(axis=-1)
        assert found.sum() == 60 * 40
    assert sheet.width == 2 * 24 + 2 * 60 + 16
