"""A studio in a process of its own, on a real embedded server, and a real browser in front of it."""

from __future__ import annotations

import base64
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, JSHandle, Page, sync_playwright

from styleserve.server_process import ServerProcess

ROOT = Path(__file__).parents[2]
CONTENT = ROOT / "demo" / "content.jpg"
STYLE = ROOT / "demo" / "style.jpg"
MOSAIC = ROOT / "demo" / "mosaic.jpg"

BROWSER_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_START_S = 60.0


def chromium() -> str | None:
    """Path of the system's Chromium; None where there is none."""
    named = os.environ.get("STYLESERVE_CHROMIUM")
    return named or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class StudioProcess:
    """`styleserve studio` on a free port, which can be ended and started again on the same port and folder."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self._options = options
        self._process: subprocess.Popen[str] | None = None
        self._lines: list[str] = []
        self.link = ""
        self.port = 0

    def start(self) -> None:
        command = [
            *(sys.executable, "-m", "styleserve", "studio", "--no-open", "--data", str(self.folder)),
            *("--port", str(self.port), *self._options),
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self._lines.clear()
        found = threading.Event()
        process = self._process

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                self._lines.append(line)
                if match := re.match(r"Studio: (http://\S+?:(\d+)/\S*)", line):
                    self.link, self.port = match[1], int(match[2])
                    found.set()
            found.set()

        self._reader = threading.Thread(target=read, daemon=True)
        self._reader.start()
        assert found.wait(_START_S), self.output
        assert process.poll() is None, self.output

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def output(self) -> str:
        return "".join(self._lines)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        self._process.wait(60)
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None


@pytest.fixture(scope="session")
def paint_server(tiny_model_base: Path) -> Generator[str]:
    """Address of an embedded server with the tiny model."""
    with ServerProcess(tiny_model_base) as server:
        yield server.address


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    """Chromium of the system."""
    path = chromium()
    if path is None:
        pytest.skip("there is no Chromium: install it (apt-get install chromium), or name one in STYLESERVE_CHROMIUM")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=BROWSER_FLAGS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def shared_studio(paint_server: str, tmp_path_factory: pytest.TempPathFactory) -> Generator[StudioProcess]:
    """Studio of a module."""
    studio = StudioProcess(tmp_path_factory.mktemp("studio"), "--server", paint_server)
    studio.start()
    yield studio
    studio.end()
    assert "Traceback" not in studio.output


@pytest.fixture
def own_studio(paint_server: str, tmp_path: Path) -> Generator[StudioProcess]:
    """Studio of one test."""
    studio = StudioProcess(tmp_path / "studio", "--server", paint_server)
    studio.start()
    yield studio
    studio.end()


@pytest.fixture(scope="module")
def session_state(browser: Browser, shared_studio: StudioProcess) -> dict[str, object]:
    """Cookies of a browser that opened the link."""
    context = browser.new_context()
    context.new_page().goto(shared_studio.link)
    state = context.storage_state()
    context.close()
    return dict(state)


@pytest.fixture
def page(browser: Browser, shared_studio: StudioProcess, session_state: dict[str, object]) -> Generator[Page]:
    """Page with an empty form, in a browser that has opened the link; its console must stay empty."""
    context = browser.new_context(storage_state=session_state, viewport={"width": 1280, "height": 800})
    page = context.new_page()
    errors = watch_console(page)
    open_page(page, f"{shared_studio.url}/new")
    yield page
    context.close()
    assert errors == []


def watch_console(page: Page) -> list[str]:
    """Errors of scripts and of the Content-Security-Policy, which are appended as they come."""
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console",
        lambda message: (
            errors.append(message.text)
            if message.type == "error" and "the server responded with a status of 4" not in message.text
            else None
        ),
    )
    return errors


def open_page(page: Page, url: str) -> None:
    """Opens an address and waits for its script."""
    page.goto(url)
    page.wait_for_selector("html[data-ready]")


def add_pictures(page: Page, *styles: Path, content: Path = CONTENT) -> None:
    """Chooses files for the photo and the styles, and waits until they are stored."""
    page.set_input_files("[data-content] [data-file]", content)
    page.wait_for_selector("[data-content][data-sha256]")
    page.set_input_files("[data-add-slot] [data-file]", list(styles))
    page.wait_for_selector(f"[data-styles] > [data-sha256]:nth-child({len(styles)})")


def set_steps(page: Page, steps: int) -> None:
    """Types the number of steps."""
    if page.get_attribute("[data-advanced]", "open") is None:
        page.click("[data-advanced] > summary")
    page.fill("[data-field=steps]", str(steps))


def wait_for_state(page: Page, state: str, timeout_s: float = 60.0) -> None:
    """Waits until the run on the stage has a state."""
    page.wait_for_selector(f".run[data-state={state}]", timeout=1000 * timeout_s)


def data_transfer(page: Page, *files: Path | tuple[str, bytes]) -> JSHandle:
    """Files as a drop or a paste brings them."""
    named = [(file.name, file.read_bytes()) if isinstance(file, Path) else file for file in files]
    encoded = [(name, base64.b64encode(data).decode()) for name, data in named]
    return page.evaluate_handle(
        """files => {
            const transfer = new DataTransfer();
            for (const [name, text] of files) {
                const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
                transfer.items.add(new File([bytes], name));
            }
            return transfer;
        }""",
        encoded,
    )
