"""Images as 8-bit integers."""

from __future__ import annotations

import numpy as np
import pytest

from styleserve.model.rounding import Rounded


@pytest.mark.parametrize("magnitude", [1e-35, 1e-12, 1.0, 1e20])
def test_rounds_to_a_level_of_its_row(rng: np.random.Generator, magnitude: float) -> None:
    rows = np.geomspace(1e-3, 1.0, 9, dtype=np.float32)[:, None, None]
    x = (rng.standard_normal((3, 2, 9, 7, 3), np.float32) * rows * magnitude).astype(np.float32)
    rounded = Rounded.of(x)
    numbers, level = rounded
    assert numbers.dtype == np.int8
    assert level.shape == (3, 2, 9, 1, 1)
    error = np.abs(rounded.exact().numpy() - x)
    assert (error <= level.numpy()).all()
    assert (error <= np.maximum(np.abs(x).max(axis=(-2, -1), keepdims=True), 1e-30) / 64).all()


def test_what_was_quantised_stays_as_it_is(rng: np.random.Generator) -> None:
    x = rng.standard_normal((50, 1, 40, 5, 3), np.float32)
    x[0, 0, 0] = 0.0
    x[1, 0, :, 0, 0] = 2.0 ** np.arange(-20, 20)  # just at the limits of levels
    x[2, 0, :, 0, 0] = np.nextafter(2.0 ** np.arange(-20, 20), 0.0, dtype=np.float32)  # and just below
    rounded = Rounded.of(x)
    again = Rounded.of(rounded.exact())
    np.testing.assert_array_equal(again.numbers, rounded.numbers)
    np.testing.assert_array_equal(again.level, rounded.level)
