"""Long runs in a real browser: live preview, stop, resume, queue, reload, restarts of the studio."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from .conftest import STYLE, StudioProcess, add_pictures, open_page, set_steps, wait_for_state, watch_console

pytestmark = pytest.mark.slow

LONG = 20_000
"""Steps of a run that takes far longer than its test, before it is stopped."""


@pytest.fixture
def own_page(browser: Browser, own_studio: StudioProcess) -> Generator[Page]:
    """Page of a studio of its own, with pictures in the form."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    open_page(page, own_studio.link)
    add_pictures(page, STYLE)
    yield page
    context.close()


def paint(page: Page, steps: int) -> str:
    """Begins a run; returns its address."""
    set_steps(page, steps)
    page.click("[data-paint]")
    page.wait_for_selector("[data-run-id]")
    page.wait_for_url(re.compile("/runs/"))
    return page.url


def steps_done(page: Page) -> int:
    match = re.search(r"step (\d+) of", page.locator("[data-progress-text]").inner_text())
    return int(match[1]) if match else 0


def wait_for_preview(page: Page, number: int = 1) -> None:
    """Waits until so many pictures of the run have been shown."""
    expect(page.locator("[data-preview]")).to_be_visible(timeout=120_000)
    expect(page.locator("[data-preview]")).not_to_have_attribute(
        "data-number", re.compile(f"^[0-{number - 1}]$"), timeout=120_000
    )


def test_preview_progress_and_losses_of_a_run(own_page: Page) -> None:
    errors = watch_console(own_page)
    paint(own_page, LONG)
    wait_for_preview(own_page, 2)
    assert (
        0 < float(own_page.get_attribute("[data-progress]", "value") or 0) < 1
        or own_page.locator("[data-progress]").evaluate("bar => bar.value") > 0
    )
    assert re.search(r"step \d+ of 20000, .* left", own_page.locator("[data-progress-text]").inner_text())
    own_page.click("text=Loss curve")
    own_page.wait_for_selector(".losses .curve-total")
    assert "logarithmic" in (own_page.get_attribute(".losses", "aria-label") or "")
    assert own_page.title().endswith("% · Studio")
    own_page.keyboard.press("Escape")
    wait_for_state(own_page, "stopped")
    assert errors == []


def test_stop_keeps_the_picture_and_resume_continues(own_page: Page) -> None:
    paint(own_page, LONG)
    wait_for_preview(own_page, 2)
    own_page.keyboard.press("Escape")
    wait_for_state(own_page, "stopped")
    assert (
        own_page.locator("[data-after-image]").evaluate("image => image.decode().then(() => image.naturalWidth)") == 64
    )
    with own_page.expect_download() as downloading:
        own_page.click("[data-menu] summary")
        own_page.click("[data-download=png]")
    assert Path(downloading.value.path()).stat().st_size > 1000
    own_page.click("text=Settings of this picture")
    facts = own_page.locator(".facts").inner_text()
    stopped_at = int(re.search(r"(\d+) of 20000", facts)[1])  # pyright: ignore[reportOptionalSubscript]
    own_page.click("[data-resume]")
    wait_for_state(own_page, "running")
    expect(own_page.locator("[data-progress-text]")).to_contain_text("left", timeout=120_000)
    assert steps_done(own_page) >= stopped_at
    own_page.click("[data-stop]")
    wait_for_state(own_page, "stopped")


def test_a_run_goes_its_way_without_a_page(own_page: Page, own_studio: StudioProcess) -> None:
    url = paint(own_page, LONG)
    wait_for_preview(own_page)
    before = steps_done(own_page)
    own_page.reload()
    own_page.wait_for_selector("html[data-ready]")
    assert own_page.url == url
    wait_for_preview(own_page)
    assert steps_done(own_page) >= before
    context = own_page.context
    own_page.close()
    again = context.new_page()
    open_page(again, own_studio.url)
    wait_for_state(again, "running")
    wait_for_preview(again)
    assert steps_done(again) >= before
    again.keyboard.press("Escape")
    wait_for_state(again, "stopped")


def test_runs_wait_for_each_other(own_page: Page) -> None:
    first = paint(own_page, LONG)
    own_page.wait_for_selector(".run[data-state=running]")
    set_steps(own_page, 2)
    own_page.click("[data-paint]")
    wait_for_state(own_page, "queued")
    assert own_page.locator("[data-progress-text]").inner_text() == "Next in the queue"
    second = own_page.url
    assert second != first
    own_page.locator(f"[data-open='{first.split(':', 2)[2][5:]}']").click()
    wait_for_state(own_page, "running")
    own_page.click("[data-stop]")
    wait_for_state(own_page, "stopped")
    own_page.go_back()
    wait_for_state(own_page, "done")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_survives_a_restart_of_the_studio(own_page: Page, own_studio: StudioProcess, how: signal.Signals) -> None:
    url = paint(own_page, LONG)
    wait_for_preview(own_page, 2)
    own_studio.end(how)
    expect(own_page.locator("[data-server-text]")).to_have_text("The studio does not answer")
    own_studio.start()
    expect(own_page.locator("[data-server-text]")).to_contain_text("style_transfer", timeout=120_000)
    wait_for_state(own_page, "running")
    expect(own_page.locator("[data-progress-text]")).to_contain_text("left", timeout=120_000)
    assert steps_done(own_page) > 0
    assert own_page.url == url
    assert own_page.locator("[data-styles] [data-name]").inner_text() == "style.jpg"
    own_page.keyboard.press("Escape")
    wait_for_state(own_page, "stopped")


def test_a_removed_run_leaves_the_history(own_page: Page) -> None:
    paint(own_page, 2)
    wait_for_state(own_page, "done")
    expect(own_page.locator(".shot")).to_have_count(1)
    own_page.on("dialog", lambda dialog: dialog.accept())
    own_page.click("[data-remove-run]")
    own_page.wait_for_selector("[data-empty]:visible")
    assert own_page.locator(".shot").count() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="finds the server in /proc")
def test_an_embedded_server_that_dies_is_started_again(browser: Browser, tiny_model_base: Path, tmp_path: Path) -> None:
    studio = StudioProcess(tmp_path / "studio", "--model", str(tiny_model_base))
    studio.start()
    try:
        context = browser.new_context()
        page = context.new_page()
        open_page(page, studio.link)
        assert page.locator("text=Pictures go to this computer only.").is_visible()
        add_pictures(page, STYLE)
        paint(page, LONG)
        wait_for_preview(page, 2)
        before = steps_done(page)
        (server,) = children(studio.pid)
        os.kill(server, signal.SIGKILL)
        expect(page.locator("[data-server-text]")).to_contain_text("Starting it again", timeout=60_000)
        expect(page.locator("[data-server-text]")).to_contain_text("style_transfer", timeout=120_000)
        expect(page.locator("[data-progress-text]")).to_contain_text("left", timeout=120_000)
        assert steps_done(page) >= before
        page.keyboard.press("Escape")
        wait_for_state(page, "stopped")
        assert "the embedded server ended" in studio.output
        context.close()
    finally:
        studio.end()


def children(pid: int) -> list[int]:
    """Ids of the processes that a process has started."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(each) for task in tasks for each in task.read_text().split()]


def test_the_end_of_the_server_is_explained_and_the_run_kept(
    browser: Browser, tiny_model_base: Path, tmp_path: Path
) -> None:
    from styleserve.server_process import ServerProcess  # noqa: PLC0415

    with ServerProcess(tiny_model_base) as server:
        studio = StudioProcess(tmp_path / "studio", "--server", server.address)
        studio.start()
        try:
            context = browser.new_context()
            page = context.new_page()
            open_page(page, studio.link)
            add_pictures(page, STYLE)
            paint(page, LONG)
            wait_for_preview(page, 2)
            server.stop()
            wait_for_state(page, "failed", 120)
            assert server.address in page.locator(".run .error").inner_text()
            assert page.locator("[data-after-image]").is_visible()
            assert page.locator("[data-resume]").is_visible()
            context.close()
        finally:
            studio.end()
