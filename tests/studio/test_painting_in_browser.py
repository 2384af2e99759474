"""From pictures to a painting in a real browser: uploads, masks, painting, viewing, downloads."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from playwright.sync_api import Page, expect

from styleserve.client import Controls, StyleClient

from .conftest import (
    CONTENT,
    MOSAIC,
    STYLE,
    StudioProcess,
    add_pictures,
    data_transfer,
    open_page,
    set_steps,
    wait_for_state,
)

pytestmark = pytest.mark.slow


def test_dropped_pictures_become_photo_and_styles(page: Page) -> None:
    page.dispatch_event("#stage", "drop", {"dataTransfer": data_transfer(page, CONTENT)})
    page.wait_for_selector("[data-content][data-sha256]")
    page.dispatch_event("[data-add-slot]", "drop", {"dataTransfer": data_transfer(page, STYLE, MOSAIC)})
    page.wait_for_selector("[data-styles] > [data-sha256]:nth-child(2)")
    assert page.locator("[data-content] [data-name]").inner_text() == "content.jpg"
    assert page.locator("[data-styles] [data-name]").all_inner_texts() == ["style.jpg", "mosaic.jpg"]
    assert page.locator("[data-styles] [data-control=style_blend]").count() == 2
    assert (
        page.locator("[data-content-image]").evaluate("image => image.decode().then(() => image.naturalWidth)") == 512
    )


def test_pasted_pictures_become_the_photo_then_a_style(page: Page) -> None:
    for file in (CONTENT, STYLE):
        page.evaluate(
            "data => document.body.dispatchEvent("
            "new ClipboardEvent('paste', {clipboardData: data, bubbles: true, cancelable: true}))",
            data_transfer(page, file),
        )
        page.wait_for_selector("[data-content][data-sha256]")
    page.wait_for_selector("[data-styles] > [data-sha256]")
    assert page.locator("[data-content] [data-name]").inner_text() == "content.jpg"
    assert page.locator("[data-styles] [data-name]").inner_text() == "style.jpg"


def test_refused_files_are_explained_beside_the_picture(page: Page) -> None:
    page.dispatch_event("[data-content]", "drop", {"dataTransfer": data_transfer(page, ("notes.txt", b"no picture"))})
    error = page.locator("[data-content] [data-error]")
    error.wait_for()
    assert "notes.txt" in error.inner_text()
    page.set_input_files(
        "[data-add-slot] [data-file]",
        {"name": "cut.jpg", "mimeType": "image/jpeg", "buffer": STYLE.read_bytes()[:3000]},
    )
    page.locator("[data-styles-error]").wait_for()
    assert "cut.jpg" in page.locator("[data-styles-error]").inner_text()
    assert page.locator("[data-styles] [data-style]").count() == 0


def test_sample_pair_and_swap(page: Page) -> None:
    page.click("[data-sample]")
    page.wait_for_selector("[data-styles] > [data-sha256]")
    names = page.locator("[data-content] [data-name], [data-styles] [data-name]")
    assert names.all_inner_texts() == ["content.jpg", "style.jpg"]
    page.click("[data-swap]")
    assert names.all_inner_texts() == ["style.jpg", "content.jpg"]


def test_a_value_out_of_range_is_explained_at_its_field(page: Page) -> None:
    add_pictures(page, STYLE)
    page.click("[data-advanced] > summary")
    page.fill("[data-field=start_noise]", "7")
    page.keyboard.press("Enter")
    error = page.locator("[data-field-error=start_noise]")
    error.wait_for()
    assert "from 0 to 1" in error.inner_text()
    assert page.locator("[data-field=start_noise]").get_attribute("aria-invalid") == "true"
    assert page.evaluate("document.activeElement.dataset.field") == "start_noise"


def test_every_control_of_the_contract_has_a_field(page: Page) -> None:
    page.click("[data-sample]")
    page.wait_for_selector("[data-styles] > [data-sha256]")
    shown = page.locator("[data-field]").evaluate_all("all => all.map(each => each.dataset.field)")
    per_style = page.locator("[data-styles] [data-control]").evaluate_all(
        "all => all.map(each => each.dataset.control)"
    )
    expected = {name for name in Controls.__dataclass_fields__ if name != "reference_weight"}
    assert {*shown, *per_style, "max_side"} == expected


def test_download_is_the_clients_result(page: Page, paint_server: str, tmp_path: Path) -> None:
    add_pictures(page, STYLE)
    set_steps(page, 12)
    page.check("input[name=preset][value=bold]", force=True)
    page.keyboard.press("Enter")
    wait_for_state(page, "done")
    page.click("[data-menu] summary")
    downloads: dict[str, bytes] = {}
    for kind in ("png", "tiff", "recipe"):
        with page.expect_download() as downloading:
            page.click(f"[data-download={kind}]")
        downloads[kind] = Path(downloading.value.path()).read_bytes()
        page.click("[data-menu] summary")
    controls = Controls(style_weight=4.0, steps=12, max_side=64, image_format="png16")
    with StyleClient(paint_server) as client:
        result = client.stylize(CONTENT.read_bytes(), [STYLE.read_bytes()], controls)
    assert downloads["png"] == result.save(tmp_path / "result.png").read_bytes()
    assert downloads["tiff"] == result.save(tmp_path / "result.tiff").read_bytes()
    assert tifffile.imread(io.BytesIO(downloads["tiff"])).dtype == np.uint16
    recipe = json.loads(downloads["recipe"])
    assert recipe["controls"] == result.recipe.controls.given()
    assert recipe["pictures"]["content"] == {"sha256": result.recipe.pictures.content.sha256}


def test_divider_moves_by_keyboard_and_zoom_shows_every_pixel(page: Page) -> None:
    add_pictures(page, STYLE)
    set_steps(page, 3)
    page.click("[data-paint]")
    wait_for_state(page, "done")
    divider = page.locator("[data-divider]")
    divider.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert divider.input_value() == "55"
    assert page.locator("[data-compare]").evaluate("frame => frame.style.getPropertyValue('--cut')") == "55%"
    page.click("[data-zoom=full]")
    assert page.locator("[data-compare]").bounding_box()["width"] == 64  # pyright: ignore[reportOptionalSubscript]


def test_masks_are_painted_by_mouse_and_by_keyboard(page: Page, shared_studio: StudioProcess) -> None:
    add_pictures(page, STYLE, MOSAIC)
    set_steps(page, 3)
    page.click("[data-mask-toggle]")
    page.locator("[data-mask-size]").fill("30")
    box = page.locator("[data-mask]").bounding_box()
    assert box is not None
    y = box["y"] + 0.8 * box["height"]
    page.mouse.move(box["x"] + 5, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 5, y, steps=12)
    page.mouse.up()
    page.click("[data-mask-chips] button:nth-child(2)")
    page.click("[data-mask-fill]")
    # The first style also gets the middle, by keyboard.
    page.locator("[data-mask]").focus()
    page.mouse.move(5, 5)
    page.keyboard.press("1")
    page.locator("[data-mask]").evaluate("canvas => canvas.blur()")
    page.locator("[data-mask]").focus()
    for key in ("ArrowUp", " ", "Shift+ArrowLeft"):
        page.keyboard.press(key)
    with page.expect_request(lambda request: request.url.endswith("/runs")) as sent:
        page.click("[data-paint]")
    asked = json.loads(sent.value.post_data or "")
    wait_for_state(page, "done")
    masks = [mask_levels(shared_studio, sha256) for sha256 in asked["regions"]]
    assert [mask.shape for mask in masks] == [(384, 512)] * 2
    assert (masks[0][330, 256], masks[1][330, 256]) == (255, 0)
    assert (masks[0][20, 256], masks[1][20, 256]) == (0, 255)
    assert np.abs(masks[0].astype(int) + masks[1] - 255).max() <= 2
    open_page(page, page.url)  # with the settings of the run, whose masks stay the same files
    with page.expect_request(lambda request: request.url.endswith("/runs")) as sent:
        page.click("[data-paint]")
    assert json.loads(sent.value.post_data or "")["regions"] == asked["regions"]
    page.wait_for_selector(".run[data-state=done]")


def mask_levels(studio: StudioProcess, sha256: str) -> np.ndarray:
    with Image.open(studio.folder / "pictures" / sha256) as image:
        return np.asarray(image.convert("L"))


def test_a_style_without_area_is_explained(page: Page) -> None:
    add_pictures(page, STYLE, MOSAIC)
    page.click("[data-mask-toggle]")
    page.click("[data-mask-fill]")
    page.click("[data-paint]")
    page.locator("[data-styles-error]").wait_for()
    assert "Style 2 has no area" in page.locator("[data-styles-error]").inner_text()


def test_use_again_fills_the_form(page: Page) -> None:
    add_pictures(page, STYLE, MOSAIC)
    set_steps(page, 4)
    page.check("input[name=preset][value=subtle]", force=True)
    page.locator("[data-control=style_blend]").nth(1).fill("0.25")
    page.locator("[data-control=style_scale]").nth(0).fill("-1")
    page.click("[data-paint]")
    wait_for_state(page, "done")
    link = page.get_attribute("[data-again]", "href") or ""
    assert "style_blend=0.75%2C0.25" in link
    open_page(page, page.url.split("/runs/")[0] + "/new")
    open_page(page, page.url.split("/new")[0] + link)
    assert page.locator("[data-styles] [data-name]").all_inner_texts() == ["style.jpg", "mosaic.jpg"]
    assert page.input_value("[data-field=steps]") == "4"
    assert page.locator("input[name=preset]:checked").get_attribute("value") == "subtle"
    assert page.locator("[data-control=style_blend]").nth(1).input_value() == "0.25"
    assert page.locator("[data-styles] output").all_inner_texts() == ["75 %", "\u00d7 0.5", "25 %", "\u00d7 1"]


def test_contact_sheet_then_paint_large(page: Page) -> None:
    add_pictures(page, STYLE)
    set_steps(page, 4)
    page.click("[data-sheet-start]")
    page.wait_for_selector(".contact[data-active='0']", timeout=60_000)
    looks = page.locator("[data-look]")
    assert looks.locator(".look-label").all_inner_texts()[:2] == ["Painter", "Bold"]
    assert looks.count() == 7
    page.locator("[data-look]", has_text="Bold").click()
    assert page.locator("input[name=preset]:checked").get_attribute("value") == "bold"
    page.click("[data-paint-large]")
    wait_for_state(page, "done")
    page.click("text=Settings of this picture")
    assert "bold" in page.locator(".facts").inner_text()
    page.go_back()
    page.wait_for_selector(".contact")
    sheet = page.locator(".shot:has(.badge)").count()
    page.on("dialog", lambda dialog: dialog.accept())
    page.click("[data-remove-sheet]")
    expect(page.locator(".shot:has(.badge)")).to_have_count(sheet - 1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_system(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # pyright: ignore[reportArgumentType]
    red, green, blue = (
        int(part)
        for part in page.evaluate("getComputedStyle(document.documentElement).backgroundColor")[4:-1].split(",")
    )
    brightness = (red + green + blue) / 3
    assert brightness < 60 if scheme == "dark" else brightness > 200


def test_everything_fits_a_phone(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    add_pictures(page, STYLE, MOSAIC)
    set_steps(page, 3)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.click("[data-paint]")
    wait_for_state(page, "done")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    small = page.locator("button:visible, summary:visible, a.button:visible").evaluate_all(
        "all => all.filter(each => each.getBoundingClientRect().height < 24).map(each => each.textContent)"
    )
    assert small == []
    page.click("[data-menu] summary")
    box = page.locator("[data-download=png]").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 360
