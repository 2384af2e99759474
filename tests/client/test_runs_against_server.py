"""Runs in chunks and batches against the embedded server with a real, tiny model."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from styleserve.client import (
    AsyncStyleClient,
    Controls,
    Job,
    Optimizer,
    PictureSet,
    Progress,
    SavedRun,
    StyleClient,
    run_batch,
)

pytest.importorskip("tensorflow", reason="the embedded server needs TensorFlow")

SIDE = 64
STEPS = 12
OPTIMIZERS: tuple[Optimizer, ...] = ("adam", "lbfgs")


@pytest.fixture(scope="module")
def addresses(tiny_model_base: Path) -> Iterator[tuple[str, str]]:
    """Two replicas of one model."""
    from styleserve.serving import EmbeddedServer, ServerSettings  # noqa: PLC0415

    settings = ServerSettings(port=0)
    with (
        EmbeddedServer(tiny_model_base, settings=settings) as one,
        EmbeddedServer(tiny_model_base, settings=settings) as another,
    ):
        yield one.address, another.address


@pytest.fixture
def client(addresses: tuple[str, str]) -> Iterator[StyleClient]:
    with StyleClient(addresses[0]) as client:
        yield client


def assert_same_run(last: Progress, optimizer: Optimizer, client: StyleClient, content: Path, style: Path) -> None:
    whole = client.stylize(content, style, Controls(steps=STEPS, max_side=SIDE, optimizer=optimizer))
    result = last.result
    assert result is not None
    assert result.losses.shape == whole.losses.shape
    if optimizer == "adam":
        np.testing.assert_array_equal(result.losses, whole.losses)
        assert result.image.tobytes() == whole.image.tobytes()
    else:
        assert result.losses[-1, 0] < 1.02 * whole.losses[-1, 0]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_chunks_are_one_run(client: StyleClient, content: Path, style: Path, optimizer: Optimizer) -> None:
    run = client.stylize_iter(content, style, Controls(steps=STEPS, max_side=SIDE, optimizer=optimizer), chunk_steps=1)
    found = list(run)
    assert [each.steps_done for each in found] == list(range(1, STEPS + 1))
    assert_same_run(found[-1], optimizer, client, content, style)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_same_in_an_event_loop(client: StyleClient, content: Path, style: Path, optimizer: Optimizer) -> None:
    async def last() -> Progress:
        async with AsyncStyleClient(client.server) as waiting:
            run = waiting.stylize_iter(content, style, Controls(steps=STEPS, max_side=SIDE, optimizer=optimizer))
            return [progress async for progress in run][-1]

    assert_same_run(asyncio.run(last()), optimizer, client, content, style)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_each_chunk_on_another_replica(
    addresses: tuple[str, str], content: Path, style: Path, tmp_path: Path, optimizer: Optimizer
) -> None:
    """Through a file each time, as after a crash."""
    file = tmp_path / "run.styleserve"
    with StyleClient(addresses[0]) as one, StyleClient(addresses[1]) as another:
        run = one.stylize_iter(content, style, Controls(steps=STEPS, max_side=SIDE, optimizer=optimizer), chunk_steps=1)
        progress = next(iter(run))
        turn = 0
        while progress.steps_done < STEPS:
            progress.saved.save(file)
            turn += 1
            resumed = (one, another)[turn % 2].stylize_iter(resume_from=SavedRun.load(file), chunk_steps=1)
            progress = next(iter(resumed))
        assert turn > 1
        assert_same_run(progress, optimizer, one, content, style)


def test_a_version_that_goes_away_in_the_middle(
    tiny_model_base: Path, content: Path, style: Path, tmp_path: Path
) -> None:
    from styleserve.serving import EmbeddedServer, ServerSettings  # noqa: PLC0415

    source = next(path for path in tiny_model_base.iterdir() if path.name.isdigit())

    def add(version: int) -> None:
        staging = tmp_path / "staging"
        shutil.copytree(source, staging, ignore=shutil.ignore_patterns("assets.extra"))
        (tmp_path / "base").mkdir(exist_ok=True)
        staging.rename(tmp_path / "base" / str(version))

    add(1)
    settings = ServerSettings(port=0, poll_s=0.05)
    with EmbeddedServer(tmp_path / "base", settings=settings) as server, StyleClient(server.address) as client:
        run = client.stylize_iter(
            content, style, Controls(steps=STEPS, max_side=SIDE, optimizer="adam"), chunk_steps=1, images=True
        )
        chunks = iter(run)
        assert next(chunks).model_version == 1
        add(2)
        give_up_at = time.monotonic() + 60
        while [each.version for each in client.status() if each.available] != [2]:
            assert time.monotonic() < give_up_at, "version 2 does not come"
            time.sleep(0.05)
        found = list(chunks)
        assert found[-1].model_version == 2
        assert any("version 1 of the model went away after 1 steps" in note for note in found[-1].notes)
        assert all(isinstance(each.image, Image.Image) for each in found)
        assert_same_run(found[-1], "adam", client, content, style)


def test_a_batch_is_what_single_calls_are(
    addresses: tuple[str, str], content: Path, style: Path, tmp_path: Path
) -> None:
    jobs = [
        Job(
            pictures=PictureSet(content=a, styles=(b,)),
            output=f"{name}-{steps}.png",
            controls=Controls(steps=steps, max_side=SIDE),
        )
        for name, a, b in (("one", content, style), ("other", style, content))
        for steps in (0, 2, 3)
    ]
    with StyleClient(addresses[0]) as one, StyleClient(addresses[1]) as another:
        results = list(run_batch(jobs, [one, another], tmp_path / "out"))
        assert [result.error for result in results] == [None] * len(jobs)
        for job in jobs:
            single = one.stylize(**job.pictures.arguments(), controls=job.controls)
            with Image.open(tmp_path / "out" / job.output) as painted:
                assert painted.tobytes() == single.image.tobytes()
