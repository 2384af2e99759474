"""Images quantised to 8 bits."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from styleserve.model.optimisation.quantized import Quantized


@pytest.mark.parametrize("magnitude", [1e-35, 1e-12, 1.0, 1e20])
def test_error_is_within_a_scale_of_the_row(rng: np.random.Generator, magnitude: float) -> None:
    rows = np.geomspace(1e-3, 1.0, 9, dtype=np.float32)[:, None, None]
    x = (rng.standard_normal((6, 9, 7, 3), np.float32) * rows * magnitude).astype(np.float32)
    words, scale = quantized = Quantized.of(x)
    assert words.dtype == np.int64
    assert words.shape == (6, 24)  # 189 integers, eight in each word
    assert scale.shape == (6, 9, 1, 1)
    error = np.abs(quantized.dequantized(tf.constant(x)).numpy() - x)
    assert (error <= scale.numpy()).all()
    assert (error <= np.maximum(np.abs(x).max(axis=(-2, -1), keepdims=True), 1e-30) / 64).all()


def test_quantising_twice_changes_nothing(rng: np.random.Generator) -> None:
    x = rng.standard_normal((50, 40, 5, 3), np.float32)
    x[0, 0] = 0.0
    x[1, :, 0, 0] = 2.0 ** np.arange(-20, 20)  # powers of two, where the scale changes
    x[2, :, 0, 0] = np.nextafter(2.0 ** np.arange(-20, 20), 0.0, dtype=np.float32)  # and just below
    quantized = Quantized.of(x)
    again = Quantized.of(quantized.dequantized(tf.constant(x)))
    np.testing.assert_array_equal(again.words, quantized.words)
    np.testing.assert_array_equal(again.scale, quantized.scale)
