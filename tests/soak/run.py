"""A soak from beginning to end: two models, a server in a process of its own, load, and what has to hold at the end."""

from __future__ import annotations

import shutil
from pathlib import Path

from styleserve.contract import Limits
from styleserve.server_process import ServerProcess
from tests.exported import export_once

from .load import Load, Seen

SLACK_MB = 150.0
"""Allowed growth of the server's memory from the end of the warm-up: a third model was just loaded, or was not.

And TensorFlow keeps a few kB of each step that failed or was stopped: half an hour makes 18,000 of them.
"""

SLACK_THREADS = 12
"""Threads of gRPC's pools that the warm-up had no need of. A session that stays open keeps 10, so two of them show."""

SLACK_FILES = 4

MAX_SIDE = 64


def export_sources(folder: Path) -> tuple[Path, Path]:
    """Two small models of different weights, each the directory of a version."""
    from styleserve.export import ExportSettings  # noqa: PLC0415 - imports TensorFlow

    first, second = (
        export_once(
            ExportSettings(
                output=folder / f"weights-{seed}",
                weights="random",
                seed=seed,
                precision="float32",
                style_layers=("block1_conv1", "block2_conv1"),
                content_layer="block2_conv2",
                limits=Limits(max_side=MAX_SIDE),
            )
        )
        for seed in (0, 1)
    )
    return first, second


def soak(
    sources: tuple[Path, Path],
    folder: Path,
    *,
    seconds: float,
    swap_every_s: float,
    workers: int = 3,
    seed: int = 0,
) -> Seen:
    """A third of the time to warm up, two to compare with it, and what was seen.

    Args:
        sources: see `export_sources`.
        folder: for the versions that are served.
        seconds: Time of load, without starting and stopping.
        swap_every_s: seconds between two new versions, or as long as one takes to load.
        workers: calls at a time.
        seed: Seed of the order of calls.

    Raises:
        AssertionError: a call was answered wrongly, or the server holds more at the end than after the warm-up.
    """
    base_path = folder / "model"
    for version in (1, 2):
        shutil.copytree(sources[version - 1], base_path / str(version))
    with ServerProcess(base_path, options=["--poll-s", "0.2"]) as server:
        load = Load(server.address, server.pid, base_path, sources)
        try:
            load.begin()
            for number in range(3):
                load.run(seconds / 3, swap_every_s=swap_every_s, workers=workers, seed=seed + 1000 * number)
        finally:
            load.close()
    seen = load.seen
    warm, *_, end = seen.held
    assert not seen.faults, str(seen)
    assert end.resident_mb <= warm.resident_mb + SLACK_MB, f"its memory grew\n{seen}"
    assert end.threads <= warm.threads + SLACK_THREADS, f"its threads became more\n{seen}"
    assert end.files <= warm.files + SLACK_FILES, f"its open files became more\n{seen}"
    return seen
