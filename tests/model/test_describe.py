"""The numbers of `describe` that are read in reports."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from styleserve import contract
from styleserve.model import StyleTransfer


def test_gram_matrices_and_edges(model: StyleTransfer, rng: np.random.Generator) -> None:
    image = rng.random((2, 20, 30, 3), np.float32)
    outputs = model.functions[contract.DESCRIBE](image=image)
    features = model.network(tf.constant(image))
    for layer in model.settings.style_layers:
        values = features[layer].numpy().astype(np.float64)
        expected = np.einsum("bijc,bijd->bcd", values, values) / (values.shape[1] * values.shape[2])
        assert expected.max() > 1
        np.testing.assert_allclose(
            outputs[contract.gram_name(layer)], expected, rtol=1e-4, atol=1e-5 * expected.max(), err_msg=layer
        )
    np.testing.assert_allclose(outputs["sobel_edges"], tf.image.sobel_edges(tf.constant(image)), atol=1e-5)


def test_edges_are_those_along_y_and_then_those_along_x(model: StyleTransfer) -> None:
    image = np.broadcast_to(np.linspace(0, 1, 30, dtype=np.float32)[None, None, :, None], (1, 20, 30, 3))
    along_y, along_x = np.moveaxis(model.functions[contract.DESCRIBE](image=image)["sobel_edges"].numpy(), -1, 0)
    np.testing.assert_allclose(along_y, 0.0, atol=1e-5)
    assert along_x[:, :, 1:-1].min() > 0.1
