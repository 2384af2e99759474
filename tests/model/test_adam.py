import keras
import numpy as np
import tensorflow as tf

from styleserve.model.optimisation import adam


def test_same_as_keras(rng: np.random.Generator) -> None:
    start = rng.random((2, 4, 5, 3), np.float32)
    gradients = rng.standard_normal((30, *start.shape)).astype(np.float32) * 10.0
    optimizer = keras.optimizers.Adam(learning_rate=0.02, beta_1=0.99, epsilon=0.1)
    variable = tf.Variable(start)
    image, state = tf.constant(start), adam.init(tf.constant(start))
    for gradient in gradients:
        optimizer.apply_gradients([(tf.constant(gradient), variable)])
        image, state = adam.update(image, gradient, state, learning_rate=tf.constant([0.02, 0.02]))
    assert int(state.step) == len(gradients)
    assert np.abs(variable.numpy() - start).max() > 0.1
    np.testing.assert_allclose(image, variable.numpy(), rtol=1e-6, atol=1e-7)


def test_each_example_has_its_own_learning_rate(rng: np.random.Generator) -> None:
    start = tf.constant(np.repeat(rng.random((1, 3, 3, 3), np.float32), 2, axis=0))
    gradient = tf.ones_like(start)
    image, _ = adam.update(start, gradient, adam.init(start), learning_rate=tf.constant([0.0, 0.02]))
    np.testing.assert_array_equal(image[0], start[0])
    assert (image[1] < start[1]).numpy().all()
