"""The loop in PyTorch is the tutorial's, and so ours."""

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import pytorch
from styleserve import contract
from styleserve.model import ModelSettings, StyleTransfer, random_weights

pytestmark = pytest.mark.skipif(not pytorch.available(), reason="PyTorch is not installed: pip install '.[bench]'")

# After a step the same formula in another order of its sums; Adam, with its large epsilon, hardly magnifies that.
TOLERANCE = 1e-4


def test_losses_of_the_first_steps_are_ours() -> None:
    weights = random_weights(0)
    content, style = (tf.random.stateless_uniform([1, 33, 40, 3], seed=[0, seed]).numpy() for seed in (1, 2))
    loop = pytorch.PyTorch(
        weights, content, style, style_layers=contract.STYLE_LAYERS, content_layer=contract.CONTENT_LAYER
    )
    theirs = np.stack([loop.step().cpu().numpy() for _ in range(3)])
    function = StyleTransfer(weights, ModelSettings()).functions[contract.SERVING_DEFAULT]
    ours = function(content, style, steps=[3])[contract.LOSSES.name].numpy()[0]
    np.testing.assert_allclose(theirs[0], ours[0], rtol=TOLERANCE)
    np.testing.assert_allclose(theirs[1:], ours[1:], rtol=10 * TOLERANCE)
