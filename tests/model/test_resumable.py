"""Runs in chunks: as good as one call, refused where they do not fit."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from styleserve import contract
from styleserve.model import StyleTransfer, random_weights

from .conftest import SETTINGS

Outputs = dict[str, np.ndarray]

RESUMABLE = {
    contract.STYLIZE_RESUMABLE: (contract.SERVING_DEFAULT, contract.STYLIZE_ENCODED),
    contract.STYLIZE_LBFGS_RESUMABLE: (contract.STYLIZE_LBFGS, contract.STYLIZE_LBFGS_ENCODED),
}
"""Each with the signatures that do the same in one call, from images and from files."""


def call(model: StyleTransfer, signature: str, steps: int | list[int], **inputs: Any) -> Outputs:
    outputs = model.functions[signature](**inputs, steps=np.atleast_1d(np.int32(steps)))
    return {name: value.numpy() for name, value in outputs.items()}


def chunks(model: StyleTransfer, signature: str, sizes: list[int], **begin: Any) -> list[Outputs]:
    found = [call(model, signature, sizes[0], **begin)]
    for steps in sizes[1:]:
        found.append(call(model, signature, steps, state=found[-1]["state"]))
    return found


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)), np.int32)


def levels(images: np.ndarray) -> np.ndarray:
    return np.rint(images * 255.0).astype(np.int32)


@pytest.fixture
def pictures(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "content_image": rng.random((1, 25, 34, 3), np.float32),
        "style_image": rng.random((1, 20, 28, 3), np.float32),
    }


@pytest.fixture
def files(rng: np.random.Generator) -> dict[str, np.ndarray]:
    def png(height: int, width: int) -> bytes:
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(file, "PNG")
        return file.getvalue()

    return {"content_bytes": np.array([png(30, 50)], object), "style_bytes": np.array([png(40, 30)], object)}


@pytest.mark.parametrize("sizes", [[24], [12, 12], [1, 2, 3, 5, 13], [1] * 24, [0, 24]], ids=str)
@pytest.mark.parametrize("signature", RESUMABLE)
def test_chunks_are_one_call(
    model: StyleTransfer, pictures: dict[str, np.ndarray], signature: str, sizes: list[int]
) -> None:
    whole = call(model, RESUMABLE[signature][0], 24, **pictures)
    found = chunks(model, signature, sizes, **pictures)
    np.testing.assert_array_equal(np.concatenate([each["losses"] for each in found], axis=1), whole["losses"])
    np.testing.assert_array_equal(pixels(found[-1]["png_bytes"][0]), levels(whole["stylized_image"][0]))


@pytest.mark.parametrize("signature", RESUMABLE)
def test_from_files_as_in_one_call(model: StyleTransfer, signature: str, files: dict[str, np.ndarray]) -> None:
    controls = {"max_side": np.int32([40])}
    whole = call(model, RESUMABLE[signature][1], 6, **files, **controls)
    found = call(model, signature, 6, **files, **controls)
    np.testing.assert_array_equal(found["losses"], whole["losses"])
    assert found["png_bytes"][0] == whole["png_bytes"][0]
    assert pixels(found["png_bytes"][0]).shape == (24, 40, 3)


@pytest.mark.parametrize("signature", RESUMABLE)
def test_no_steps_show_where_a_run_is(model: StyleTransfer, signature: str, pictures: dict[str, np.ndarray]) -> None:
    before = call(model, signature, 5, **pictures)
    looked = call(model, signature, 0, state=before["state"])
    assert looked["state"][0] == before["state"][0]
    assert looked["png_bytes"][0] == before["png_bytes"][0]
    assert looked["losses"].shape == (1, 0, 4)


@pytest.mark.parametrize("signature", RESUMABLE)
def test_a_call_that_is_repeated_gives_the_same(
    model: StyleTransfer, signature: str, pictures: dict[str, np.ndarray]
) -> None:
    state = call(model, signature, 5, **pictures)["state"]
    once, again = (call(model, signature, 3, state=state) for _ in range(2))
    assert once["state"][0] == again["state"][0]


@pytest.mark.parametrize("signature", RESUMABLE)
def test_examples_of_a_batch_are_at_different_places(
    model: StyleTransfer, signature: str, pictures: dict[str, np.ndarray], files: dict[str, np.ndarray]
) -> None:
    states = np.concatenate([call(model, signature, 4, **begin)["state"] for begin in (pictures, files)])
    together = call(model, signature, [5, 2], state=states, content_weight=np.float32([1e4, 2e4]))
    assert together["losses"].shape == (2, 5, 4)
    for i, (steps, weight) in enumerate([(5, 1e4), (2, 2e4)]):
        alone = call(model, signature, steps, state=states[i : i + 1], content_weight=np.float32([weight]))
        assert together["state"][i] == alone["state"][0]
        np.testing.assert_array_equal(together["losses"][i, :steps], alone["losses"][0])
        assert np.isnan(together["losses"][i, steps:]).all()


def refused(model: StyleTransfer, signature: str, **inputs: Any) -> str:
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        call(model, signature, 1, **inputs)
    return caught.value.message


def changed(state: np.ndarray, at: int, data: bytes) -> np.ndarray:
    return np.array([state[0][:at] + data + state[0][at + len(data) :]], object)


SIZES_AT = 32  # behind the fingerprint: height, width, updates, pairs


@pytest.mark.parametrize("signature", RESUMABLE)
def test_refused_states(model: StyleTransfer, signature: str, pictures: dict[str, np.ndarray]) -> None:
    state = call(model, signature, 3, **pictures)["state"]
    for foreign in (b"x", b"x" * 100_000, state[0][1:]):
        assert "state must be one that this model and this signature gave" in refused(
            model, signature, state=np.array([foreign], object)
        )
    for short in (state[0][:-1], state[0] + b"x", state[0][:60]):
        assert "state is damaged: its length" in refused(model, signature, state=np.array([short], object))
    huge = changed(state, SIZES_AT, np.int32([2**31 - 1, 2**31 - 1]).tobytes())
    assert "the image in state must have sides from" in refused(model, signature, state=huge)
    pairs = changed(state, SIZES_AT + 12, np.int32([11]).tobytes())
    assert "state is damaged: updates, pairs" in refused(model, signature, state=pairs)
    # The image stands before all else that is as large as an image.
    content_and_scales = len(state[0]) - 3 * 25 * 34 * 3 * 4
    nan = changed(state, len(state[0]) - 1000, np.full(250, np.nan, np.float32).tobytes())
    if signature == contract.STYLIZE_RESUMABLE:
        assert "not finite" in refused(model, signature, state=nan)
    image = changed(state, content_and_scales, np.float32([7.0]).tobytes())
    if signature == contract.STYLIZE_RESUMABLE:
        assert "the image in state must hold finite values in [0, 1]" in refused(model, signature, state=image)


def test_a_state_belongs_to_its_optimiser_and_model(model: StyleTransfer, pictures: dict[str, np.ndarray]) -> None:
    state = call(model, contract.STYLIZE_RESUMABLE, 1, **pictures)["state"]
    assert "state must be one" in refused(model, contract.STYLIZE_LBFGS_RESUMABLE, state=state)
    other_weights = StyleTransfer(random_weights(seed=1), SETTINGS)
    assert "state must be one" in refused(other_weights, contract.STYLIZE_RESUMABLE, state=state)
    other_losses = StyleTransfer(random_weights(seed=0), dataclasses.replace(SETTINGS, loss_scale="tutorial"))
    assert "state must be one" in refused(other_losses, contract.STYLIZE_RESUMABLE, state=state)
    other_limits = dataclasses.replace(SETTINGS, precision="bfloat16", limits=contract.Limits(max_side=64))
    assert call(StyleTransfer(random_weights(0), other_limits), contract.STYLIZE_RESUMABLE, 1, state=state)["state"][0]


@pytest.mark.parametrize("signature", RESUMABLE)
def test_one_way_to_begin(
    model: StyleTransfer, signature: str, pictures: dict[str, np.ndarray], files: dict[str, np.ndarray]
) -> None:
    state = call(model, signature, 1, **pictures)["state"]
    advice = "give either state, or content_bytes and style_bytes, or content_image and style_image"
    for wrong in ({}, {"state": state, **files}, {"state": state, **pictures}, {**files, **pictures}):
        assert advice in refused(model, signature, **wrong)
    assert "style_image must have sides" in refused(model, signature, content_image=pictures["content_image"])
    assert "style_bytes must be a file of one of the formats" in refused(
        model, signature, content_bytes=files["content_bytes"]
    )
    assert "content_image must have sides from 2 to 96" in refused(
        model, signature, content_image=np.zeros((1, 97, 30, 3), np.float32), style_image=pictures["style_image"]
    )
    assert "must hold finite values" in refused(
        model, signature, content_image=pictures["content_image"] * np.nan, style_image=pictures["style_image"]
    )
    assert "must have batch size 1 or that of the others" in refused(
        model, signature, state=np.repeat(state, 3), content_bytes=np.array([b"", b""], object)
    )
