"""Recipes in the files of results, and the command that repeats them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from styleserve.client import Controls, Recipe, RecipeError, StyleClient
from styleserve.client.cli.commands import register
from styleserve.client.wire.tensors import to_array

app = typer.Typer(pretty_exceptions_enable=False)
register(app)


def run(stub: Any, *arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments), "--server", stub.address])


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    path = tmp_path / "mask.png"
    Image.linear_gradient("L").save(path)
    return path


@pytest.fixture
def result(stub: Any, content: Path, style: Path, mask: Path, tmp_path: Path) -> Path:
    """Run of two styles, one of them in a region, in octaves."""
    (tmp_path / "out").mkdir()
    out = tmp_path / "out" / "r.png"
    controls = ("--blend", "2,1", "--steps", 5, "--max-side", 64, "--octaves", 2, "--colors", "matched")
    regions = ("--region", "-", "--region", mask)
    assert run(stub, "stylize", content, style, content, "-o", out, *controls, *regions).exit_code == 0
    stub.requests.clear()
    return out


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif"])
def test_every_format_but_bmp_holds_the_recipe(
    stub: Any, content: Path, style: Path, tmp_path: Path, suffix: str
) -> None:
    with StyleClient(stub.address) as client:
        painted = client.stylize(content, [style, content], Controls(steps=3, style_scale=(0.5, 1), octaves=1))
    recipe = Recipe.load(painted.save(tmp_path / f"r{suffix}"))
    assert recipe.controls == Controls(steps=3, style_scale=(0.5, 1), octaves=1, max_side=64)
    assert (recipe.model_name, recipe.model_version) == ("style_transfer", 42)
    assert recipe.pictures == painted.recipe.pictures
    assert recipe.pictures.content.path == content


def test_files_without_a_recipe(stub: Any, content: Path, style: Path, tmp_path: Path) -> None:
    with StyleClient(stub.address) as client:
        painted = client.stylize(content, style, Controls(steps=3))
    written = {**painted.facts(), "Recipe": '{"contract": 1}'}
    for path, message in (
        (content, "holds no recipe"),
        (painted.save(tmp_path / "r.bmp"), "holds no recipe"),
        (tmp_path / "none.png", "cannot be read: No such file"),
        (tmp_path / "text.png", "cannot be read: .* is not a picture"),
        (tmp_path / "other.png", "the recipe in .* cannot be used: its contract is 1, not 2"),
    ):
        (tmp_path / "text.png").write_text("text")
        from styleserve.client.images.save import save_image  # noqa: PLC0415

        save_image(painted.image, tmp_path / "other.png", text=written)
        with pytest.raises(RecipeError, match=message):
            Recipe.load(path)


def test_the_same_run_again(stub: Any, result: Path) -> None:
    again = run(stub, "again", result)
    assert again.exit_code == 0, again.output
    assert again.stdout.startswith(f"{result.with_name('r-again.png')}: 64 x 43 pixels, 4 steps of L-BFGS at 32, 64 px")
    assert result.with_name("r-again.png").read_bytes() == result.read_bytes()
    first, second = stub.paints
    assert to_array(first.inputs["style_blend"], "").tolist() == [[2.0, 1.0]]
    assert [bool(each) for each in to_array(second.inputs["content_region_bytes"], "")[0]] == [False, True]


@pytest.mark.usefixtures("result")
def test_the_folder_may_move_with_its_pictures(stub: Any, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in tmp_path.iterdir():
        if path != moved:
            path.rename(moved / path.name)
    again = run(stub, "again", moved / "out" / "r.png", "-o", moved / "again.png")
    assert again.exit_code == 0, again.output
    with Image.open(moved / "again.png") as image:
        assert json.loads(image.info["Recipe"])["pictures"]["content"]["path"] == "content.jpg"


def test_controls_and_pictures_named_anew(stub: Any, result: Path, content: Path, style: Path, tmp_path: Path) -> None:
    changes = ("--max-side", 128, "--blend", "1,3", "--content", style, "--style", content, "--style", style)
    again = run(stub, "again", result, "-o", tmp_path / "a.png", *changes, "--json")
    assert again.exit_code == 0, again.output
    found = json.loads(again.stdout)["controls"]
    assert found == {"max_side": 128, "style_blend": [1, 3], "steps": 5, "octaves": 2, "colors": "matched"}
    request = stub.paints[-1]
    assert to_array(request.inputs["content_bytes"], "")[0] == style.read_bytes()
    assert to_array(request.inputs["style_bytes"], "").tolist() == [[content.read_bytes(), style.read_bytes()]]


@pytest.mark.parametrize(
    ("name", "role", "option"),
    [
        ("style.png", "style 1", "--style"),
        ("mask.png", "content region 2", "--region"),
        ("content.jpg", "content", "--content"),
    ],
)
def test_pictures_that_are_missing_or_differ(
    stub: Any, result: Path, tmp_path: Path, name: str, role: str, option: str
) -> None:
    path = tmp_path / name
    shutil.move(path, tmp_path / "elsewhere")
    missing = run(stub, "again", result)
    assert missing.exit_code == 24
    assert missing.stderr.startswith(f"Error: the {role} of the run is missing: ")
    assert missing.stderr.endswith(f"{name}\nName it with {option} FILE.\n")
    Image.new("RGB", (9, 9)).save(path, "PNG")
    differs = run(stub, "again", result)
    assert differs.exit_code == 24
    assert f"the {role} of the run has changed since: " in differs.stderr
    assert stub.requests == []


def test_pictures_from_memory_have_to_be_named(stub: Any, content: Path, picture: Image.Image, tmp_path: Path) -> None:
    with StyleClient(stub.address) as client:
        client.stylize(picture, content, Controls(steps=3)).save(tmp_path / "r.png")
    again = run(stub, "again", tmp_path / "r.png")
    assert again.exit_code == 24
    assert "the content of the run came from memory, not from a file\nName it with --content FILE." in again.stderr
    assert run(stub, "again", tmp_path / "r.png", "--content", content).exit_code == 0


def test_another_version_is_noted(stub: Any, result: Path) -> None:
    stub.version = 43
    again = run(stub, "again", result)
    assert again.stderr == (
        f"Note: {result} was made by style_transfer version 42; another version may paint it differently.\n"
    )


def test_no_picture_of_the_run_is_replaced(stub: Any, result: Path, content: Path) -> None:
    for target, name in ((content, "content"), (result, "result")):
        again = run(stub, "again", result, "-o", target)
        assert again.exit_code == (5 if name == "content" else 0), again.output
