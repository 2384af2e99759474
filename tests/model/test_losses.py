import numpy as np
import pytest
import tensorflow as tf

from styleserve.model import ModelSettings, StyleTransfer, random_weights
from styleserve.model.losses import LossWeights, gram_matrix, make_targets, style_transfer_losses, total_variation


@pytest.fixture
def features(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((2, 5, 7, 4)).astype(np.float32)


def test_gram_matrix_is_its_formula(features: np.ndarray) -> None:
    rows = features.reshape(2, 35, 4)
    np.testing.assert_allclose(gram_matrix(features), np.matmul(rows.transpose(0, 2, 1), rows) / 35, rtol=1e-5)


def test_gram_matrix_is_symmetric_positive_semidefinite_and_blind_to_order(
    features: np.ndarray, rng: np.random.Generator
) -> None:
    gram = gram_matrix(features).numpy()
    np.testing.assert_array_equal(gram, gram.transpose(0, 2, 1))
    assert np.linalg.eigvalsh(gram).min() > -1e-6
    shuffled = rng.permutation(features.reshape(2, 35, 4), axis=1).reshape(features.shape)
    np.testing.assert_allclose(gram_matrix(shuffled), gram, rtol=1e-5, atol=1e-6)


def test_gram_matrix_of_bfloat16_is_summed_in_float32() -> None:
    # In bfloat16 a sum of ones stops growing at 256.
    gram = gram_matrix(tf.ones([1, 40, 40, 1], tf.bfloat16))
    assert gram.dtype == tf.float32
    assert float(gram[0, 0, 0]) == 1.0


def test_gradient_of_gram_matrix_is_that_of_its_formula(features: np.ndarray, rng: np.random.Generator) -> None:
    upstream = tf.constant(rng.standard_normal((2, 4, 4)).astype(np.float32))  # not symmetric
    x = tf.constant(features)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        gram = gram_matrix(x)
        formula = tf.einsum("bijc,bijd->bcd", x, x) / 35.0
    expected = tape.gradient(formula, x, upstream)
    np.testing.assert_allclose(tape.gradient(gram, x, upstream), expected, rtol=1e-4, atol=1e-6)


def test_gradient_of_gram_matrix_has_the_precision_of_the_features(features: np.ndarray) -> None:
    x = tf.cast(features, tf.bfloat16)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        gram = gram_matrix(x)
        wide = tf.cast(x, tf.float32)
        gram_of_wide = gram_matrix(wide)
    gradient, expected = tape.gradient(gram, x), tape.gradient(gram_of_wide, wide)
    assert gradient.dtype == tf.bfloat16
    np.testing.assert_array_equal(gram, gram_of_wide)
    # bfloat16 has 8 bits: each factor of the 4 products and the sum is rounded by up to 2^-9 of its size.
    np.testing.assert_allclose(tf.cast(gradient, tf.float32), expected, atol=2e-2 * np.abs(expected).max())


def test_total_variation_and_its_gradient_are_tensorflows(rng: np.random.Generator) -> None:
    image = tf.constant(np.round(rng.random((2, 5, 7, 3)), 1).astype(np.float32))  # with equal neighbours
    upstream = tf.constant([1.0, 0.5])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(image)
        ours, theirs = total_variation(image), tf.image.total_variation(image)
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(tape.gradient(ours, image, upstream), tape.gradient(theirs, image, upstream))


def weights(*values: float) -> LossWeights:
    return LossWeights(*(tf.constant([value]) for value in values))


@pytest.mark.parametrize("loss_scale", ["tutorial", "relative"])
def test_losses_are_zero_on_their_own_target(features: np.ndarray, loss_scale: str) -> None:
    flat = tf.fill([2, 6, 6, 3], 0.5)
    targets = make_targets(features, [features], loss_scale=loss_scale)
    losses = style_transfer_losses(
        flat, {"a": features}, targets, weights(1.0, 1.0, 1.0), style_layers=["a"], content_layer="a"
    )
    np.testing.assert_array_equal(losses, np.zeros((2, 4)))


def test_parts_are_weighted_and_add_up(features: np.ndarray, rng: np.random.Generator) -> None:
    image = tf.constant(rng.random((2, 6, 6, 3), np.float32))
    other = features[::-1]
    targets = make_targets(other, [other], loss_scale="tutorial")
    layers = {"style_layers": ["a"], "content_layer": "a"}
    plain = style_transfer_losses(image, {"a": features}, targets, weights(1.0, 1.0, 1.0), **layers).numpy()
    np.testing.assert_allclose(plain[:, 2], ((features - other) ** 2).mean(axis=(1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(plain[:, 3], tf.image.total_variation(image), rtol=1e-6)
    weighted = style_transfer_losses(image, {"a": features}, targets, weights(2.0, 3.0, 5.0), **layers).numpy()
    np.testing.assert_allclose(weighted[:, 1:], plain[:, 1:] * [2.0, 3.0, 5.0], rtol=1e-6)
    np.testing.assert_allclose(weighted[:, 0], weighted[:, 1:].sum(axis=1), rtol=1e-6)


def test_relative_losses_do_not_see_the_scale_of_features(features: np.ndarray) -> None:
    image = tf.fill([2, 6, 6, 3], 0.5)
    other = features[::-1]

    def losses(scale: float) -> np.ndarray:
        targets = make_targets(other * scale, [other * scale], loss_scale="relative")
        one = weights(1.0, 1.0, 0.0)
        layers = {"style_layers": ["a"], "content_layer": "a"}
        return style_transfer_losses(image, {"a": features * scale}, targets, one, **layers).numpy()

    np.testing.assert_allclose(losses(100.0), losses(1.0), rtol=1e-4)


def test_relative_losses_of_a_black_target_are_finite() -> None:
    black = tf.zeros([1, 4, 4, 2])
    targets = make_targets(black, [black], loss_scale="relative")
    losses = style_transfer_losses(
        tf.zeros([1, 4, 4, 3]),
        {"a": tf.ones([1, 4, 4, 2])},
        targets,
        weights(1.0, 1.0, 1.0),
        style_layers=["a"],
        content_layer="a",
    )
    assert np.isfinite(losses).all()


def test_gradient_of_the_whole_loss_agrees_with_differences(rng: np.random.Generator) -> None:
    """The real network in float32: a directional derivative, so that rounding averages out."""
    settings = ModelSettings(style_layers=("block1_conv1", "block2_conv1"), content_layer="block2_conv1")
    stylizer = StyleTransfer(random_weights(0), settings).stylizer
    content, style = (tf.constant(rng.random((1, 24, 24, 3), np.float32)) for _ in range(2))
    targets = stylizer.targets(content, style)
    image = tf.constant(0.3 + 0.4 * rng.random((1, 24, 24, 3), np.float32))
    one = weights(1e-2, 1e4, 30.0)
    losses, gradient = stylizer.losses_and_gradient(image, targets, one)
    direction = gradient / tf.norm(gradient)
    step = 1e-2
    ahead, _ = stylizer.losses_and_gradient(image + step * direction, targets, one)
    behind, _ = stylizer.losses_and_gradient(image - step * direction, targets, one)
    assert losses.shape == (1, 4)
    slope = float(ahead[0, 0] - behind[0, 0]) / (2 * step)
    # The kinks of rectifier, pooling and total variation leave a difference of their own over a finite step.
    assert float(tf.norm(gradient)) == pytest.approx(slope, rel=2e-2)
