"""The signatures, called as functions: batches, steps, sizes, refusals."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from styleserve import contract
from styleserve.model import ModelSettings, StyleTransfer, random_weights
from styleserve.model.network.architecture import layers_up_to

from .conftest import refusal_of


def stylize(model: StyleTransfer, content: np.ndarray, style: np.ndarray, **controls: Any) -> dict[str, np.ndarray]:
    outputs = model.functions[contract.SERVING_DEFAULT](content_image=content, style_image=style, **controls)
    return {name: value.numpy() for name, value in outputs.items()}


@pytest.fixture
def contents(rng: np.random.Generator) -> np.ndarray:
    return rng.random((3, 24, 32, 3), np.float32)


@pytest.fixture
def styles(rng: np.random.Generator) -> np.ndarray:
    return rng.random((3, 28, 20, 3), np.float32)


def test_example_of_a_batch_is_the_same_alone(model: StyleTransfer, contents: np.ndarray, styles: np.ndarray) -> None:
    controls = {
        "content_weight": np.array([1, 2, 3], np.float32),
        "style_weight": np.array([100, 10, 1], np.float32),
        "total_variation_weight": np.array([0, 1e-4, 1e-3], np.float32),
        "steps": np.array([6, 0, 3], np.int32),
        "learning_rate": np.array([0.02, 0.02, 0.05], np.float32),
    }
    batch = stylize(model, contents, styles, **controls)
    assert batch["losses"].shape == (3, 6, 4)
    for i in range(3):
        own = {name: value[i : i + 1] for name, value in controls.items()}
        alone = stylize(model, contents[i : i + 1], styles[i : i + 1], **own)
        steps = int(controls["steps"][i])
        # Batched convolutions may sum in another order: the last bits of float32, carried through six steps.
        np.testing.assert_allclose(batch["stylized_image"][i], alone["stylized_image"][0], atol=1e-4)
        np.testing.assert_allclose(batch["losses"][i, :steps], alone["losses"][0], rtol=1e-4, atol=1e-7)
        assert np.isnan(batch["losses"][i, steps:]).all()
        assert np.isfinite(batch["losses"][i, :steps]).all()


def test_one_style_serves_a_whole_batch(model: StyleTransfer, contents: np.ndarray, styles: np.ndarray) -> None:
    shared = stylize(model, contents, styles[:1], steps=np.int32([2]))
    repeated = stylize(model, contents, np.repeat(styles[:1], 3, axis=0), steps=np.int32([2, 2, 2]))
    np.testing.assert_allclose(shared["stylized_image"], repeated["stylized_image"], atol=1e-5)


def test_no_steps_give_the_content_back(model: StyleTransfer, contents: np.ndarray, styles: np.ndarray) -> None:
    result = stylize(model, contents, styles, steps=np.int32([0]))
    np.testing.assert_array_equal(result["stylized_image"], contents)
    assert result["losses"].shape == (3, 0, 4)


def test_loss_falls_and_pixels_stay_in_range(model: StyleTransfer, contents: np.ndarray, styles: np.ndarray) -> None:
    result = stylize(model, contents, styles, steps=np.int32([20]))
    assert (result["losses"][:, -1, 0] < 0.9 * result["losses"][:, 0, 0]).all()
    assert result["stylized_image"].min() >= 0.0
    assert result["stylized_image"].max() <= 1.0


def test_bfloat16_is_close_to_float32(contents: np.ndarray, styles: np.ndarray) -> None:
    weights = random_weights(0)
    layers = {"style_layers": ("block1_conv1", "block3_conv1"), "content_layer": "block3_conv2"}
    losses = [
        stylize(
            StyleTransfer(weights, ModelSettings(loss_scale="relative", precision=precision, **layers)),
            contents,
            styles,
            steps=np.int32([5]),
        )["losses"]
        for precision in ("float32", "bfloat16")
    ]
    # bfloat16 has 8 bits; each loss is a mean over thousands of features, which leaves less.
    np.testing.assert_allclose(losses[1][..., 0], losses[0][..., 0], rtol=2e-2)


GOOD = np.full((1, 16, 16, 3), 0.5, np.float32)
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"content_image": np.zeros((1, 97, 16, 3), np.float32)}, "content_image must have sides from 2 to 96 pixels"),
        ({"content_image": np.zeros((1, 0, 0, 3), np.float32)}, "content_image must have sides from 2"),
        ({"content_image": np.zeros((0, 16, 16, 3), np.float32)}, "content_image must have a batch size from 1 to 4"),
        ({"content_image": np.zeros((5, 16, 16, 3), np.float32)}, "content_image must have a batch size from 1 to 4"),
        ({"style_image": np.zeros((2, 16, 16, 3), np.float32)}, "style_image must have batch size 1 or match"),
        ({"style_image": GOOD * NAN}, "style_image must hold finite values"),
        ({"content_image": GOOD * INF}, "content_image must hold finite values"),
        ({"content_image": GOOD * 4}, "content_image must hold finite values in [0, 1]"),
        ({"steps": np.int32([-1])}, "steps must be from 0 to 50; got"),
        ({"steps": np.int32([51])}, "steps must be from 0 to 50; got"),
        ({"steps": np.int32([1, 1])}, "steps must have batch size 1 or match"),
        ({"content_weight": np.float32([NAN])}, "content_weight must be from 0 to 1e+12; got"),
        ({"style_weight": np.float32([-1.0])}, "style_weight must be from 0"),
        ({"total_variation_weight": np.float32([INF])}, "total_variation_weight must be from 0"),
        ({"learning_rate": np.float32([1.5])}, "learning_rate must be from 0 to 1; got"),
    ],
    ids=str,
)
def test_refused(model: StyleTransfer, inputs: dict[str, np.ndarray], message: str) -> None:
    arguments = {"content_image": GOOD, "style_image": GOOD, "steps": np.int32([1]), **inputs}
    assert message in refusal_of(lambda: model.functions[contract.SERVING_DEFAULT](**arguments))


@pytest.mark.parametrize("tile_pixels", [None, 64 * 64])
@pytest.mark.parametrize("name", [contract.SERVING_DEFAULT, contract.STYLIZE_LBFGS])
def test_an_evaluation_is_a_call_that_can_be_stopped_at_every_convolution(
    model: StyleTransfer, name: str, tile_pixels: int | None
) -> None:
    """A call of a function is where TensorFlow looks whether a step was cancelled: one a layer, there and back.

    And no pooling is derived within the loop itself, where TensorFlow may not have seen the pooling yet when it chooses
    a kernel: a sixth of a step, some days.
    """
    settings = replace(model.settings, tile_pixels=tile_pixels)
    function: Any = StyleTransfer(random_weights(seed=0), settings).functions[name]
    library = function.get_concrete_function().graph.as_graph_def().library.function
    evaluations = [own for own in library if any(node.op == "MaxPoolGrad" for node in own.node_def)]
    assert all(own.attr["_noinline"].b for own in evaluations)
    operations = [[node.op for node in own.node_def] for own in evaluations]
    layers = len(layers_up_to(settings.layers))
    for ops in operations:
        assert sum(op in ("PartitionedCall", "StatefulPartitionedCall") for op in ops) >= 2 * layers
    # Of the whole image, and for large images of a tile.
    convolutions = [[ops.count(op) for op in ("Conv2D", "Conv2DBackpropInput")] for ops in operations]
    assert convolutions == [[layers, layers]] * (1 if tile_pixels is None else 2)


def test_describe_gives_what_the_contract_promises(model: StyleTransfer, rng: np.random.Generator) -> None:
    image = rng.random((2, 20, 30, 3), np.float32)
    outputs = model.functions[contract.DESCRIBE](image=image)
    fields = contract.SIGNATURES[contract.DESCRIBE].outputs
    grams = [contract.gram_name(layer) for layer in model.settings.style_layers]
    assert set(outputs) == {*grams, *(field.name for field in fields)}
    for field in fields:
        outputs[field.name].shape.assert_is_compatible_with(field.shape)
        assert outputs[field.name].dtype == tf.as_dtype(field.dtype)
    assert outputs["layer_names"].numpy().tolist() == [[b"block1_conv1", b"block2_conv1", b"block2_conv2"]] * 2
    assert outputs["layer_shapes"].numpy()[1].tolist() == [[20, 30, 64], [10, 15, 128], [10, 15, 128]]
    features = model.network(image)["block2_conv1"].numpy()[1]
    np.testing.assert_allclose(
        outputs["layer_statistics"][1, 1], [features.min(), features.max(), features.mean()], rtol=1e-5
    )
    np.testing.assert_allclose(outputs["high_pass_x"], np.diff(image, axis=2), atol=1e-6)
    np.testing.assert_allclose(outputs["high_pass_y"], np.diff(image, axis=1), atol=1e-6)
    total = np.abs(np.diff(image, axis=1)).sum(axis=(1, 2, 3)) + np.abs(np.diff(image, axis=2)).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(outputs["total_variation"], total, rtol=1e-5)
    assert outputs["gram_block2_conv1"].shape == (2, 128, 128)


@pytest.mark.parametrize("name", sorted(contract.SIGNATURES))
def test_functions_take_what_the_contract_lists(model: StyleTransfer, name: str) -> None:
    function: Any = model.functions[name]
    concrete = function.get_concrete_function()
    specs = {spec.name: spec for spec in concrete.structured_input_signature[0]}
    assert list(specs) == [field.name for field in contract.SIGNATURES[name].inputs]
    for field in contract.SIGNATURES[name].inputs:
        assert specs[field.name].dtype == tf.as_dtype(field.dtype)
        assert tuple(specs[field.name].shape.as_list()) == field.shape
