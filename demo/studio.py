"""The studio from a fresh clone: exports a model if there is none, and opens the page."""

from __future__ import annotations

import os
import subprocess
import sys

from demo.run import choose_weights, step, styleserve
from styleserve.version_directories import DEFAULT_BASE_PATH, versions_on_disk

_LAYERS = ("--style-layers", "block1_conv1,block2_conv1,block3_conv1", "--content-layer", "block3_conv3")
"""Layers of the pictures in the documents."""


def main() -> int:
    """Exports a model and becomes the studio; returns the exit code of an export that failed."""
    if not DEFAULT_BASE_PATH.is_dir() or not versions_on_disk(DEFAULT_BASE_PATH):
        weights = choose_weights()
        step("Export", f"into {DEFAULT_BASE_PATH}, once; this takes a minute")
        command = styleserve("export", "--weights", weights, "--output", str(DEFAULT_BASE_PATH), *_LAYERS)
        done = subprocess.run(command, check=False)  # noqa: S603
        if done.returncode != 0:
            return done.returncode
    command = styleserve("studio", *sys.argv[1:])
    os.execv(command[0], command)  # noqa: S606 - Ctrl-C reaches the studio itself, which saves its run
    return 1


if __name__ == "__main__":
    sys.exit(main())
