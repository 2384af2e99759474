"""The whole path once, as a user would go it: export a model, serve it, send it pictures, save what comes back.

This process is the client and never imports TensorFlow; exporting and serving are commands of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from PIL import Image, ImageOps
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from styleserve.client import Controls, Picture, StyleClient, StyleServeError, StylizedResult, load_picture
from styleserve.client.images.save import save_image
from styleserve.server_process import ServerProcess, ServerProcessError

DEMO: Final = Path(__file__).resolve().parent
CONTENT: Final = DEMO / "content.jpg"
STYLES: Final = (DEMO / "style.jpg", DEMO / "mosaic.jpg")
STYLIZED: Final = DEMO / "stylized.png"
REPORT: Final = DEMO / "report.png"

SIDE_PX: Final = 256
STEPS: Final = 25
"""After so many L-BFGS has done nearly all that it will: ten more lower the loss by a few percent."""
WATER_LINE: Final = 0.615
"""Top of the lake in the sample picture, as a share of its height."""
SOFT_EDGE: Final = 0.06
"""Height of the soft edge of the mask there, likewise."""
FETCH_TIMEOUT_S: Final = 15.0
"""Python and Keras take a few seconds to start; what remains is for the download of the weights (80 MB)."""
CACHED_TIMEOUT_S: Final = 60.0
"""Time to read weights from disk; it includes the start of Python and Keras, slow on a slow machine."""
CACHED_NAME: Final = "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
CACHED_BYTES: Final = 4 * 20_024_384
"""Size of the numbers alone. A smaller file is an incomplete download."""

FETCH_WEIGHTS: Final = "from styleserve.model import imagenet_weights; imagenet_weights()"

console = Console(highlight=False, soft_wrap=True)


class DemoError(Exception):
    """A step failed; the message holds what it printed."""


def main() -> int:
    """Runs the demo; returns the exit code."""
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="styleserve-demo-") as folder:
            base_path = Path(folder) / "style_transfer"
            weights = choose_weights()
            export(weights, base_path)
            with served(base_path) as address, StyleClient(address) as client:
                content, styles = load_picture(CONTENT), [load_picture(style) for style in STYLES]
                result = stylize(client, content, styles)
                step("Picture", shown(result.save(STYLIZED)))
                step("Report", shown(report(client, content, styles, result)))
    except (DemoError, ServerProcessError, StyleServeError) as error:
        console.print(f"[red]The demo failed:[/] {escape(str(error))}")
        return 1
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 130
    step("Done", f"{time.monotonic() - started:.0f} s")
    return 0


def step(name: str, text: str) -> None:
    """Says what happens."""
    console.print(f"[bold]{name:<10}[/] {escape(text)}")


def choose_weights() -> str:
    """Says and returns which: "imagenet" where Keras has them or can fetch them in a few seconds, else "random"."""
    command = [sys.executable, "-c", FETCH_WEIGHTS]
    timeout_s = CACHED_TIMEOUT_S if weights_are_cached() else FETCH_TIMEOUT_S
    with console.status("Looking for ImageNet weights"):
        try:
            found = subprocess.run(command, capture_output=True, timeout=timeout_s, check=False).returncode == 0  # noqa: S603
        except subprocess.TimeoutExpired:
            found = False
    if found:
        step("Weights", "ImageNet: this is style transfer as published.")
        return "imagenet"
    step(
        "Weights",
        "untrained, from a seed, because ImageNet weights cannot be had quickly: everything runs as it would, "
        "but the picture takes on the style's colours and grain, and little of its drawing. Judge no quality by it. "
        f'To have them: .venv/bin/python -c "{FETCH_WEIGHTS}"',
    )
    return "random"


def weights_are_cached() -> bool:
    """Whether Keras has the weights on disk, as far as their size tells."""
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras").expanduser()
    try:
        return (home / "models" / CACHED_NAME).stat().st_size >= CACHED_BYTES
    except OSError:
        return False


def export(weights: str, base_path: Path) -> None:
    """Exports a model into `base_path`."""
    command = ["export", "--weights", weights, "--output", str(base_path), "--max-side", str(SIDE_PX)]
    with console.status("Exporting: save, reload, check, publish"):
        done = subprocess.run(styleserve(*command), capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise DemoError(f"styleserve export ended with {done.returncode}: {done.stderr}")
    precision = next((line for line in done.stderr.splitlines() if line.startswith("precision:")), "")
    step("Export", f"version {Path(done.stdout.strip()).name}, checked; {precision}")


@contextmanager
def served(base_path: Path) -> Generator[str]:
    """Yields the address of an embedded server that serves `base_path`, in a process of its own."""
    server = ServerProcess(base_path)
    try:
        with console.status("Starting the embedded server: load, warm up"):
            server.start()
        step("Serve", f"embedded server on {server.address}")
        yield server.address
    finally:
        server.stop()


def stylize(client: StyleClient, content: Picture, styles: Sequence[Picture]) -> StylizedResult:
    """The stylised picture, with a bar while it is made: land and sky in the first style, the lake in the second."""
    land = horizon(content.image.size)
    controls = Controls(steps=STEPS, max_side=SIDE_PX)
    columns = (TextColumn("[bold]Stylize   [/]"), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    result: StylizedResult | None = None
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0)
        regions = [land, ImageOps.invert(land)]
        for progress in client.stylize_iter(content, styles, controls, content_regions=regions):
            text = f"step {progress.steps_done} of {progress.steps_total}"
            bar.update(task, completed=progress.fraction, description=text)
            result = progress.result
    assert result is not None  # noqa: S101 - the last chunk brings it
    width, height = result.image.size
    losses = result.losses[:, 0]
    sizes = ", ".join(str(octave.max_side) for octave in result.octaves)
    step(
        "Stylize",
        f"{width}x{height} pixels, two styles, {result.steps} steps of L-BFGS at {sizes} px over gRPC in "
        f"{result.timings.call_s:.1f} s; loss {losses[0]:.3g} -> {losses[-1]:.3g}",
    )
    return result


def horizon(size: tuple[int, int]) -> Image.Image:
    """Mask of all that is above the lake: white, with a soft edge."""
    height = size[1]
    rows = [min(max((WATER_LINE - (y + 0.5) / height) / SOFT_EDGE + 0.5, 0.0), 1.0) for y in range(height)]
    mask = Image.new("L", (1, height))
    mask.putdata([round(255 * row) for row in rows])
    return mask.resize(size)


def report(client: StyleClient, content: Picture, styles: Sequence[Picture], result: StylizedResult) -> Path:
    """Draws the report: pictures, loss curves, high frequencies and edges."""
    with console.status("Drawing the report"):
        return save_image(client.report(content, styles, result), REPORT, text=result.facts())


def shown(path: Path) -> str:
    """A path as short as it can be said here."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def styleserve(*arguments: str) -> list[str]:
    """A command of styleserve, by this very Python."""
    return [sys.executable, "-m", "styleserve", *arguments]


if __name__ == "__main__":
    sys.exit(main())
