"""Effect of each input of `paint`, through a server."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tensorflow as tf

from styleserve.contract import COLORS, LOSS, LOSS_COLUMNS, OPTIMIZER, PAINT

from .pictures import flat, halves, levels, noise, png, tinted

if TYPE_CHECKING:
    from .conftest import Target

CONTENT, STYLE, OTHER = noise(24, 32, seed=0), noise(20, 28, seed=1), noise(16, 30, seed=2)
VARIANTS = list(itertools.product(LOSS.choices, OPTIMIZER.choices))
EVERY_VARIANT = pytest.mark.parametrize(("loss", "optimizer"), VARIANTS, ids=map("-".join, VARIANTS))


def floats(*values: Any) -> Any:
    return np.array(values, np.float32)


def ints(*values: int) -> Any:
    return np.array(values, np.int32)


def text(value: str) -> list[bytes]:
    return [value.encode()]


def answer(server: Target, **inputs: Any) -> dict[str, Any]:
    outputs = server.predict(server.paint(**inputs)).outputs
    return {name: tf.make_ndarray(proto) for name, proto in outputs.items()}


def image(server: Target, *, steps: int = 3, **inputs: Any) -> bytes:
    """File of the result of one example. After one evaluation L-BFGS still holds the start."""
    return answer(server, steps=steps, **inputs)["image_bytes"][0]


def losses(server: Target, **inputs: Any) -> dict[str, Any]:
    """Column by its name, `[steps]`, of one example."""
    return dict(zip(LOSS_COLUMNS, answer(server, **inputs)["losses"][0].T, strict=True))


@EVERY_VARIANT
def test_a_run_in_one_call(server: Target, loss: str, optimizer: str) -> None:
    found = answer(server, steps=3, loss=text(loss), optimizer=text(optimizer))
    assert set(found) == {"image_bytes", "losses", "state"}
    assert levels(found["image_bytes"][0]).shape == (24, 32, 3)
    assert found["losses"].shape == (1, 3, len(LOSS_COLUMNS))
    total, *parts = found["losses"][0].T
    np.testing.assert_allclose(total, sum(parts), rtol=1e-5)
    assert total[-1] < total[0]
    assert found["losses"][0, :, LOSS_COLUMNS.index("reference")].tolist() == [0, 0, 0]


@EVERY_VARIANT
def test_chunks_give_the_bytes_of_one_call(server: Target, loss: str, optimizer: str) -> None:
    variant = {"loss": text(loss), "optimizer": text(optimizer)}
    whole = answer(server, steps=7, **variant)
    found = server.predict(server.paint(steps=2, **variant)).outputs
    rows = [tf.make_ndarray(found["losses"])]
    for steps in (0, 3, 2):
        found = server.predict(server.resume(found["state"].string_val[0], steps=steps, **variant)).outputs
        rows.append(tf.make_ndarray(found["losses"]))
    assert found["image_bytes"].string_val[0] == whole["image_bytes"][0]
    assert found["state"].string_val[0] == whole["state"][0]
    np.testing.assert_array_equal(np.concatenate(rows, axis=1), whole["losses"])


def test_only_what_is_asked_for_comes_back(server: Target) -> None:
    request = server.paint()
    request.output_filter.extend(["state", "losses"])
    found = server.predict(request).outputs
    assert set(found) == {"state", "losses"}
    request = server.resume(found["state"].string_val[0], steps=0)
    request.output_filter.append("image_bytes")
    assert server.predict(request).outputs["image_bytes"].string_val == [image(server, steps=1)]


def test_no_steps_return_the_start(server: Target) -> None:
    content = noise(24, 32)
    assert (levels(image(server, steps=0, content_bytes=[content])) == levels(content)).all()


@pytest.mark.parametrize(
    ("content", "max_side", "size"),
    [((24, 32), 16, (12, 16)), ((24, 32), 64, (48, 64)), ((64, 17), 32, (32, 8)), ((5, 5), 16, (16, 16))],
)
def test_the_longest_side_is_max_side(
    server: Target, content: tuple[int, int], max_side: int, size: tuple[int, int]
) -> None:
    found = image(server, steps=0, content_bytes=[noise(*content)], max_side=ints(max_side))
    assert levels(found).shape == (*size, 3)


def test_a_default_sent_is_a_default_left_out(server: Target) -> None:
    request = server.paint(steps=2)
    signature = server.signatures()[PAINT]
    for name, proto in signature.defaults.items():
        if name not in request.inputs:
            request.inputs[name].CopyFrom(proto)
    assert set(request.inputs) == set(signature.inputs)
    assert server.predict(request).outputs == server.predict(server.paint(steps=2)).outputs


def test_examples_have_their_own_pictures_controls_and_steps(server: Target) -> None:
    small = noise(10, 20, seed=5)
    request = server.paint(
        content_bytes=[CONTENT, small],
        max_side=ints(32, 20),
        optimizer=[b"adam", b"lbfgs"],
        loss=[b"tutorial", b"painter"],
        colors=[b"style", b"content"],
        image_format=[b"png16", b"png"],
    )
    request.inputs["steps"].CopyFrom(tf.make_tensor_proto([1, 3], tf.int32))
    both = {name: tf.make_ndarray(proto) for name, proto in server.predict(request).outputs.items()}
    first = {"optimizer": text("adam"), "loss": text("tutorial"), "image_format": text("png16")}
    second = {"content_bytes": [small], "max_side": ints(20), "colors": text("content")}
    for i, (steps, alone) in enumerate([(1, first), (3, second)]):
        found = answer(server, steps=steps, **alone)
        assert found["image_bytes"][0] == both["image_bytes"][i]
        np.testing.assert_array_equal(found["losses"][0], both["losses"][i, :steps])
        assert np.isnan(both["losses"][i, steps:]).all()


def test_a_blend_of_styles(server: Target) -> None:
    first, second = (image(server, style_bytes=[[style]]) for style in (STYLE, OTHER))
    both = {"style_bytes": [[STYLE, OTHER]]}
    equal = image(server, **both)
    assert len({first, second, equal}) == 3
    # Shares are relative, and equal where they are left out; a share of 0 is a style that is not there.
    assert image(server, **both, style_blend=floats([2, 2])) == equal
    assert image(server, **both, style_blend=floats([7])) == equal
    assert image(server, style_bytes=[[OTHER, STYLE]]) == equal
    assert image(server, **both, style_blend=floats([1, 0])) == first
    assert image(server, **both, style_blend=floats([0, 5])) == second
    one, other = floats([3, 1]), floats([1, 3])
    assert image(server, **both, style_blend=one) == image(server, style_bytes=[[OTHER, STYLE]], style_blend=other)


def test_as_many_styles_as_the_model_takes(server: Target) -> None:
    styles = [noise(16, 16, seed=seed) for seed in range(8)]
    assert levels(image(server, style_bytes=[styles])).shape == (24, 32, 3)


def test_style_scale(server: Target) -> None:
    plain = image(server)
    assert image(server, style_scale=floats([1])) == plain
    # Half of 32 is what half the longest side makes of the style, so both paint with the same strokes.
    half = image(server, style_scale=floats([0.5]))
    assert half != plain
    sized = tf.image.resize(levels(STYLE)[None], [11, 16], antialias=True)
    half_sized = image(server, style_bytes=[[png(np.rint(sized[0]))]], style_scale=floats([0.5]))
    assert np.abs(levels(half_sized) - levels(half)).max() <= 4
    both = {"style_bytes": [[STYLE, OTHER]]}
    assert image(server, **both, style_scale=floats([0.5, 1])) != image(server, **both, style_scale=floats([1, 0.5]))


def test_the_content_stays_where_no_style_applies(server: Target) -> None:
    mask = halves(24, 32)
    found = levels(image(server, steps=3, content_region_bytes=[[mask]]))
    content = levels(CONTENT)
    np.testing.assert_array_equal(found[:, 16:], content[:, 16:])
    assert np.abs(found[:, :16] - content[:, :16]).mean() > 2


def test_each_style_has_its_own_region(server: Target) -> None:
    """Each half of a grey picture takes on its own style, black or white."""
    grey = tinted(24, 32, 128)
    found = levels(
        image(
            server,
            steps=10,
            content_bytes=[grey],
            style_bytes=[[tinted(20, 20, 40), tinted(20, 20, 215)]],
            content_region_bytes=[[halves(24, 32), halves(24, 32, left=0, right=255)]],
            content_weight=floats(0),
        )
    )
    assert found[:, :12].mean() < 110
    assert found[:, 20:].mean() > 146


def test_masks_are_stretched_to_the_picture_and_counted_by_their_luma(server: Target) -> None:
    mask = halves(24, 32)
    plain = image(server, content_region_bytes=[[mask]])
    np.testing.assert_array_equal(
        levels(image(server, content_region_bytes=[[halves(12, 16)]]))[:, 17:], levels(CONTENT)[:, 17:]
    )
    assert image(server, content_region_bytes=[[png(np.repeat(levels(mask)[..., :1], 3, axis=2))]]) == plain
    assert image(server, content_region_bytes=[[flat(9, 9, 255)]]) == image(server)


def test_the_region_of_a_style_is_what_is_learnt_from(server: Target) -> None:
    """The mask selects one half of a style that is half black and half white."""
    style = png(np.hstack([levels(tinted(24, 16, 215)), levels(tinted(24, 16, 40))]))
    grey = {"content_bytes": [tinted(24, 32, 128)], "style_bytes": [[style]], "content_weight": floats(0), "steps": 10}
    white = levels(image(server, **grey, style_region_bytes=[[halves(24, 32)]])).mean()
    black = levels(image(server, **grey, style_region_bytes=[[halves(24, 32, left=0, right=255)]])).mean()
    assert black < 110
    assert white > 146
    assert image(server, style_region_bytes=[[b""]]) == image(server)


def test_a_run_with_regions_resumes(server: Target) -> None:
    regions = {"style_bytes": [[STYLE, OTHER]], "content_region_bytes": [[halves(24, 32), b""]]}
    whole = server.predict(server.paint(steps=4, **regions)).outputs
    begun = server.predict(server.paint(steps=1, **regions)).outputs
    ended = server.predict(server.resume(begun["state"].string_val[0], steps=3)).outputs
    assert ended["image_bytes"] == whole["image_bytes"]


def test_the_start_is_a_picture_of_its_own(server: Target) -> None:
    start = noise(24, 32, seed=9)
    assert (levels(image(server, steps=0, start_bytes=[start])) == levels(start)).all()
    assert image(server, start_bytes=[CONTENT]) == image(server)
    assert image(server, start_bytes=[start]) != image(server)
    assert levels(image(server, steps=0, start_bytes=[noise(9, 9)])).shape == (24, 32, 3)


def test_noise_of_a_seed(server: Target) -> None:
    def start(noise: float, seed: int = 0, steps: int = 0) -> bytes:
        return image(server, steps=steps, start_noise=floats(noise), seed=ints(seed))

    assert start(0, seed=1) == start(0, seed=2) == image(server, steps=0)
    assert start(0.5, seed=1) == start(0.5, seed=1) == start(0.5, seed=1)
    assert start(1, seed=2**31 - 1, steps=2) == start(1, seed=2**31 - 1, steps=2)
    assert len({start(0.5, seed=1), start(0.5, seed=2), start(1, seed=1), start(0, seed=1)}) == 4
    other = image(server, steps=0, content_bytes=[OTHER], start_noise=floats(1), seed=ints(1), max_side=ints(32))
    assert levels(other).shape == (17, 32, 3)
    assert levels(start(1, seed=1)).std() > 20


@pytest.mark.parametrize("colors", COLORS.choices)
def test_colours(server: Target, colors: str) -> None:
    """A red picture in a blue style: of the style, blue comes in; of the content, no blue does."""
    red, blue = tinted(24, 32, (200, 60, 60)), tinted(20, 28, (60, 60, 200))
    request = {"content_bytes": [red], "style_bytes": [[blue]], "content_weight": floats(0), "steps": 10}
    found = levels(image(server, **request, colors=text(colors))).mean((0, 1))
    assert bool(found[2] > found[0]) is (colors == "style")


def test_colours_of_the_content_apply_to_the_file_alone(server: Target) -> None:
    plain, kept = answer(server, steps=2), answer(server, steps=2, colors=text("content"))
    assert kept["state"][0] == plain["state"][0]
    assert kept["image_bytes"][0] != plain["image_bytes"][0]
    again = server.resume(plain["state"][0], steps=0, colors=text("content"))
    assert server.predict(again).outputs["image_bytes"].string_val == [kept["image_bytes"][0]]


def test_weights_are_factors(server: Target) -> None:
    plain = losses(server)
    for name in ("style", "content", "total_variation"):
        doubled = losses(server, **{f"{name}_weight": floats(2)}, optimizer=text("adam"))
        adam = losses(server, optimizer=text("adam"))
        np.testing.assert_allclose(doubled[name][0], 2 * adam[name][0], rtol=1e-5)
    assert losses(server, style_weight=floats(0))["style"].tolist() == [0]
    assert losses(server, style_weight=floats(1))["total"].tolist() == plain["total"].tolist()


def test_weights_of_the_style_layers(server: Target) -> None:
    plain = losses(server, optimizer=text("adam"))["style"]
    each = [
        losses(server, style_layer_weights=floats(weights), optimizer=text("adam"))["style"]
        for weights in ([1, 0], [0, 1], [1, 1], [2], [0])
    ]
    np.testing.assert_allclose(each[0] + each[1], plain, rtol=1e-5)
    np.testing.assert_allclose(each[2], plain)
    np.testing.assert_allclose(each[3], 2 * plain, rtol=1e-5)
    assert each[4].tolist() == [0]


def test_the_reference_pulls_where_its_mask_is_white(server: Target) -> None:
    reference = flat(24, 32, (0, 255, 0))
    request = {"reference_bytes": [reference], "reference_weight": floats(1e4), "steps": 10}
    found = losses(server, **request)["reference"]
    assert found[-1] < found[0] / 10
    everywhere = np.abs(levels(image(server, **request)) - levels(reference)).mean((0, 2))
    half = np.abs(levels(image(server, **request, reference_weight_bytes=[halves(24, 32)])) - levels(reference))
    half = half.mean((0, 2))
    assert everywhere.max() < 40
    assert half[:12].max() < 40
    assert half[20:].mean() > everywhere[20:].mean() + 20
    assert image(server, reference_weight=floats(5)) == image(server), "no picture, no pull"


def test_a_run_with_a_reference_resumes(server: Target) -> None:
    reference = {"reference_bytes": [OTHER], "reference_weight_bytes": [halves(24, 32)]}
    whole = server.predict(server.paint(steps=4, **reference)).outputs
    begun = server.predict(server.paint(steps=1, **reference)).outputs
    ended = server.predict(server.resume(begun["state"].string_val[0], steps=3)).outputs
    assert ended["image_bytes"] == whole["image_bytes"]


def test_formats(server: Target) -> None:
    files = {name: image(server, steps=2, image_format=text(name)) for name in ("png", "png16", "jpeg")}
    assert files["jpeg"].startswith(b"\xff\xd8\xff")
    assert [files[name][:8] for name in ("png", "png16")] == [b"\x89PNG\r\n\x1a\n"] * 2
    assert [files[name][24] for name in ("png", "png16")] == [8, 16], "bits of a channel"
    fine = tf.io.decode_png(files["png16"], channels=3, dtype=tf.uint16).numpy() / 65535
    assert len(np.unique(fine)) > 256
    np.testing.assert_allclose(fine * 255, levels(files["png"]), atol=0.51)
    assert np.abs(levels(files["jpeg"]) - levels(files["png"])).mean() < 4


def test_an_octave_begins_with_the_picture_of_the_last(server: Target) -> None:
    small = image(server, steps=2, max_side=ints(16), image_format=text("png16"))
    found = image(server, steps=0, start_bytes=[small], max_side=ints(32))
    assert levels(found).shape == (24, 32, 3)
    enlarged = tf.image.resize(levels(small)[None].astype(np.float32), [24, 32], "bicubic", antialias=True)[0]
    assert np.abs(levels(found) - np.clip(enlarged, 0, 255)).mean() < 1


def test_tutorials_loss_is_that_of_the_signature_of_images(server: Target) -> None:
    content, style = (
        levels(file)[None].astype(np.float32) / np.float32(255) for file in (CONTENT, noise(24, 32, seed=1))
    )
    files = answer(
        server,
        steps=3,
        style_bytes=[[noise(24, 32, seed=1)]],
        loss=text("tutorial"),
        optimizer=text("adam"),
    )
    numbers = server.predict(server.images(steps=3, content_image=content, style_image=style)).outputs
    columns = [LOSS_COLUMNS.index(name) for name in ("total", "style", "content", "total_variation")]
    # The last bit of the division by 255 differs.
    np.testing.assert_allclose(files["losses"][..., columns], tf.make_ndarray(numbers["losses"]), rtol=1e-4)
