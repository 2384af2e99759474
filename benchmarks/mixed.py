"""Memory of a server over many requests with pictures of random sizes.

Each thread of TensorFlow caches kernels for each size of a picture, up to a constant number (`sizing.KERNELS_MIB`).
"""

from __future__ import annotations

import io
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from styleserve import contract
from styleserve.client import Controls, StyleClient
from styleserve.server_process import ServerProcess
from styleserve.sizing import MIB, inter_op_threads, server_mib

from .bench import Bench
from .memory import memory_rows
from .results import Table
from .settings import MixedSettings

SHORTEST = 16
"""Shortest side that the network can process, in pixels."""


def measure(settings: MixedSettings, bench: Bench) -> list[Table]:
    """One table, a row after each tenth of the requests."""
    base_path = bench.model(settings.side)
    bench.say(f"mixed: {settings.requests} requests, {settings.concurrent} at a time")
    seeds = random.Random(0)  # noqa: S311 - sizes, no secrets
    with (
        ServerProcess(base_path, options=["--max-calls", str(settings.concurrent)]) as server,
        StyleClient(server.address) as client,
        ThreadPoolExecutor(settings.concurrent) as threads,
    ):

        def paint(seed: int) -> None:
            sizes = random.Random(seed)  # noqa: S311
            longest = sizes.randint(SHORTEST, settings.side)
            content, style = (_picture(longest, sizes) for _ in range(2))
            client.stylize(content, style, Controls(steps=settings.steps, max_side=longest, octaves=1))

        def requests(count: int) -> None:
            for _ in threads.map(paint, [seeds.getrandbits(32) for _ in range(count)]):
                pass

        rows = memory_rows(server.pid, requests, settings.requests)
    sizes = {"calls": settings.concurrent, "images": settings.concurrent, "pixels": settings.side**2}
    limit_mb = server_mib(**sizes, encoded_pixels=int(contract.Limits().numbers()["max_encoded_pixels"])) * MIB / 1e6
    notes = [
        f"paint, {settings.steps} step, sides {SHORTEST} to {settings.side} px, {settings.concurrent} at a time",
        f"{inter_op_threads(settings.concurrent)} inter-op threads; a deployment of so many has {limit_mb:.0f} MB",
    ]
    return [Table(f"A server's memory over {settings.requests} requests of random sizes", rows, notes)]


def _picture(longest: int, sizes: random.Random) -> bytes:
    """A PNG file of noise with a longest side, in pixels, and a random other side."""
    sides = [longest, sizes.randint(SHORTEST, longest)]
    sizes.shuffle(sides)
    pixels = np.random.default_rng(sizes.getrandbits(32)).integers(0, 256, (*sides, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
