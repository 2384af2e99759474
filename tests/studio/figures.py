"""Figures of the studio, in a real browser: `python -m tests.studio.figures --server HOST:PORT`.

First page, delay of a preview after its chunk, time of a run over the plain client's, and many tabs that watch one run.
docs/studio.md has the figures.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from benchmarks.memory import resident_mb
from styleserve.client import Controls, StyleClient

from .conftest import BROWSER_FLAGS, CONTENT, STYLE, StudioProcess, add_pictures, chromium, open_page, wait_for_state

_DELAYS = """() => {
    window.delays = [];
    document.addEventListener('preview', ({detail}) => delays.push(Date.now() / 1000 - detail.arrived));
}"""
_PAGE = """() => {
    const [page] = performance.getEntriesByType('navigation');
    const parts = performance.getEntriesByType('resource');
    const bytes = [page, ...parts].reduce((sum, each) => sum + each.transferSize, 0);
    return {ms: page.loadEventEnd, bytes, requests: parts.length + 1};
}"""


def main() -> None:
    """Measures and prints all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True, help="server with a model of at least --side pixels")
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--tabs", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    path = chromium()
    if path is None:
        parser.error("there is no Chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        studio = StudioProcess(Path(folder) / "studio", "--server", options.server)
        studio.start()
        browser = playwright.chromium.launch(executable_path=path, args=BROWSER_FLAGS)
        context = browser.new_context()
        page = context.new_page()
        open_page(page, studio.link)
        try:
            _first_page(browser, context, studio)
            add_pictures(page, STYLE)
            if options.repeats:
                _overhead(page, options)
            _tabs(context, page, studio, options)
        finally:
            browser.close()
            studio.end()


def _first_page(browser: Browser, context: BrowserContext, studio: StudioProcess) -> None:
    found: list[dict[str, float]] = []
    for _ in range(5):
        fresh = browser.new_context(storage_state=context.storage_state())  # an empty cache
        page = fresh.new_page()
        open_page(page, f"{studio.url}/new")
        found.append(page.evaluate(_PAGE))
        fresh.close()
    slowest = max(each["ms"] for each in found)
    print(
        f"first page: {statistics.median(each['ms'] for each in found):.0f} ms, at most {slowest:.0f} ms of 5;", end=" "
    )
    print(f"{found[0]['bytes'] / 1000:.0f} kB in {found[0]['requests']:.0f} requests", flush=True)


def _paint(page: Page, options: argparse.Namespace, steps: int) -> None:
    page.fill("[data-own-size]", str(options.side))
    if page.get_attribute("[data-advanced]", "open") is None:
        page.click("[data-advanced] > summary")
    page.fill("[data-field=steps]", str(steps))
    page.click("[data-paint]")


def _overhead(page: Page, options: argparse.Namespace) -> None:
    page.evaluate(_DELAYS)
    studio_s: list[float] = []
    client_s: list[float] = []
    controls = Controls(steps=options.steps, max_side=options.side, image_format="png16")
    for repeat in range(options.repeats + 1):  # the first prepares the server
        started = time.perf_counter()
        _paint(page, options, options.steps)
        page.wait_for_selector(".run:is([data-state=running], [data-state=queued])")
        wait_for_state(page, "done", 900)
        studio_s.append(time.perf_counter() - started)
        started = time.perf_counter()
        with StyleClient(options.server) as client:
            *_, last = client.stylize_iter(CONTENT.read_bytes(), [STYLE.read_bytes()], controls)
        client_s.append(time.perf_counter() - started)
        assert last.result is not None
        print(f"  run {repeat}: studio {studio_s[-1]:.2f} s, client with progress {client_s[-1]:.2f} s", flush=True)
    ratios = sorted(ours / theirs - 1 for ours, theirs in zip(studio_s[1:], client_s[1:], strict=True))
    print(f"over the plain client: median {statistics.median(ratios):+.1%} of {len(ratios)} pairs, from", end=" ")
    print(f"{ratios[0]:+.1%} to {ratios[-1]:+.1%}; {options.steps} steps at {options.side} px")
    delays = sorted(page.evaluate("delays"))
    print(f"preview after its chunk: median {statistics.median(delays):.2f} s,", end=" ")
    print(f"at most {delays[-1]:.2f} s of {len(delays)}", flush=True)


def _tabs(context: BrowserContext, page: Page, studio: StudioProcess, options: argparse.Namespace) -> None:
    before = resident_mb(studio.pid) or 0
    _paint(page, options, 20 * options.steps)
    wait_for_state(page, "running")
    url = page.url
    tabs = [context.new_page() for _ in range(options.tabs)]
    for tab in tabs:
        open_page(tab, url)
        tab.evaluate(_DELAYS)
    page.wait_for_timeout(20_000)
    delays = [tab.evaluate("delays") for tab in tabs]
    everywhere = [delay for each in delays for delay in each]
    print(f"{options.tabs} tabs: {min(map(len, delays))} to {max(map(len, delays))} previews each in 20 s;", end=" ")
    print(f"median {statistics.median(everywhere):.2f} s, at most {max(everywhere):.2f} s after the chunk;", end=" ")
    print(f"studio {before:.0f} MB before, {resident_mb(studio.pid):.0f} MB with the tabs", flush=True)
    tabs[0].keyboard.press("Escape")
    wait_for_state(tabs[-1], "stopped")


if __name__ == "__main__":
    main()
