from __future__ import annotations

import numpy as np
import tensorflow as tf

from styleserve.model.network.edge_padding import edge_padded


def test_edges_are_repeated(rng: np.random.Generator) -> None:
    image = tf.constant(rng.random((2, 3, 4, 5), np.float32))
    upstream = tf.constant(rng.random((2, 5, 6, 5), np.float32))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(image)
        ours = edge_padded(image)
        theirs = tf.pad(image, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_allclose(tape.gradient(ours, image, upstream), tape.gradient(theirs, image, upstream), rtol=1e-6)
