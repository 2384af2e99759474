"""Options for prints: `--dpi` and `--size` of the commands, and the column `dpi` of a list of jobs."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tifffile
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from styleserve.client.cli.commands import register

app = typer.Typer(pretty_exceptions_enable=False)
register(app)


def run(stub: Any, *arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments), "--server", stub.address])


def dpi_of(path: Path) -> tuple[float, float]:
    with Image.open(path) as image:
        return image.info["dpi"]


@pytest.mark.parametrize("name", ["r.png", "r.tif", "r.jpg", "r.webp"])
def test_again_gives_the_same_file(stub: Any, content: Path, style: Path, tmp_path: Path, name: str) -> None:
    bits = 16 if name in ("r.png", "r.tif") else 8
    options = ("--steps", 3, "--bits", bits, "--size", "6x4cm", "--dpi", 100)
    painted = run(stub, "stylize", content, style, "-o", tmp_path / name, *options)
    assert painted.exit_code == 0, painted.output
    assert painted.stderr == "Size: 236 x 157 pixels, 5.99 x 3.99 cm at 100 dpi.\n"
    assert run(stub, "again", tmp_path / name, "-o", tmp_path / f"again-{name}").exit_code == 0
    assert (tmp_path / f"again-{name}").read_bytes() == (tmp_path / name).read_bytes()


def test_again_in_another_size_and_resolution(stub: Any, content: Path, style: Path, tmp_path: Path) -> None:
    first, larger, finer = (tmp_path / name for name in ("r.tif", "larger.tif", "finer.tif"))
    run(stub, "stylize", content, style, "-o", first, "--steps", 3, "--bits", 16, "--size", "6cm", "--dpi", 100)
    assert run(stub, "again", first, "-o", larger, "--size", "12cm").exit_code == 0
    assert run(stub, "again", first, "-o", finer, "--dpi", 200).exit_code == 0
    with Image.open(larger) as one, Image.open(finer) as other:
        assert (one.size, one.info["dpi"]) == ((472, 315), (100, 100))
        assert (other.size, other.info["dpi"]) == ((236, 157), (200, 200))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--dpi", 0), "dpi is 0; it must be a whole number from 1 to 10000"),
        (("--dpi", 10001), "dpi is 10001"),
        (("--size", "60x40cm"), "size is 60x40cm, but no resolution is given\nAdd one, such as --dpi 300."),
        (("--size", "60x40", "--dpi", 300), "size is '60x40'; it must be a print size in cm, mm, in"),
        (
            ("--size", "60cm", "--dpi", 300, "--max-side", 512),
            "size is 60cm, and max_side is 512: both set the size of the result\nGive --size or --max-side.",
        ),
        (("--size", "1mm", "--dpi", 72), "the longest side of the print has 3 pixels at 72 dpi; at least 16"),
    ],
)
def test_wrong_prints_are_refused_before_anything_is_sent(
    stub: Any, content: Path, style: Path, tmp_path: Path, options: tuple[object, ...], message: str
) -> None:
    result = run(stub, "stylize", content, style, "-o", tmp_path / "out.png", *options)
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith(f"Error: {message}")
    assert stub.requests == []


def test_a_run_that_ends_early_keeps_its_resolution(
    stub: Any, content: Path, style: Path, tmp_path: Path, refusal: Any
) -> None:
    good, out, calls = stub.predict, tmp_path / "out.tif", iter(range(100))
    stub.predict = lambda request: good(request) if next(calls) < 2 else refusal(grpc.StatusCode.INTERNAL, "lost")
    options = ("--steps", 9, "--octaves", 1, "--chunk-steps", 3, "--bits", 16, "--size", "6x4cm", "--dpi", 100)
    failed = run(stub, "stylize", content, style, "-o", out, *options)
    (command,) = re.findall(r"^Note: Resume with: styleserve (.*)$", failed.stderr, re.MULTILINE)
    stub.predict = good
    for steps in ("6", "9"):
        with Image.open(out) as picture:
            assert (picture.size, picture.info["dpi"]) == ((236, 157), (100, 100))
            assert f"Steps: {steps};" in picture.getexif()[270]
        resumed = CliRunner().invoke(app, shlex.split(command))
        assert resumed.exit_code == 0, resumed.output


def test_a_batch_writes_the_resolution(stub: Any, content: Path, style: Path, tmp_path: Path) -> None:
    jobs, out = tmp_path / "jobs.csv", tmp_path / "out"
    rows = ("content,style,output,image_format,dpi", f"{content},{style},a.tif,png16,", f"{content},{style},b.png,,150")
    jobs.write_text("\n".join(rows))

    def summary(*options: object) -> dict[str, Any]:
        done = run(stub, "batch", jobs, "-o", out, "--json", *options)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    summary("--dpi", 300)
    assert dpi_of(out / "a.tif") == (300, 300)
    assert dpi_of(out / "b.png") == pytest.approx((150, 150), abs=0.02)
    assert tifffile.imread(out / "a.tif").dtype == np.uint16
    stub.requests.clear()
    summary("--dpi", 300)
    assert stub.paints == []
    summary("--dpi", 200)  # another file: only that of the job without a resolution of its own
    assert len(stub.paints) == 1
    assert dpi_of(out / "a.tif") == (200, 200)
