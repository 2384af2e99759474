"""Prints, whose runs continue from their pictures alone, against the embedded server. A print is any picture here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from styleserve.client import Controls, SavedRun, SavedRunError, StyleClient, StylizedResult, TooLarge
from styleserve.client.api import state_size
from styleserve.client.wire import requests

pytest.importorskip("tensorflow", reason="the embedded server needs TensorFlow")

SIZES = [(32, 14), (64, 6)]
CONTROLS = Controls(steps=24, max_side=64, octaves=2, start_noise=0.2, seed=5)


@pytest.fixture(scope="module")
def address(tiny_model_base: Path) -> Iterator[str]:
    from styleserve.serving import EmbeddedServer, ServerSettings  # noqa: PLC0415

    with EmbeddedServer(tiny_model_base, settings=ServerSettings(port=0)) as server:
        yield server.address


@pytest.fixture
def client(address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[StyleClient]:
    monkeypatch.setattr(state_size.StateSize, "is_print", lambda _, pixels: pixels > 40 * 40)
    monkeypatch.setattr(state_size, "PRINT_STEPS", 2)
    with StyleClient(address) as client:
        yield client


def assert_same(one: StylizedResult | None, other: StylizedResult) -> None:
    assert one is not None
    assert one.image_bytes == other.image_bytes
    np.testing.assert_array_equal(one.losses, other.losses)


def test_progress_does_not_change_a_print(client: StyleClient, content: Path, style: Path) -> None:
    whole = client.stylize(content, style, CONTROLS)
    found = list(client.stylize_iter(content, style, CONTROLS, images=True))
    assert [(octave.max_side, octave.steps) for octave in whole.octaves] == SIZES
    assert [each.steps_done for each in found][-3:] == [16, 18, 20]
    for each in found[-3:]:
        assert not each.saved.state
        assert each.saved.start.startswith(b"\x89PNG")
    assert_same(found[-1].result, whole)


def test_an_interrupted_print_becomes_the_same_picture(
    client: StyleClient, content: Path, style: Path, tmp_path: Path
) -> None:
    whole = client.stylize(content, style, CONTROLS)
    run = client.stylize_iter(content, style, CONTROLS)
    middle = next(progress for progress in run if progress.steps_done == 16)
    file = middle.saved.save(tmp_path / "print.state")
    assert file.stat().st_size < 64 * 48 * 6 + 5000
    with pytest.raises(SavedRunError, match="begin from the pictures"):
        next(iter(client.stylize_iter(resume_from=SavedRun.load(file))))
    *_, last = client.stylize_iter(content, style, resume_from=SavedRun.load(file))
    assert_same(last.result, whole)


def test_a_finished_print_can_be_extended(client: StyleClient, content: Path, style: Path) -> None:
    controls = replace(CONTROLS, octaves=1, steps=4)
    *_, ended = client.stylize_iter(content, style, controls, final_state=True)
    *_, extended = client.stylize_iter(content, style, Controls(steps=6), resume_from=ended.saved)
    assert extended.steps_done == 6
    assert extended.saved.losses[-1, 0] < ended.saved.losses[-1, 0]


def test_the_size_decides_between_state_and_picture() -> None:
    size = state_size.StateSize
    assert not size("lbfgs").is_print(2200 * 2200)
    assert size("lbfgs").is_print(2300 * 2300)
    assert not size("adam").is_print(3100 * 3100)
    assert size("adam").is_print(3200 * 3200)
    assert size("lbfgs", has_reference=True).is_print(2200 * 2200)


def test_pictures_that_exceed_a_message_are_refused_before_they_are_sent(
    client: StyleClient, content: Path, style: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = content.stat().st_size + style.stat().st_size
    monkeypatch.setattr(requests, "MAX_MESSAGE_BYTES", 2**16 + size)
    assert client.stylize(content, style, replace(CONTROLS, octaves=1, steps=1)).steps == 1
    monkeypatch.setattr(requests, "MAX_MESSAGE_BYTES", 2**16 + size - 1)
    with pytest.raises(TooLarge, match=f"have {size:,} bytes together; a request holds {size - 1:,}"):
        client.stylize(content, style, replace(CONTROLS, octaves=1, steps=1))
