"""Limits of a model: requests that it refuses, and the signature `limits`."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from styleserve import contract
from styleserve.contract import Limits
from styleserve.model import ModelSettings, StyleTransfer, random_weights

from .conftest import refusal_of

LIMITS = Limits(
    max_side=48,
    max_steps=50,
    max_batch=2,
    max_pixels=1000,
    max_batch_pixels=1500,
    max_encoded_bytes=9000,
    max_work=0.01,
)
OF_IMAGES = pytest.mark.parametrize("signature", [contract.SERVING_DEFAULT, contract.STYLIZE_LBFGS])


@pytest.fixture(scope="module")
def model() -> StyleTransfer:
    layer = "block1_conv1"
    settings = ModelSettings(style_layers=(layer,), content_layer=layer, painter_content_layer=layer, limits=LIMITS)
    return StyleTransfer(random_weights(seed=0), settings)


def png(height: int, width: int, *, random: bool = False) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8) if random else None
    file = io.BytesIO()
    image = Image.new("RGB", (width, height), "grey") if pixels is None else Image.fromarray(pixels)
    image.save(file, "PNG")
    return file.getvalue()


def run(model: StyleTransfer, signature: str, **given: Any) -> Any:
    inputs = {}
    for field in contract.SIGNATURES[signature].inputs:
        inputs[field.name] = tf.constant(given.pop(field.name), field.dtype) if field.name in given else None
        if inputs[field.name] is None:
            inputs[field.name] = model.default(field)
    assert not given
    return model.functions[signature](**inputs)


def images(height: int, width: int, batch: int = 1) -> dict[str, Any]:
    image = np.full((batch, height, width, 3), 0.5, np.float32)
    return {"content_image": image, "style_image": image[:1, :16, :16]}


def refusal(model: StyleTransfer, signature: str, **given: Any) -> str:
    return refusal_of(lambda: run(model, signature, **given))


@OF_IMAGES
def test_images_have_so_many_pixels_and_no_more(model: StyleTransfer, signature: str) -> None:
    assert run(model, signature, steps=[0], **images(25, 40))["stylized_image"].shape == (1, 25, 40, 3)
    text = refusal(model, signature, steps=[0], **images(26, 40))
    assert "[content_image must have at most 1000 pixels; got height, width:] [26 40]" in text


@OF_IMAGES
def test_images_of_a_batch_have_so_many_pixels_together_and_no_more(model: StyleTransfer, signature: str) -> None:
    assert run(model, signature, steps=[0], **images(25, 30, batch=2))["stylized_image"].shape == (2, 25, 30, 3)
    text = refusal(model, signature, steps=[0], **images(25, 31, batch=2))
    assert "[content_image must have at most 1500 pixels in all its images together; got batch, height, width:]" in text
    assert "[2 25 31]" in text
    large = {**images(25, 30, batch=2), "style_image": images(25, 31, batch=2)["content_image"]}
    assert "[style_image must have at most 1500 pixels in all" in refusal(model, signature, steps=[0], **large)


def files(content: bytes, *styles: bytes, batch: int = 1) -> dict[str, Any]:
    return {"content_bytes": [content] * batch, "style_bytes": [list(styles)] * batch}


def test_files_that_are_worked_on_one_after_another_have_no_limit_together(model: StyleTransfer) -> None:
    done = run(model, contract.PAINT, **files(png(25, 40), png(8, 16), batch=2), max_side=[40], steps=[1])
    assert done["losses"].shape == (2, 1, 5)


def test_files_become_so_many_pixels_and_no_more(model: StyleTransfer) -> None:
    pictures = {**files(png(26, 40), png(8, 16)), "steps": [1]}
    assert run(model, contract.PAINT, max_side=[39], **pictures)["losses"].shape == (1, 1, 5)
    text = refusal(model, contract.PAINT, max_side=[40], **pictures)
    assert f"content_bytes{contract.RESIZED} must have at most 1000 pixels" in text
    assert "[26 40]" in text


def test_styles_become_so_large_and_no_larger(model: StyleTransfer) -> None:
    pictures = {**files(png(16, 16), png(8, 16)), "steps": [1], "max_side": [24]}
    assert run(model, contract.PAINT, style_scale=[[1.75]], **pictures)["losses"].shape == (1, 1, 5)
    text = refusal(model, contract.PAINT, style_scale=[[2.5]], **pictures)
    assert f"style_bytes{contract.RESIZED} must have sides from 1 to 48 pixels" in text
    assert "[30 60]" in text


def test_files_have_so_many_bytes_and_no_more(model: StyleTransfer) -> None:
    large = png(60, 60, random=True)
    assert len(large) > 9000
    text = refusal(model, contract.PAINT, **files(png(16, 16), png(16, 16), large), max_side=[16], steps=[1])
    assert f"[style_bytes must have at most 9000 bytes; got] [{len(large)}]" in text


@OF_IMAGES
def test_the_work_of_a_call_is_bounded(model: StyleTransfer, signature: str) -> None:
    assert run(model, signature, steps=[10], **images(25, 40))["losses"].shape == (1, 10, 4)
    text = refusal(model, signature, steps=[11], **images(25, 40))
    assert (
        "[steps must be fewer, or pictures smaller, or examples fewer: one call may take 0.01 megapixel-steps "
        "(pixels x steps x examples / 1000000); got] [0.011]"
    ) in text
    # All examples of a batch continue until the last one has its steps.
    assert "got] [0.012]" in refusal(model, signature, steps=[1, 8], **images(25, 30, batch=2))


def test_the_work_of_a_call_with_files_is_bounded(model: StyleTransfer) -> None:
    pictures = {**files(png(25, 40), png(8, 16)), "max_side": [40]}
    assert run(model, contract.PAINT, steps=[10], **pictures)["losses"].shape == (1, 10, 5)
    assert "got] [0.011]" in refusal(model, contract.PAINT, steps=[11], **pictures)
    # Each of two has its half.
    pictures = {name: values * 2 for name, values in pictures.items()}
    assert run(model, contract.PAINT, steps=[5, 1], **pictures)["losses"].shape == (2, 5, 5)
    assert "got] [0.012]" in refusal(model, contract.PAINT, steps=[5, 6], **pictures)


def test_the_work_of_a_resumed_call_is_bounded(model: StyleTransfer) -> None:
    begun = run(model, contract.PAINT, **files(png(25, 40), png(8, 16)), max_side=[40], steps=[10], return_state=[1])
    assert run(model, contract.PAINT, state=begun["state"], steps=[10])["losses"].shape == (1, 10, 5)
    assert "got] [0.011]" in refusal(model, contract.PAINT, state=begun["state"], steps=[11])


@pytest.fixture(scope="module")
def small_replies() -> Iterator[StyleTransfer]:
    """A model whose states have at most 100,000 bytes, and whose replies at most 2,000 pixels."""
    layer = "block1_conv1"
    settings = ModelSettings(style_layers=(layer,), content_layer=layer, painter_content_layer=layer)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contract, "MAX_STATE_BYTES", 100_000)
        patch.setattr(contract, "MAX_REPLY_PIXELS", 2000)
        yield StyleTransfer(random_weights(seed=0), settings)


def test_the_state_of_a_print_is_refused(small_replies: StyleTransfer) -> None:
    style = {"style_bytes": [[png(16, 16)]], "steps": [0], "max_side": [24]}
    # 96 bytes a pixel, 4 for the scale of a row of a pair, 40 for the other numbers of each pair, and so on.
    assert run(small_replies, contract.PAINT, content_bytes=[png(24, 24)], return_state=[1], **style)["state"] != b""
    style["max_side"] = [32]
    text = refusal(small_replies, contract.PAINT, content_bytes=[png(32, 32)], return_state=[1], **style)
    assert "[return_state must be 0 where the states of a call could take more than" in text
    found = re.search(r"got bytes:\] \[?(\d+)", text)
    assert found is not None
    assert 32 * 32 * 96 < int(found[1]) < 32 * 32 * 96 + 20_000  # 16,640 of them are statistics of the style
    (without,) = run(small_replies, contract.PAINT, content_bytes=[png(32, 32)], **style)["state"]
    assert without == b""
    style["max_side"] = [24]
    together = [png(24, 24)] * 2
    text = refusal(small_replies, contract.PAINT, content_bytes=together, return_state=[1], **style)
    assert "[return_state must be 0" in text


def test_the_pictures_of_a_reply_have_so_many_pixels_together_and_no_more(small_replies: StyleTransfer) -> None:
    style = {"style_bytes": [[png(16, 16)]], "steps": [0], "max_side": [40]}
    assert len(run(small_replies, contract.PAINT, content_bytes=[png(25, 40)] * 2, **style)["image_bytes"]) == 2
    text = refusal(small_replies, contract.PAINT, content_bytes=[png(26, 40)] * 2, **style)
    assert "[content_bytes must have at most 2000 pixels in all its images together; got batch, height, width:]" in text
    assert "[2 26 40]" in text


@pytest.mark.parametrize("rows", [1, 2])
def test_a_model_tells_its_limits(model: StyleTransfer, rows: int) -> None:
    limits = {name: value.numpy() for name, value in run(model, contract.LIMITS, example=[7] * rows).items()}
    assert limits.pop("fingerprint").tolist() == [model.fingerprint.encode()] * rows
    assert list(limits) == [field.name for field in contract.LIMIT_FIELDS]
    wanted = {
        "contract_version": 2,
        "min_side": model.min_side,
        "style_layers": 1,
        "smallest_octave": 128,
        **LIMITS.numbers(),
    }
    assert {name: value.tolist() for name, value in limits.items()} == {
        name: [pytest.approx(value)] * rows for name, value in wanted.items()
    }


def test_the_fingerprint_is_of_all_that_a_picture_depends_on() -> None:
    layer = "block1_conv1"
    settings = ModelSettings(style_layers=(layer,), content_layer=layer, painter_content_layer=layer)

    def fingerprint(settings: ModelSettings, seed: int = 0) -> str:
        return StyleTransfer(random_weights(seed=seed), settings).fingerprint

    first = fingerprint(settings)
    assert fingerprint(replace(settings, limits=LIMITS, tile_pixels=10_000)) == first
    others = [
        fingerprint(settings, seed=1),
        fingerprint(replace(settings, precision="bfloat16")),
        fingerprint(replace(settings, content_layer="block1_conv2")),
    ]
    assert len({first, *others}) == 4


def test_limits_that_are_not_chosen_follow_from_the_others() -> None:
    numbers = Limits(max_side=100, max_steps=10, max_batch=2, max_encoded_pixels=1000).numbers()
    assert numbers["max_pixels"] == numbers["max_batch_pixels"] == 10_000
    assert Limits(max_side=100, max_batch=2, max_batch_pixels=15_000).numbers()["max_batch_pixels"] == 15_000
    assert Limits(max_side=100, max_batch=2, max_batch_pixels=30_000).numbers()["max_batch_pixels"] == 20_000
    assert numbers["max_work"] == 0.2
    assert numbers["max_encoded_bytes"] == 8000 + 2**24
    assert Limits(max_side=100, max_pixels=20_000, max_work=1e9).numbers()["max_pixels"] == 10_000
    usual = Limits()
    assert usual.numbers()["max_work"] == usual.max_side**2 * usual.max_steps * usual.max_batch / 1e6


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ({"max_side": 15}, "max_side is 15; it must be from 16 to 16384 pixels"),
        ({"max_side": 16385}, "max_side is 16385; it must be from 16 to 16384 pixels"),
        ({"max_steps": 0}, "max_steps is 0; it must be at least 1"),
        ({"max_pixels": -1}, "max_pixels is -1; it must be at least 1"),
        (
            {"max_encoded_bytes": 2**31},
            "max_encoded_bytes is 2147483648; it must be at least 1, and at most 2147483647",
        ),
        (
            {"max_side": 32, "max_batch_pixels": 1023},
            "max_batch_pixels is 1023; it must be at least 1024, the pixels of the largest image",
        ),
        ({"max_work": 0.0}, "max_work is 0.0; it must be over 0"),
        ({"max_work": float("nan")}, "max_work is nan; it must be over 0"),
    ],
)
def test_limits_that_make_no_sense(limits: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Limits(**limits)


def test_describe_accepts_images_of_one_tile(model: StyleTransfer) -> None:
    """Runs tile an image that is larger; the statistics of `describe` are not tiled."""
    tiled = StyleTransfer(random_weights(seed=0), replace(model.settings, tile_pixels=25 * 25))
    image = np.full((1, 25, 25, 3), 0.5, np.float32)
    assert run(tiled, contract.DESCRIBE, image=image)["layer_names"].shape == (1, 1)
    said = refusal(tiled, contract.DESCRIBE, image=np.full((1, 25, 26, 3), 0.5, np.float32))
    assert "image must have at most 625 pixels in all its images together; got batch, height, width:" in said
    assert run(tiled, contract.SERVING_DEFAULT, **images(25, 26), steps=[1])["losses"].shape == (1, 1, 4)
