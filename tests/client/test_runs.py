"""Runs in chunks, and what is saved of them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import ImageOps

from styleserve import contract
from styleserve.client import (
    UNSET,
    AsyncStyleClient,
    BadReply,
    ControlError,
    Controls,
    ModelNotFound,
    NonFiniteResult,
    Optimizer,
    Progress,
    RequestRefused,
    SavedRun,
    SavedRunError,
    ServerUnavailable,
    StateRefused,
    StyleClient,
    load_picture,
)
from styleserve.client.wire.tensors import bytes_tensor, number_tensor, to_array


@pytest.fixture
def client(stub: Any) -> Iterator[StyleClient]:
    with StyleClient(stub.address) as client:
        yield client


@pytest.fixture
def saved(client: StyleClient, content: Path, style: Path) -> SavedRun:
    """10 of 50 steps."""
    run = client.stylize_iter(content, style, Controls(steps=50, style_weight=0.5), chunk_steps=5)
    next(run)
    return next(run).saved


def steps_of(request: Any) -> int:
    return int(to_array(request.inputs["steps"], "")[0])


def expected_losses(steps: int) -> Any:
    return (1e6 * 0.97 ** np.arange(steps)).astype(np.float32)


@pytest.mark.parametrize("optimizer", [None, "lbfgs", "adam"])
def test_a_run_in_chunks(
    stub: Any, client: StyleClient, content: Path, style: Path, optimizer: Optimizer | None
) -> None:
    controls = Controls(
        steps=50, style_weight=0.5, style_scale=2, max_side=48, optimizer=UNSET if optimizer is None else optimizer
    )
    progress = list(client.stylize_iter(content, style, controls, chunk_steps=20))
    assert [steps_of(request) for request in stub.requests] == [20, 20, 10]
    assert [each.steps_done for each in progress] == [20, 40, 50]
    first, *later = stub.requests
    always = {"steps", "style_weight", "loss", "optimizer", "contract_version", "return_state"}
    assert set(first.inputs) == {"content_bytes", "style_bytes", "max_side", "style_scale"} | always
    for request, before in zip(later, progress, strict=False):
        assert set(request.inputs) == {"state"} | always
        assert request.inputs["state"].string_val == [before.saved.state]
    for request in stub.requests:
        assert request.model_spec.signature_name == contract.PAINT
        assert to_array(request.inputs["optimizer"], "").tolist() == [(optimizer or "lbfgs").encode()]
        assert set(request.output_filter) == {"losses", "state"} | ({"image_bytes"} if request is later[-1] else set())
    for each in progress:
        np.testing.assert_array_equal(each.losses[:, 0], expected_losses(each.steps_done))
        assert (each.steps_total, each.model_version) == (50, 42)
        assert (each.octave, each.octaves, each.fraction) == (1, 1, each.steps_done / 50)
        assert each.saved.state
    assert progress[-1].seconds_left == 0
    assert [each.seconds for each in progress] == sorted(each.seconds for each in progress)


def test_the_last_one_has_the_result(client: StyleClient, content: Path, style: Path) -> None:
    *before, last = client.stylize_iter(content, style, Controls(steps=10), chunk_steps=8)
    assert [(each.image, each.result) for each in before] == [(None, None)]
    assert last.result is not None
    assert last.result.image is last.image
    assert last.image is not None
    assert last.image.size == (64, 43)
    assert (last.result.steps, last.result.model_version, last.result.optimizer) == (10, 42, "lbfgs")
    assert last.result.controls == Controls(steps=10, max_side=64)
    assert last.result.octaves == ((64, 10),)


def test_every_chunk_brings_the_picture_where_that_is_asked_for(
    stub: Any, client: StyleClient, content: Path, style: Path
) -> None:
    progress = list(client.stylize_iter(content, style, Controls(steps=20), images=True, chunk_steps=8))
    levels = [np.asarray(each.image, np.float64).mean() for each in progress]
    assert levels == sorted(levels)
    assert all("image_bytes" in request.output_filter for request in stub.paints)


@pytest.mark.parametrize(("steps", "chunks"), [(0, [0]), (1, [1]), (2, [2]), (3, [2, 1])])
def test_short_runs(stub: Any, client: StyleClient, content: Path, steps: int, chunks: list[int]) -> None:
    *_, last = client.stylize_iter(content, content, Controls(steps=steps), chunk_steps=2)
    assert [steps_of(request) for request in stub.paints] == chunks
    assert last.result is not None
    assert last.result.losses.shape == (steps, 5)


def test_as_many_steps_as_the_contract_says(stub: Any, client: StyleClient, content: Path) -> None:
    *_, last = client.stylize_iter(content, content, chunk_steps=8)
    assert sum(map(steps_of, stub.paints)) == last.steps_total == contract.STEPS.relative


def test_one_request_id_for_the_whole_run(stub: Any, client: StyleClient, content: Path) -> None:
    list(client.stylize_iter(content, content, Controls(steps=20), chunk_steps=8, request_id="run-7"))
    assert {headers["x-request-id"] for headers in stub.headers} == {"run-7"}


def test_a_chunk_is_tried_again(stub: Any, client: StyleClient, content: Path, refusal: Any) -> None:
    good, calls = stub.predict, iter(range(100))

    def predict(request: Any) -> Any:
        return refusal(grpc.StatusCode.UNAVAILABLE, "gone") if next(calls) in (0, 2) else good(request)

    stub.predict = predict
    *_, last = client.stylize_iter(content, content, Controls(steps=20), chunk_steps=8)
    np.testing.assert_array_equal(last.losses[:, 0], expected_losses(20))
    assert [steps_of(request) for request in stub.paints] == [8, 8, 8, 8, 4]


def test_a_run_stays_with_the_version_that_began_it(stub: Any, client: StyleClient, content: Path) -> None:
    run = client.stylize_iter(content, content, Controls(steps=20), chunk_steps=8)
    assert next(run).model_version == 42
    stub.version = 43
    assert [each.model_version for each in run] == [42, 42]
    assert [request.model_spec.version.value for request in stub.paints] == [0, 42, 42]


def test_a_version_that_goes_away(stub: Any, client: StyleClient, content: Path) -> None:
    run = client.stylize_iter(content, content, Controls(steps=50), chunk_steps=20)
    next(run)
    stub.version, stub.gone = 43, {42}
    *_, last = run
    assert [request.model_spec.version.value for request in stub.paints] == [0, 42, 0, 43]
    assert last.model_version == 43
    assert last.notes == ("version 42 of the model went away after 20 steps; the newest continued",)
    assert last.result is not None
    assert last.result.notes == last.notes
    np.testing.assert_array_equal(last.losses[:, 0], expected_losses(50))


def test_a_run_of_a_label_resumes(stub: Any, content: Path) -> None:
    with StyleClient(stub.address, version_label="stable") as client:
        run = client.stylize_iter(content, content, Controls(steps=20), chunk_steps=8)
        next(run)
        stub.version, stub.gone = 43, {42}
        assert list(run)[-1].model_version == 43
    specs = [request.model_spec for request in stub.paints]
    assert [(spec.version.value, spec.version_label) for spec in specs] == [
        (0, "stable"),
        (42, ""),
        (0, "stable"),
        (43, ""),
    ]


def test_a_version_that_was_asked_for_is_not_replaced(stub: Any, content: Path) -> None:
    with StyleClient(stub.address, version=42) as client:
        run = client.stylize_iter(content, content, Controls(steps=20), chunk_steps=8)
        next(run)
        stub.gone = {42}
        with pytest.raises(ModelNotFound, match=r"Specific\(style_transfer, 42\)"):
            next(run)


def test_a_model_that_does_not_know_the_state(stub: Any, client: StyleClient, content: Path, refusal: Any) -> None:
    run = client.stylize_iter(content, content, Controls(steps=20), chunk_steps=8)
    before = next(run)
    stub.predict = refusal(
        grpc.StatusCode.INVALID_ARGUMENT, "assertion failed: [state is of a model with other layers]"
    )
    with pytest.raises(StateRefused, match=r"other layers\nServe version 42 .*\nRequest \w+") as caught:
        next(run)
    assert caught.value.model_version == before.model_version
    assert (caught.value.status, caught.value.tries) == ("INVALID_ARGUMENT", 1)


def test_a_run_resumes_after_a_failure(stub: Any, client: StyleClient, content: Path, refusal: Any) -> None:
    good, progress = stub.predict, []
    run = client.stylize_iter(content, content, Controls(steps=20), chunk_steps=8)
    progress.append(next(run))
    stub.predict = refusal(grpc.StatusCode.UNAVAILABLE, "gone")
    with pytest.raises(ServerUnavailable):
        next(run)
    stub.predict = good
    *_, last = client.stylize_iter(resume_from=progress[-1].saved)
    np.testing.assert_array_equal(last.losses[:, 0], expected_losses(20))


def edited(stub: Any, **outputs: Any) -> None:
    good = stub.predict

    def predict(request: Any) -> Any:
        reply = good(request)
        if "state" in request.inputs:
            for name, tensor in outputs.items():
                reply.outputs[name].CopyFrom(tensor)
        return reply

    stub.predict = predict


def test_replies_that_make_no_sense(stub: Any, client: StyleClient, content: Path) -> None:
    run = client.stylize_iter(content, content, Controls(steps=16), chunk_steps=8, final_state=True)
    next(run)
    edited(stub, losses=number_tensor(np.array([[[1.0] * 5, [np.nan] * 5] + [[1.0] * 5] * 6], np.float32)))
    with pytest.raises(NonFiniteResult, match="after step 10 of 16, the total loss is nan"):
        next(run)
    run = client.stylize_iter(content, content, Controls(steps=16), chunk_steps=8, final_state=True)
    next(run)
    edited(stub, losses=number_tensor(np.ones((1, 8, 5), np.float32)), state=bytes_tensor([b""]))
    with pytest.raises(BadReply, match="'state' is empty"):
        next(run)


@pytest.mark.parametrize("chunk_s", [0, -1, float("nan"), float("inf")])
def test_a_chunk_takes_time(client: StyleClient, content: Path, chunk_s: float) -> None:
    with pytest.raises(ControlError, match="chunk_s"):
        client.stylize_iter(content, content, chunk_s=chunk_s)


@pytest.mark.parametrize("chunk_steps", [0, -1])
def test_a_chunk_has_steps(client: StyleClient, content: Path, chunk_steps: int) -> None:
    with pytest.raises(ControlError, match=f"chunk_steps is {chunk_steps}; it must be at least 1"):
        client.stylize_iter(content, content, chunk_steps=chunk_steps)


@pytest.mark.parametrize("final_state", [False, True])
def test_a_finished_run_is_extended_if_its_state_was_asked_for(
    client: StyleClient, content: Path, final_state: bool
) -> None:
    *_, last = client.stylize_iter(content, content, Controls(steps=8), chunk_steps=8, final_state=final_state)
    if final_state:
        *_, longer = client.stylize_iter(controls=Controls(steps=12), resume_from=last.saved)
        np.testing.assert_array_equal(longer.losses[:, 0], expected_losses(12))
    else:
        for steps in (8, 12):
            with pytest.raises(SavedRunError, match=r"ended after 8 steps without a state.*\n.*final_state=True"):
                client.stylize_iter(content, content, Controls(steps=steps), resume_from=last.saved)


def test_fewer_steps_where_a_call_may_not_have_so_many(
    stub: Any, client: StyleClient, content: Path, refusal: Any
) -> None:
    good = stub.predict
    rule = "steps must be fewer, or pictures smaller, or examples fewer: one call may take 1 megapixel-steps; got 20"

    def predict(request: Any) -> Any:
        return refusal(grpc.StatusCode.INVALID_ARGUMENT, rule) if steps_of(request) > 6 else good(request)

    stub.predict = predict
    *_, last = client.stylize_iter(content, content, Controls(steps=20), chunk_steps=20)
    assert [steps_of(request) for request in stub.paints] == [20, 10, 5, 5, 5, 5]
    np.testing.assert_array_equal(last.losses[:, 0], expected_losses(20))
    stub.predict = refusal(grpc.StatusCode.INVALID_ARGUMENT, rule)
    with pytest.raises(RequestRefused, match="steps must be fewer"):
        list(client.stylize_iter(content, content, Controls(steps=3)))


def test_what_cannot_be_begun(stub: Any, client: StyleClient, content: Path) -> None:
    with pytest.raises(ControlError, match="the style is missing"):
        client.stylize_iter(content)
    with pytest.raises(ControlError, match="needs pictures"):
        client.stylize_iter()
    with pytest.raises(ControlError, match="L-BFGS has none"):
        client.stylize_iter(content, content, Controls(learning_rate=0.1))
    with pytest.raises(ControlError, match="steps is -1"):
        client.stylize_iter(content, content, Controls(steps=-1))
    assert stub.paints == []


def test_a_run_for_an_event_loop_is_the_same(stub: Any, content: Path, style: Path) -> None:
    async def use() -> list[Progress]:
        async with AsyncStyleClient(stub.address) as client:
            return [each async for each in client.stylize_iter(content, style, Controls(steps=20), chunk_steps=8)]

    last = asyncio.run(use())[-1]
    assert [steps_of(request) for request in stub.paints] == [8, 8, 4]
    with StyleClient(stub.address) as client:
        *_, blocking = client.stylize_iter(content, style, Controls(steps=20), chunk_steps=8)
    assert last.result is not None
    assert blocking.result is not None
    assert last.result.image_bytes == blocking.result.image_bytes


def test_a_saved_run_comes_back_as_it_was(saved: SavedRun, tmp_path: Path) -> None:
    loaded = SavedRun.load(saved.save(tmp_path / "run.state"))
    np.testing.assert_array_equal(loaded.losses, saved.losses)
    assert loaded.losses.dtype == np.float32
    plain = [name for name in vars(saved) if name != "losses"]
    assert {name: getattr(loaded, name) for name in plain} == {name: getattr(saved, name) for name in plain}
    assert [path.name for path in tmp_path.iterdir() if "run.state" in path.name] == ["run.state"]


def test_a_saved_run_resumes(
    stub: Any, client: StyleClient, saved: SavedRun, content: Path, style: Path, tmp_path: Path
) -> None:
    """By another client, without the pictures or with them, to the steps it began with or to others."""
    loaded = SavedRun.load(saved.save(tmp_path / "run.state"))
    stub.requests.clear()
    *_, last = client.stylize_iter(resume_from=loaded, chunk_steps=15)
    assert [steps_of(request) for request in stub.paints] == [15, 15, 10]
    for request in stub.paints:
        assert set(request.inputs) == {
            "state",
            "return_state",
            "steps",
            "style_weight",
            "loss",
            "optimizer",
            "contract_version",
        }
        assert request.model_spec.version.value == 42
    np.testing.assert_array_equal(last.losses[:, 0], expected_losses(50))
    for steps in (10, 60):
        *_, last = client.stylize_iter(content, style, Controls(steps=steps, style_weight=0.5), resume_from=loaded)
        assert last.steps_done == steps
        assert last.image is not None


def test_the_picture_of_a_saved_run(stub: Any, client: StyleClient, saved: SavedRun, content: Path) -> None:
    """It is fetched without a step more."""
    stub.requests.clear()
    (only,) = client.stylize_iter(controls=Controls(steps=saved.steps_done), resume_from=saved)
    assert [steps_of(request) for request in stub.paints] == [0]
    assert only.result is not None
    negative = ImageOps.invert(load_picture(content).image).resize((64, 43))
    expected = np.asarray(negative, np.int16) + saved.steps_done
    np.testing.assert_array_equal(np.asarray(only.result.image), np.minimum(expected, 255))


def test_a_saved_run_of_a_version_that_is_gone(stub: Any, client: StyleClient, saved: SavedRun) -> None:
    stub.version, stub.gone = 43, {42}
    *_, last = client.stylize_iter(resume_from=saved, chunk_steps=8)
    assert last.notes == ("version 42 of the model went away after 10 steps; the newest continued",)


def versions_asked(stub: Any) -> list[tuple[int, str]]:
    specs = [request.model_spec for request in stub.paints]
    return [(spec.version.value, spec.version_label) for spec in specs]


def test_a_named_version_continues_a_run(stub: Any, saved: SavedRun) -> None:
    stub.version = 43
    stub.requests.clear()
    with StyleClient(stub.address, version=43) as client:
        *_, last = client.stylize_iter(resume_from=saved, chunk_steps=14)
    assert versions_asked(stub) == [(43, "")] * 3
    assert last.model_version == 43
    expected = "version 42 of the model was left after 10 steps; version 43, which was asked for, continued"
    assert last.notes == (expected,)
    np.testing.assert_array_equal(last.losses[:, 0], expected_losses(50))


def test_a_named_label_continues_a_run(stub: Any, saved: SavedRun) -> None:
    """The version of the first reply stays, also if the label moves."""
    stub.version = 43
    stub.requests.clear()
    with StyleClient(stub.address, version_label="canary") as client:
        *_, last = client.stylize_iter(resume_from=saved, chunk_steps=14)
    assert versions_asked(stub) == [(0, "canary"), (43, ""), (43, "")]
    assert len(last.notes) == 1


def test_to_name_the_version_that_began_it_changes_nothing(stub: Any, saved: SavedRun) -> None:
    stub.requests.clear()
    with StyleClient(stub.address, version=42) as client:
        *_, last = client.stylize_iter(resume_from=saved, chunk_steps=14)
        assert versions_asked(stub) == [(42, "")] * 3
        assert last.notes == ()
        stub.gone = {42}
        with pytest.raises(ModelNotFound):
            next(client.stylize_iter(resume_from=saved))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"style_weight": 0.7}, r"style_weight is 0\.7, but the saved run was begun with 0\.5"),
        ({"content_weight": 1.0}, "content_weight is 1.0, but the saved run was begun with the default of the model"),
        ({"optimizer": "adam"}, "optimizer is adam, but the saved run was begun with lbfgs"),
        ({"steps": 9}, "steps is 9, but the saved run has done 10 already"),
    ],
    ids=str,
)
def test_a_run_resumes_with_its_own_controls(
    client: StyleClient, saved: SavedRun, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(ControlError, match=message):
        client.stylize_iter(controls=Controls(**asked), resume_from=saved)


def test_a_run_of_another_model(stub: Any, saved: SavedRun) -> None:
    with (
        StyleClient(stub.address, model_name="other") as client,
        pytest.raises(ControlError, match="model_name is other, but the saved run was begun with style_transfer"),
    ):
        client.stylize_iter(resume_from=saved)


def test_other_pictures_are_refused(
    stub: Any, client: StyleClient, saved: SavedRun, content: Path, style: Path
) -> None:
    stub.requests.clear()
    for pictures, role in (((style, style), "content"), ((content, content), "style")):
        with pytest.raises(SavedRunError, match=f"is not the {role} that the saved run was begun with"):
            next(client.stylize_iter(*pictures, resume_from=saved))
    assert stub.paints == []


@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.999])
def test_a_file_that_is_cut_short(saved: SavedRun, tmp_path: Path, part: float) -> None:
    data = saved.save(tmp_path / "run.state").read_bytes()
    (tmp_path / "cut").write_bytes(data[: int(len(data) * part)])
    with pytest.raises(SavedRunError, match=r"cut is (damaged: |not a saved run)"):
        SavedRun.load(tmp_path / "cut")


def test_a_file_with_any_byte_changed(saved: SavedRun, tmp_path: Path) -> None:
    data = bytearray(saved.save(tmp_path / "run.state").read_bytes())
    for at in [*range(30), len(data) // 3, len(data) // 2, len(data) - 33, len(data) - 1]:
        data[at] ^= 1
        (tmp_path / "changed").write_bytes(data)
        with pytest.raises(SavedRunError, match="changed "):
            SavedRun.load(tmp_path / "changed")
        data[at] ^= 1
    (tmp_path / "longer").write_bytes(data + b"\0")
    with pytest.raises(SavedRunError, match="longer is damaged"):
        SavedRun.load(tmp_path / "longer")


def written(path: Path, header: bytes, *, layout: int = 2) -> Path:
    data = b"STYLERUN" + struct.pack(">HIQ", layout, len(header), 5) + header + b"state"
    path.write_bytes(data + hashlib.sha256(data).digest())
    return path


@pytest.mark.parametrize(
    "change",
    [
        {"octaves": []},
        {"octaves": [[64]]},
        {"octave": 1},
        {"pictures": {"content": None}},
        {"pictures": {"content": {"sha256": "a"}, "styles": []}},
        {"controls": {"steps": -1}},
        {"controls": {"nosuch": 1}},
        {"controls": None},
        {"losses": [[1, 2, 3]]},
        {"losses": "many"},
        {"model_version": "new"},
        {"notes": 7},
    ],
    ids=str,
)
def test_a_file_that_says_what_no_run_says(saved: SavedRun, tmp_path: Path, change: dict[str, Any]) -> None:
    header = saved._header()
    written(tmp_path / "good", json.dumps(header).encode())
    assert SavedRun.load(tmp_path / "good").state == b"state"
    written(tmp_path / "foreign", json.dumps(header | change).encode())
    with pytest.raises(SavedRunError, match="foreign is not a saved run of this layout"):
        SavedRun.load(tmp_path / "foreign")


def test_files_that_are_no_saved_runs(tmp_path: Path, content: Path) -> None:
    for path, message in (
        (content, "is not a saved run"),
        (tmp_path / "none", "cannot be read: No such file"),
        (tmp_path, "cannot be read: Is a directory"),
        (written(tmp_path / "earlier", b"{}", layout=1), "has the layout 1; this version of styleserve reads 2"),
        (written(tmp_path / "text", b"{"), "is not a saved run of this layout"),
    ):
        with pytest.raises(SavedRunError, match=message):
            SavedRun.load(path)
