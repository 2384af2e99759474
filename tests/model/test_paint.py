"""The signature `paint`: runs in chunks, and what each control does. The contract suite has the rest."""

from __future__ import annotations

import dataclasses
import io
from functools import partial
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from styleserve import contract
from styleserve.model import StyleTransfer, random_weights
from styleserve.model.runs.colours import matched_to
from styleserve.model.state import FINGERPRINT_BYTES, _hash

from .conftest import SETTINGS, refusal_of

Outputs = dict[str, np.ndarray]

VARIANTS = [
    {"loss": [loss], "optimizer": [optimizer]}
    for loss in contract.LOSS.choices
    for optimizer in contract.OPTIMIZER.choices
]
OF_VARIANTS = pytest.mark.parametrize("variant", VARIANTS, ids=str)


def paint(model: StyleTransfer, steps: int | list[int], **inputs: Any) -> Outputs:
    outputs = model.functions[contract.PAINT](**inputs, steps=np.atleast_1d(np.int32(steps)), return_state=[1])
    return {name: value.numpy() for name, value in outputs.items()}


def chunks(model: StyleTransfer, sizes: list[int], files: dict[str, Any], **controls: Any) -> list[Outputs]:
    found = [paint(model, sizes[0], **files, **controls)]
    for steps in sizes[1:]:
        found.append(paint(model, steps, state=found[-1]["state"], **controls))
    return found


def pixels(file: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(file)), np.int32)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def noise(rng: np.random.Generator, height: int, width: int) -> bytes:
    return png(rng.integers(0, 256, (height, width, 3), np.uint8))


@pytest.fixture
def files(rng: np.random.Generator) -> dict[str, Any]:
    return {"content_bytes": [noise(rng, 24, 40)], "style_bytes": [[noise(rng, 40, 30)]], "max_side": [40]}


@pytest.fixture
def two_styles(rng: np.random.Generator, files: dict[str, Any]) -> dict[str, Any]:
    return {**files, "style_bytes": [[files["style_bytes"][0][0], noise(rng, 30, 30)]]}


@OF_VARIANTS
def test_chunks_are_one_call(model: StyleTransfer, files: dict[str, Any], variant: dict[str, list[str]]) -> None:
    whole = paint(model, 24, **files, **variant)
    for sizes in ([12, 12], [1, 2, 3, 5, 13], [0, 24]):
        found = chunks(model, sizes, files, **variant)
        np.testing.assert_array_equal(np.concatenate([each["losses"] for each in found], axis=1), whole["losses"])
        assert found[-1]["state"][0] == whole["state"][0]
        assert found[-1]["image_bytes"][0] == whole["image_bytes"][0]


@pytest.mark.parametrize(
    ("optimizer", "signature"), [("adam", contract.SERVING_DEFAULT), ("lbfgs", contract.STYLIZE_LBFGS)]
)
def test_the_tutorials_loss_is_that_of_the_signatures_for_images(
    model: StyleTransfer, files: dict[str, Any], optimizer: str, signature: str
) -> None:
    """From files that need no resizing the two give the same numbers, but for the order of some sums."""
    style = files["style_bytes"]
    painted = paint(model, 5, **files, loss=["tutorial"], optimizer=[optimizer])
    content, style = (pixels(file).astype(np.float32)[None] / 255 for file in (files["content_bytes"][0], style[0][0]))
    plain = model.functions[signature](content_image=content, style_image=style, steps=[5])
    np.testing.assert_allclose(painted["losses"][..., :4], plain["losses"], rtol=1e-3)
    np.testing.assert_array_equal(painted["losses"][..., 4], 0.0)
    np.testing.assert_allclose(pixels(painted["image_bytes"][0]), plain["stylized_image"][0] * 255, atol=1)


def test_no_steps_return_the_picture_of_a_state(model: StyleTransfer, files: dict[str, Any]) -> None:
    before = paint(model, 5, **files)
    again = paint(model, 0, state=before["state"])
    assert again["state"][0] == before["state"][0]
    assert again["image_bytes"][0] == before["image_bytes"][0]
    assert again["losses"].shape == (1, 0, 5)


def test_examples_of_a_batch_are_independent(
    model: StyleTransfer, files: dict[str, Any], two_styles: dict[str, Any]
) -> None:
    states = np.concatenate([paint(model, 4, **begin)["state"] for begin in (files, two_styles)])
    together = paint(model, [5, 2], state=states, content_weight=np.float32([1, 2]))
    assert together["losses"].shape == (2, 5, 5)
    for i, (steps, weight) in enumerate([(5, 1), (2, 2)]):
        alone = paint(model, steps, state=states[i : i + 1], content_weight=np.float32([weight]))
        assert together["state"][i] == alone["state"][0]
        np.testing.assert_array_equal(together["losses"][i, :steps], alone["losses"][0])
        assert np.isnan(together["losses"][i, steps:]).all()


def test_a_batch_may_differ_in_size(model: StyleTransfer, rng: np.random.Generator) -> None:
    pictures = [noise(rng, 20, 40), noise(rng, 50, 30)]
    result = paint(model, [1, 2], content_bytes=pictures, style_bytes=[[pictures[0]]], max_side=np.int32([32, 60]))
    assert [pixels(file).shape for file in result["image_bytes"]] == [(16, 32, 3), (60, 36, 3)]
    assert np.isnan(result["losses"][0, 1]).all()
    assert np.isfinite(result["losses"][1]).all()


def test_equal_styles_are_one_style(model: StyleTransfer, files: dict[str, Any]) -> None:
    one = paint(model, 6, **files)
    twice = {**files, "style_bytes": [files["style_bytes"][0] * 2]}
    for blend in ([[1.0]], [[3.0, 1.0]]):
        both = paint(model, 6, **twice, style_blend=blend)
        np.testing.assert_allclose(both["losses"], one["losses"], rtol=1e-4)
    alone = paint(
        model,
        6,
        **{**files, "style_bytes": [[files["style_bytes"][0][0], files["content_bytes"][0]]]},
        style_blend=[[1.0, 0.0]],
    )
    np.testing.assert_allclose(alone["losses"], one["losses"], rtol=1e-5)


def half(height: int, width: int, *, left: bool) -> bytes:
    mask = np.zeros((height, width, 3), np.uint8)
    mask[:, slice(None, width // 2) if left else slice(width // 2, None)] = 255
    return png(mask)


def test_the_content_stays_where_no_style_applies(model: StyleTransfer, files: dict[str, Any]) -> None:
    """To the byte; and the mask may have any size."""
    painted = paint(model, 8, **files, content_region_bytes=[[half(24, 40, left=True)]])
    content, result = pixels(files["content_bytes"][0]), pixels(painted["image_bytes"][0])
    np.testing.assert_array_equal(result[:, 20:], content[:, 20:])
    assert np.abs(result[:, :20] - content[:, :20]).mean() > 2
    small = paint(model, 8, **files, content_region_bytes=[[half(12, 20, left=True)]])
    result = pixels(small["image_bytes"][0])
    np.testing.assert_array_equal(result[:, 21:], content[:, 21:])  # the edge is as wide as its pixel


def test_a_region_of_everything_is_no_region(model: StyleTransfer, files: dict[str, Any]) -> None:
    # A few evaluations: a line search carries the last bits on.
    plain = paint(model, 3, **files)
    white = paint(model, 3, **files, content_region_bytes=[[png(np.full((24, 40, 3), 255, np.uint8))]])
    np.testing.assert_allclose(white["losses"], plain["losses"], rtol=1e-3)


def test_a_style_region_is_the_part_to_learn_from(model: StyleTransfer, files: dict[str, Any]) -> None:
    """Black and white halves: a style of the white half alone makes the picture lighter."""
    halves = np.zeros((40, 40, 3), np.uint8)
    halves[:, 20:] = 255
    own = {**files, "style_bytes": [[png(halves)]], "style_weight": [100.0]}
    dark, light = (
        paint(model, 20, **own, style_region_bytes=[[half(40, 40, left=left)]])["image_bytes"][0]
        for left in (True, False)
    )
    assert pixels(light).mean() > pixels(dark).mean() + 40


def test_start_and_noise(model: StyleTransfer, files: dict[str, Any], rng: np.random.Generator) -> None:
    start = noise(rng, 24, 40)
    np.testing.assert_array_equal(
        pixels(paint(model, 0, **files, start_bytes=[start])["image_bytes"][0]), pixels(start)
    )
    ones, others, same = (
        paint(model, 0, **files, start_noise=[1.0], seed=[seed])["image_bytes"][0] for seed in (1, 2, 1)
    )
    assert ones == same
    assert ones != others
    mixed = pixels(paint(model, 0, **files, start_noise=[0.25], seed=[1])["image_bytes"][0])
    expected = 0.75 * pixels(files["content_bytes"][0]) + 0.25 * pixels(ones)
    np.testing.assert_allclose(mixed, expected, atol=1)
    assert abs(pixels(ones).mean() - 127.5) < 5


def luma(image: np.ndarray) -> np.ndarray:
    return image @ np.array([0.299, 0.587, 0.114])


def test_colours_of_the_content(model: StyleTransfer, files: dict[str, Any]) -> None:
    """The chroma of each pixel is the content's, its luma the result's, where the range of colours has both."""
    grey = np.repeat(np.random.default_rng(3).integers(90, 160, (24, 40, 1), np.uint8), 3, axis=2)
    tinted = grey + np.array([20, 0, 60], np.uint8)
    own = {**files, "content_bytes": [png(tinted)]}
    plain = pixels(paint(model, 3, **own)["image_bytes"][0])
    kept = pixels(paint(model, 3, **own, colors=["content"])["image_bytes"][0])
    inside = (kept.min(axis=2) > 0) & (kept.max(axis=2) < 255)
    assert inside.mean() > 0.5
    np.testing.assert_allclose(luma(kept)[inside], luma(plain)[inside], atol=1)
    np.testing.assert_allclose((kept[..., 2] - kept[..., 1])[inside], 60, atol=1)


def test_matched_colours_are_those_of_the_content(rng: np.random.Generator) -> None:
    mixing = rng.random((3, 3)).astype(np.float32) * 0.1
    content = 0.5 + rng.standard_normal((1, 60, 50, 3)).astype(np.float32) @ mixing
    style = 0.4 + 0.05 * rng.standard_normal((1, 50, 60, 3)).astype(np.float32)
    matched = matched_to(tf.constant(style), tf.constant(np.clip(content, 0, 1))).numpy()
    wanted = np.clip(content, 0, 1).reshape(-1, 3)
    np.testing.assert_allclose(matched.reshape(-1, 3).mean(axis=0), wanted.mean(axis=0), atol=5e-3)
    np.testing.assert_allclose(np.cov(matched.reshape(-1, 3).T), np.cov(wanted.T), atol=2e-3)


def test_layer_weights(model: StyleTransfer, files: dict[str, Any]) -> None:
    first, second, both = (
        paint(model, 1, **files, style_layer_weights=[weights])["losses"][0, 0, 1]
        for weights in ([2.0, 0.0], [0.0, 2.0], [1.0, 1.0])
    )
    assert both == pytest.approx((first + second) / 2, rel=1e-5)
    assert min(first, second) > 0


def test_a_reference_holds_its_part(model: StyleTransfer, files: dict[str, Any]) -> None:
    grey = np.full((24, 40, 3), 128, np.uint8)
    own = {**files, "reference_bytes": [png(grey)], "reference_weight": [10.0]}
    held = pixels(paint(model, 12, **own, reference_weight_bytes=[half(24, 40, left=True)])["image_bytes"][0])
    content = pixels(files["content_bytes"][0])
    assert np.abs(held[:, :20] - 128).mean() < 0.3 * np.abs(content[:, :20] - 128).mean()
    assert np.abs(held[:, 20:] - 128).mean() > 0.5 * np.abs(content[:, 20:] - 128).mean()


def test_formats(model: StyleTransfer, files: dict[str, Any]) -> None:
    fine, plain, lossy = (
        paint(model, 3, **files, image_format=[name])["image_bytes"][0] for name in ("png16", "png", "jpeg")
    )
    levels = tf.io.decode_png(fine, dtype=tf.uint16).numpy()
    assert levels.dtype == np.uint16
    np.testing.assert_allclose(levels / 257, pixels(plain), atol=0.5 + 1e-3)
    assert lossy.startswith(b"\xff\xd8\xff")
    assert np.abs(pixels(lossy) - pixels(plain)).mean() < 8


def resume_eagerly(model: StyleTransfer, state: np.ndarray, variant: dict[str, list[str]]) -> Outputs:
    """One step on from a state, by a model whose graph is not worth tracing."""
    given = {"state": state, "steps": [1], "return_state": [1], **variant}
    fields = contract.SIGNATURES[contract.PAINT].inputs
    inputs = {
        field.name: tf.constant(given[field.name], field.dtype) if field.name in given else model.default(field)
        for field in fields
    }
    return {name: value.numpy() for name, value in model.methods[contract.PAINT](inputs).items()}


def refused(model: StyleTransfer, **inputs: Any) -> str:
    return refusal_of(lambda: paint(model, 1, **inputs))


def changed(state: bytes, at: int, data: bytes, *, sealed: bool = True) -> np.ndarray:
    """A state with other bytes, and, as a forger could, the right hash."""
    body = state[:at] + data + state[at + len(data) :]
    if sealed:
        body = body[:-8] + _hash(tf.constant(body[:-8])).numpy()
    return np.array([body], object)


def test_damaged_states(model: StyleTransfer, files: dict[str, Any]) -> None:
    (state,) = paint(model, 3, **files)["state"]
    for foreign in (b"x", b"x" * 100_000, state[1:], state[:30]):
        assert "state must be one that this model returned" in refused(model, state=np.array([foreign], object))
    for short in (state[:-1], state + b"x", state[:60], state[: len(state) // 2]):
        assert "state is damaged: its checksum" in refused(model, state=np.array([short], object))
    for at in (17, 50, len(state) // 2, len(state) - 1):
        flipped = bytes([state[at] ^ 1])
        assert "state is damaged: its checksum" in refused(model, state=changed(state, at, flipped, sealed=False))


@OF_VARIANTS
def test_forged_states(model: StyleTransfer, files: dict[str, Any], variant: dict[str, list[str]]) -> None:
    """With the right hash: sizes, ranges and results are still checked."""
    (state,) = paint(model, 3, **files, **variant)["state"]
    dimensions = FINGERPRINT_BYTES
    huge = changed(state, dimensions, np.int32([2**31 - 1, 2**31 - 1]).tobytes())
    assert "the image in state must have sides from" in refused(model, state=huge, **variant)
    for at, value in ((2, 9), (2, -1), (3, 2), (4, 2), (5, 11)):
        counts = changed(state, dimensions + 4 * at, np.int32([value]).tobytes())
        assert "state is damaged: regions, targets" in refused(model, state=counts, **variant)
    taller = changed(state, dimensions, np.int32([25]).tobytes())
    if variant["optimizer"] == ["lbfgs"]:
        assert "state is damaged: regions, targets" in refused(model, state=taller, **variant)
        taller = changed(taller[0], dimensions + 4 * 6, np.int32([25 * 40 * 3 // 8]).tobytes())
    assert "state is damaged: its length" in refused(model, state=taller, **variant)
    content = dimensions + 28
    assert "the content in state must hold finite values" in refused(
        model, state=changed(state, content, np.float32([7.0]).tobytes()), **variant
    )
    moments = content + 24 * 40 * 3 * 4
    nan = changed(state, moments, np.full(100, np.nan, np.float32).tobytes())
    assert "state is damaged: it must hold no NaN" in refused(model, state=nan, **variant)


def test_a_state_belongs_to_its_model_loss_and_optimizer(model: StyleTransfer, files: dict[str, Any]) -> None:
    text = "state must be one that this model returned, for the same loss and optimizer"
    states = [paint(model, 1, **files, **variant)["state"] for variant in VARIANTS]
    for variant, state in zip(VARIANTS, states, strict=True):
        for other in VARIANTS:
            if other != variant:
                assert text in refused(model, state=state, **other)
    other_layer = dataclasses.replace(SETTINGS, content_layer="block2_conv1")
    for seed, settings in ((1, SETTINGS), (0, other_layer)):
        other_model = StyleTransfer(random_weights(seed), settings)
        assert text in refusal_of(partial(resume_eagerly, other_model, states[-1], VARIANTS[-1]))
    other_limits = dataclasses.replace(SETTINGS, precision="bfloat16", limits=contract.Limits(max_side=64))
    assert resume_eagerly(StyleTransfer(random_weights(0), other_limits), states[-1], VARIANTS[-1])["state"][0]


def test_the_state_comes_where_it_is_asked_for(model: StyleTransfer, files: dict[str, Any]) -> None:
    plain = model.functions[contract.PAINT](**files, steps=[1])
    assert plain["state"].numpy().tolist() == [b""]
    assert plain["image_bytes"].numpy()[0] == paint(model, 1, **files)["image_bytes"][0]
    text = refusal_of(lambda: model.functions[contract.PAINT](**files, steps=[1], return_state=[2]))
    assert "return_state must be 0 or 1; got" in text


def test_one_way_to_begin(model: StyleTransfer, files: dict[str, Any]) -> None:
    state = paint(model, 1, **files)["state"]
    advice = "give either state, or content_bytes and style_bytes"
    content = {"content_bytes": files["content_bytes"]}
    for wrong in ({}, {"state": state, **files}, {"state": state, **content}, content, {"start_bytes": [b"x"]}):
        assert advice in refused(model, **wrong)
    empty = {**files, "style_bytes": [[files["style_bytes"][0][0], b""]]}
    assert "style_bytes must be a file of one of the formats" in refused(model, **empty)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"content_bytes": [b"not an image"]}, "content_bytes must be a file of one of the formats JPEG, PNG"),
        ({"start_bytes": [b"GIF89a"]}, "start_bytes"),
        ({"max_side": [97]}, "max_side must be from 16 to 96; got"),
        ({"max_side": [15]}, "max_side must be from 16 to 96; got"),
        ({"style_blend": [[1.0, 2.0, 3.0]]}, "style_blend must have one value, or one for each style; got"),
        ({"style_blend": [[0.0, 0.0]]}, "style_blend must not be 0 for all styles; got"),
        ({"style_scale": [[1.0, 1.0, 1.0]]}, "style_scale must have one value, or one for each style; got"),
        ({"style_scale": [[0.1]]}, "style_scale must be from 0.125 to 8; got"),
        ({"content_region_bytes": [[b"x"] * 3]}, "content_region_bytes must have one value, or one for each style"),
        ({"content_region_bytes": [[png(np.zeros((9, 9, 3), np.uint8))]]}, "content_region_bytes must not be black"),
        ({"style_region_bytes": [[png(np.zeros((9, 9, 3), np.uint8))]]}, "style_region_bytes must not be black"),
        ({"style_layer_weights": [[1.0, 1.0, 1.0]]}, "style_layer_weights must have one value, or one for each style"),
        ({"start_noise": [1.5]}, "start_noise must be from 0 to 1; got"),
        ({"seed": [-1]}, "seed must be from 0 to"),
        ({"colors": ["blue"]}, "colors must be one of style, content, matched; got"),
        ({"image_format": ["gif"]}, "image_format must be one of png, png16, jpeg; got"),
        ({"loss": ["l2"]}, "loss must be one of painter, tutorial; got"),
        ({"optimizer": ["sgd"]}, "optimizer must be one of lbfgs, adam; got"),
        ({"contract_version": [1]}, "contract_version must be 2, the contract of this model"),
        ({"reference_weight_bytes": [b"x"]}, "reference_weight_bytes needs a picture in reference_bytes"),
        ({"content_weight": [float("nan")]}, "content_weight must be from 0"),
        ({"steps": [1, 1]}, "steps must have batch size 1 or match"),
    ],
    ids=str,
)
def test_refused(model: StyleTransfer, two_styles: dict[str, Any], inputs: dict[str, Any], message: str) -> None:
    assert message in refusal_of(lambda: model.functions[contract.PAINT](**{**two_styles, "steps": [1], **inputs}))


def test_too_many_styles_are_refused(model: StyleTransfer, files: dict[str, Any]) -> None:
    many = {**files, "style_bytes": [files["style_bytes"][0] * 9]}
    assert "style_bytes must have from 1 to 8 styles; got" in refused(model, **many)
