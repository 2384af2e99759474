"""Choice of the layers by how far the weights reach."""

from __future__ import annotations

import pytest

from styleserve import contract
from styleserve.export.layers import choose_layers
from styleserve.model import Weights, random_weights

WEIGHTS = random_weights(seed=0)


def up_to(layer: str) -> Weights:
    names = list(WEIGHTS.layers)
    kept = names[: names.index(layer) + 1]
    return Weights({name: WEIGHTS.layers[name] for name in kept}, "some.npz", "none")


def test_whole_weights_give_the_layers_of_both_losses() -> None:
    layers = choose_layers(WEIGHTS, None, None, trained=True)
    assert layers.style == contract.STYLE_LAYERS
    assert (layers.content, layers.painter_content) == ("block5_conv2", "block4_conv2")
    assert str(layers) == (
        "style block1_conv1, block2_conv1, block3_conv1, block4_conv1, block5_conv1; content block5_conv2 (tutorial) "
        "and block4_conv2 (painter); the weights reach to block5_conv4"
    )


def test_weights_that_end_early_give_their_deepest_layer() -> None:
    layers = choose_layers(up_to("block3_conv3"), None, None, trained=True)
    assert layers.style == ("block1_conv1", "block2_conv1", "block3_conv1")
    assert (layers.content, layers.painter_content) == ("block3_conv3", "block3_conv3")
    layers = choose_layers(up_to("block3_conv4"), None, None, trained=True)
    assert (layers.content, layers.painter_content) == ("block3_conv4", "block3_conv3")
    layers = choose_layers(up_to("block2_conv1"), None, None, trained=True)
    assert (layers.content, layers.painter_content) == ("block2_conv1", "block2_conv1")
    layers = choose_layers(up_to("block4_conv4"), None, None, trained=True)
    assert (layers.content, layers.painter_content) == ("block4_conv4", "block4_conv2")


def test_untrained_weights_have_one_content_layer() -> None:
    layers = choose_layers(WEIGHTS, None, None, trained=False)
    assert (layers.content, layers.painter_content) == ("block5_conv2", "block5_conv2")


def test_layers_that_are_named_hold_for_both_losses() -> None:
    layers = choose_layers(WEIGHTS, ("block2_conv2",), "block3_conv1", trained=True)
    assert layers.style == ("block2_conv2",)
    assert (layers.content, layers.painter_content) == ("block3_conv1", "block3_conv1")


def test_weights_without_any_style_layer_are_refused() -> None:
    weights = Weights({"block1_conv2": WEIGHTS.layers["block1_conv2"]}, "some.npz", "none")
    with pytest.raises(ValueError, match=r"some.npz: it has none of the style layers block1_conv1, block2"):
        choose_layers(weights, None, None, trained=True)
    with pytest.raises(ValueError, match="it has no layer of VGG-19"):
        choose_layers(Weights({}, "some.npz", "none"), None, None, trained=True)
