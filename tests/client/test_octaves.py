"""Coarse-to-fine runs: their plan, each octave's start, progress, and resuming at any point."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from styleserve.client import (
    UNSET,
    ControlError,
    Controls,
    Progress,
    SavedRun,
    SavedRunError,
    StyleClient,
    load_picture,
)
from styleserve.client.inputs.octaves import FIRST_SHARE, LAST_SHARE, MIDDLE_SHARE, Octave, plan
from styleserve.client.wire.tensors import to_array

CONTROLS = Controls(max_side=128, steps=16, octaves=3)
PLAN = ((32, 10), (64, 6), (128, 4))


@pytest.fixture
def client(stub: Any) -> Iterator[StyleClient]:
    with StyleClient(stub.address) as client:
        yield client


def value(request: Any, name: str) -> Any:
    return to_array(request.inputs[name], "").reshape(-1)[0]


def test_the_plan_has_the_shares_of_steps() -> None:
    assert (FIRST_SHARE, MIDDLE_SHARE, LAST_SHARE) == (0.6, 0.4, 0.25)
    assert plan(1000, 50, 3, 0) == ((250, 30), (500, 20), (1000, 12))
    assert plan(512, 1, 3, 0) == ((128, 1), (256, 1), (512, 1))
    assert plan(512, 0, 3, 0) == ((512, 0),)
    assert plan(300, 10, UNSET, 128) == ((150, 6), (300, 2))
    assert len(plan(4096, 10, UNSET, 128)) == 3
    assert plan(128, 9, 4, 128) == plan(128, 9, 4, 0)
    assert plan(64, 9, 3, 128)[0] == Octave(16, 5)


@pytest.mark.parametrize(("max_side", "octaves", "most"), [(64, 4, 3), (31, 2, 1), (512, 7, 6)])
def test_octaves_below_the_smallest_picture_are_refused(max_side: int, octaves: int, most: int) -> None:
    with pytest.raises(ControlError, match=rf"octaves is {octaves}, but {max_side} pixels.*\n.*{most} or fewer"):
        plan(max_side, 10, octaves, 0)


def test_each_octave_starts_from_the_one_before(stub: Any, client: StyleClient, content: Path, style: Path) -> None:
    controls = Controls(start_noise=0.5, seed=3, style_scale=2, image_format="png").over(CONTROLS)
    result = client.stylize(content, style, controls, start=style)
    first, *later = stub.paints
    assert result.octaves == PLAN
    assert [(int(value(each, "max_side")), int(value(each, "steps"))) for each in stub.paints] == list(PLAN)
    assert [value(each, "image_format") for each in stub.paints] == [b"png16", b"png16", b"png"]
    assert value(first, "start_bytes") == style.read_bytes()
    assert (value(first, "start_noise"), value(first, "seed")) == (0.5, 3)
    for request in later:
        assert not {"start_noise", "seed", "state"} & set(request.inputs)
        assert {"content_bytes", "style_bytes", "style_scale"} <= set(request.inputs)
        assert value(request, "start_bytes")[24:26] == bytes((16, 2))
    sizes = [load_picture(value(each, "start_bytes")).image.size for each in later]
    assert sizes == [(32, 21), (64, 43)]
    assert (result.image.size, result.steps) == ((128, 85), 20)


def test_losses_of_all_octaves_follow_one_another(client: StyleClient, content: Path, style: Path) -> None:
    result = client.stylize(content, style, CONTROLS)
    expected = [(1e6 * 0.97 ** np.arange(steps)).astype(np.float32) for _, steps in PLAN]
    np.testing.assert_array_equal(result.losses[:, 0], np.concatenate(expected))


def test_the_model_decides_on_octaves(stub: Any, client: StyleClient, content: Path) -> None:
    stub.with_limits(smallest_octave=128)
    large = Controls(max_side=512, steps=4)
    assert len(client.stylize(content, content, large).octaves) == 3
    assert len(client.stylize(content, content, Controls(loss="tutorial").over(large)).octaves) == 1
    assert len(client.stylize(content, content, Controls(loss="tutorial", octaves=2).over(large)).octaves) == 2
    assert len(client.stylize(content, content, Controls(max_side=255).over(large)).octaves) == 1
    assert len(client.stylize(content, content, Controls(steps=0).over(large)).octaves) == 1


def test_progress_is_over_all_octaves(client: StyleClient, content: Path, style: Path) -> None:
    progress = list(client.stylize_iter(content, style, CONTROLS, images=True, chunk_steps=3))
    assert [each.steps_done for each in progress] == [3, 6, 9, 10, 13, 16, 19, 20]
    assert [(each.octave, each.octaves) for each in progress] == [(number, 3) for number in (1, 1, 1, 1, 2, 2, 3, 3)]
    assert {each.steps_total for each in progress} == {20}
    work = np.cumsum([1] * 10 + [4] * 6 + [16] * 4)
    assert [each.fraction for each in progress] == pytest.approx(
        [work[each.steps_done - 1] / work[-1] for each in progress]
    )
    assert [max(each.image.size) for each in progress if each.image] == [32] * 4 + [64] * 2 + [128] * 2
    assert [each.result is not None for each in progress] == [False] * 7 + [True]
    assert progress[-1].seconds_left == 0


def test_no_picture_is_asked_for_but_those_that_an_octave_needs(stub: Any, client: StyleClient, content: Path) -> None:
    list(client.stylize_iter(content, content, CONTROLS, chunk_steps=3))
    assert [set(request.output_filter) - {"losses"} for request in stub.paints] == [
        {"state"},
        {"state"},
        {"state"},
        {"image_bytes"},
        {"state"},
        {"image_bytes"},
        {"state"},
        {"state", "image_bytes"},
    ]


def progress_of(client: StyleClient, content: Path, style: Path) -> list[Progress]:
    return list(client.stylize_iter(content, style, CONTROLS, chunk_steps=3))


@pytest.mark.parametrize("at", range(8))
def test_a_run_resumes_at_any_point(client: StyleClient, content: Path, style: Path, tmp_path: Path, at: int) -> None:
    whole = progress_of(client, content, style)
    saved = SavedRun.load(whole[at].saved.save(tmp_path / "run.state"))
    assert (saved.octave, saved.octaves, bool(saved.state)) == ([0, 0, 0, 1, 1, 2, 2, 2][at], PLAN, at not in (3, 5))
    *_, last = client.stylize_iter(content, style, resume_from=saved, chunk_steps=3)
    assert last.result is not None
    assert whole[-1].result is not None
    assert last.result.image_bytes == whole[-1].result.image_bytes
    np.testing.assert_array_equal(last.losses, whole[-1].losses)
    if at >= 6:
        *_, without = client.stylize_iter(resume_from=saved, chunk_steps=3)
        assert without.result is not None
        assert without.result.image_bytes == last.result.image_bytes
    else:
        left = {3: "64, 128", 4: "64, 128", 5: "128"}.get(at, "32, 64, 128")
        with pytest.raises(
            SavedRunError, match=f"sizes left that begin from the pictures: {left} pixels\nGive the pict"
        ):
            client.stylize_iter(resume_from=saved)


@pytest.mark.parametrize(
    ("at", "steps", "octaves"),
    [
        (0, 32, [19, 13, 8]),
        (0, 4, [4, 2, 1]),  # a step more than it has done: it brings the picture that the next octave starts from
        (4, 32, [10, 13, 8]),
        (7, 32, [10, 6, 8]),
        (7, 16, [10, 6, 4]),
    ],
)
def test_a_run_resumes_to_other_steps(
    client: StyleClient, content: Path, style: Path, at: int, steps: int, octaves: list[int]
) -> None:
    saved = progress_of(client, content, style)[at].saved
    *_, last = client.stylize_iter(content, style, Controls(steps=steps), resume_from=saved)
    assert [octave.steps for octave in last.saved.octaves] == octaves
    assert last.steps_done == sum(octaves)
    assert last.result is not None


def test_fewer_steps_than_were_done_are_refused(client: StyleClient, content: Path, style: Path) -> None:
    saved = progress_of(client, content, style)[-1].saved
    with pytest.raises(
        ControlError, match=r"steps is 5, but the saved run has done 20 already \(4 of them at the last"
    ):
        client.stylize_iter(content, style, Controls(steps=5), resume_from=saved)


def test_other_pictures_are_refused_in_any_octave(client: StyleClient, content: Path, style: Path) -> None:
    saved = progress_of(client, content, style)[3].saved
    for pictures, message in (
        ((content, [style, style]), "the style is missing that the saved run"),
        ((content, content), f"{content} is not the style that the saved run"),
    ):
        with pytest.raises(SavedRunError, match=message):
            next(client.stylize_iter(*pictures, resume_from=saved))
    with pytest.raises(SavedRunError, match="the saved run was begun without a start"):
        next(client.stylize_iter(content, style, start=style, resume_from=saved))


def test_sixteen_bits_reach_the_file(client: StyleClient, content: Path, tmp_path: Path) -> None:
    controls = Controls(image_format="png16").over(CONTROLS)
    result = client.stylize(content, content, controls)
    data = result.save(tmp_path / "deep.png").read_bytes()
    assert data[24:26] == bytes((16, 2))
    with Image.open(io.BytesIO(data)) as image:
        assert image.info["Steps"] == "20"
    assert load_picture(data).image.tobytes() == result.image.tobytes()
    with Image.open(result.save(tmp_path / "flat.webp")) as flat:
        assert flat.convert("RGB").tobytes() == result.image.tobytes()
