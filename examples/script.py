"""Paints a picture and prints its progress: python examples/script.py photo.jpg painting.jpg result.png.

The environment names the server (STYLESERVE_SERVER and so on); by default it is one on this machine.
"""

from __future__ import annotations

import sys

from styleserve.client import ConnectionSettings, Controls, StyleClient, StyleServeError


def paint(content: str, style: str, output: str, *, steps: int = 100) -> None:
    """Paints `content` in the style of `style`, and saves it as `output`."""
    with StyleClient(settings=ConnectionSettings.from_environment()) as client:
        for progress in client.stylize_iter(content, style, Controls(steps=steps)):
            loss = f"loss {progress.losses[-1, 0]:.4g}" if progress.steps_done else "no step yet"
            print(f"{progress.steps_done}/{progress.steps_total}: {loss}, {progress.seconds_left:.0f} s left")
            if progress.result is not None:  # the last chunk has it
                print(f"saved as {progress.result.save(output)}")


if __name__ == "__main__":
    try:
        paint(*sys.argv[1:])
    except StyleServeError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
