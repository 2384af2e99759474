"""The ring of L-BFGS against a Python list of pairs for each example."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from styleserve.model.optimisation.pair_ring import HISTORY, PairRing
from styleserve.model.optimisation.quantized import Quantized

SHAPE = (3, 4, 5, 3)


def test_each_example_keeps_its_own_newest_pairs(rng: np.random.Generator) -> None:
    ring = PairRing.empty(tf.constant(SHAPE))
    kept: list[list[tuple[np.ndarray, np.ndarray]]] = [[], [], []]
    image = tf.zeros(SHAPE)
    for _ in range(3 * HISTORY):
        s, y = (Quantized.of(tf.constant(rng.standard_normal(SHAPE), tf.float32)) for _ in range(2))
        where = rng.random(3) < (0.9, 0.5, 0.1)
        ring = ring.with_pair(s, y, tf.constant(where))
        for b in np.flatnonzero(where):
            kept[b].insert(0, (s.dequantized(image).numpy()[b], y.dequantized(image).numpy()[b]))
        for age in range(HISTORY):
            found_s, found_y = (each.numpy() for each in ring.pair(tf.constant(age), image))
            for b in range(3):
                if age < len(kept[b]):
                    np.testing.assert_array_equal(found_s[b], kept[b][age][0])
                    np.testing.assert_array_equal(found_y[b], kept[b][age][1])
    assert len(kept[0]) > HISTORY > len(kept[2])


def test_packing_keeps_the_pairs_of_one_example(rng: np.random.Generator) -> None:
    image = tf.zeros((1, *SHAPE[1:]))
    ring = PairRing.empty(tf.shape(image))
    for _ in range(HISTORY + 3):
        s, y = (Quantized.of(tf.constant(rng.standard_normal(image.shape), tf.float32)) for _ in range(2))
        ring = ring.with_pair(s, y, tf.constant([True]))
    again = PairRing.unpacked(*ring.packed(tf.constant(HISTORY)), tf.shape(image))
    for age in range(HISTORY):
        for one, other in zip(ring.pair(tf.constant(age), image), again.pair(tf.constant(age), image), strict=True):
            np.testing.assert_array_equal(one, other)
