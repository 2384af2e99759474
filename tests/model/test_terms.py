import numpy as np
import pytest
import tensorflow as tf

from styleserve.model import ModelSettings, StyleTransfer, random_weights
from styleserve.model.loss.canvas import flat_moments, plain_canvas
from styleserve.model.loss.statistics import Moments, gram_matrix, moments
from styleserve.model.loss.terms import ContentTerm, ReferenceTerm, SquaredVariationTerm, StyleTerm, TotalVariationTerm
from styleserve.model.loss.terms.style_layer import LayerTarget, layer_loss
from styleserve.model.loss.terms.term import TermWeights
from styleserve.model.loss.terms.total_variation import total_variation


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


def test_total_variation_and_its_gradient_are_tensorflows(rng: np.random.Generator) -> None:
    image = tf.constant(np.round(rng.random((2, 5, 7, 3)), 1).astype(np.float32))  # with equal neighbours
    upstream = tf.constant([1.0, 0.5])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(image)
        ours, theirs = total_variation(image), tf.image.total_variation(image)
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(tape.gradient(ours, image, upstream), tape.gradient(theirs, image, upstream))


def regions_of(rng: np.random.Generator, count: int) -> np.ndarray:
    weights = rng.random((count, 5, 7)).astype(np.float32)
    return weights / weights.sum(axis=(1, 2), keepdims=True)


def test_moments_of_regions_are_their_formula(features: np.ndarray, rng: np.random.Generator) -> None:
    regions = regions_of(rng, 3)
    rows, weights = features[:1].reshape(35, 4), regions.reshape(3, 35)
    own = moments(features[:1], tf.constant(regions))
    np.testing.assert_allclose(own.gram, np.einsum("rp,pc,pd->rcd", weights, rows, rows), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(own.mean, weights @ rows, rtol=1e-4, atol=1e-6)


def test_moments_without_regions_are_those_of_the_whole_image(features: np.ndarray) -> None:
    for regions in (None, tf.zeros([0, 5, 7])):
        own = moments(features, regions)
        np.testing.assert_array_equal(own.gram, gram_matrix(features))
        np.testing.assert_allclose(own.mean, features.mean(axis=(1, 2)), rtol=1e-5, atol=1e-6)
        centred = (features - features.mean(axis=(1, 2), keepdims=True)).reshape(2, 35, 4)
        np.testing.assert_allclose(own.covariance(), centred.transpose(0, 2, 1) @ centred / 35, rtol=1e-4, atol=1e-5)


def formula(x: tf.Tensor, regions: tf.Tensor, target: LayerTarget, *, centred: bool) -> tf.Tensor:
    """The loss of a style layer as TensorFlow derives it."""
    if regions.shape[0]:
        matrix, mean = tf.einsum("rij,bijc,bijd->rcd", regions, x, x), tf.einsum("rij,bijc->rc", regions, x)
    else:
        matrix, mean = tf.einsum("bijc,bijd->bcd", x, x) / 35.0, tf.reduce_mean(x, axis=[1, 2])
    if centred:
        matrix -= mean[:, :, None] * mean[:, None, :]
    loss = target.factors[:, 0] * tf.reduce_mean(tf.square(matrix - target.matrix), axis=[1, 2])
    return loss + target.factors[:, 1] * tf.reduce_mean(tf.square(mean - target.mean), axis=1) if centred else loss


def layer_target(rng: np.random.Generator, styles: int) -> LayerTarget:
    root = rng.standard_normal((styles, 4, 4)).astype(np.float32)
    mean, factors = rng.random((styles, 4), np.float32), rng.random((styles, 2), np.float32)
    return LayerTarget(tf.constant(root + root.transpose(0, 2, 1)), tf.constant(mean), tf.constant(factors))


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_gradient_of_a_style_layer_is_that_of_its_formula(
    features: np.ndarray, rng: np.random.Generator, count: int, centred: bool
) -> None:
    regions, target = tf.constant(regions_of(rng, count)), layer_target(rng, count or 2)
    x = tf.constant(features[:1] if count else features)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        ours = layer_loss(x, regions, target, centred=centred)
        theirs = formula(x, regions, target, centred=centred)
    upstream = tf.constant(rng.standard_normal(ours.shape).astype(np.float32))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    expected = tape.gradient(theirs, x, upstream)
    np.testing.assert_allclose(tape.gradient(ours, x, upstream), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("count", [0, 3])
def test_gradient_of_a_style_layer_has_the_precision_of_the_features(
    features: np.ndarray, rng: np.random.Generator, count: int
) -> None:
    regions, target = tf.constant(regions_of(rng, count)), layer_target(rng, count or 1)
    x = tf.cast(features[:1], tf.bfloat16)
    wide = tf.cast(x, tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, wide])
        losses = [layer_loss(each, regions, target, centred=True) for each in (x, wide)]
    gradient, expected = (tape.gradient(loss, each) for loss, each in zip(losses, (x, wide), strict=True))
    assert gradient.dtype == tf.bfloat16
    np.testing.assert_array_equal(*losses)
    # bfloat16 has 8 bits: each factor of the 4 products and the sum is rounded by up to 2^-9 of its size.
    np.testing.assert_allclose(tf.cast(gradient, tf.float32), expected, atol=2e-2 * np.abs(expected).max())


class Fixed:
    """A canvas and features for terms alone, without a network."""

    def __init__(self, features: np.ndarray, regions: np.ndarray | None = None) -> None:
        batch = len(features)
        empty = plain_canvas(tf.zeros([batch, 5, 7, 3]), tf.zeros([1, 0]))
        own = moments(features, None)
        wide = np.zeros((batch, 64, 64), np.float32)
        wide[:, :4, :4] = own.gram
        mean = np.zeros((batch, 64), np.float32)
        mean[:, :4] = own.mean
        self.canvas = empty._replace(styles=flat_moments([Moments(tf.constant(wide), tf.constant(mean))]))
        if regions is not None:
            self.canvas = self.canvas._replace(regions=tf.constant(regions), blend=tf.ones([len(regions)]))


LAYER = "block1_conv1"  # 64 channels, of which the tests use 4


def wide(features: np.ndarray) -> dict[str, tf.Tensor]:
    return {LAYER: tf.pad(features, [[0, 0], [0, 0], [0, 0], [0, 60]])}


def one_weight(batch: int = 2) -> TermWeights:
    return TermWeights({}, tf.ones([batch, 1]))


@pytest.mark.parametrize("relative", [False, True])
def test_losses_are_zero_on_their_own_target(features: np.ndarray, relative: bool) -> None:
    flat = tf.fill([2, 5, 7, 3], 0.5)
    canvas = Fixed(features).canvas
    terms = [StyleTerm((LAYER,), relative=relative, centred=centred) for centred in (False, True)]
    for term in (*terms, ContentTerm(LAYER, relative=relative), TotalVariationTerm(), SquaredVariationTerm()):
        targets = term.targets(canvas, wide(features))
        np.testing.assert_allclose(term.loss(flat, wide(features), targets, one_weight()), 0.0, atol=1e-9)


def test_content_loss_is_its_formula(features: np.ndarray) -> None:
    term, other = ContentTerm(LAYER, relative=False), features[::-1]
    targets = term.targets(Fixed(features).canvas, wide(other))
    loss = term.loss(tf.zeros([2, 5, 7, 3]), wide(features), targets, one_weight())
    np.testing.assert_allclose(loss, ((features - other) ** 2).sum(axis=(1, 2, 3)) / (35 * 64), rtol=1e-5)


def test_style_loss_is_its_formula(features: np.ndarray) -> None:
    other = features[::-1]
    term = StyleTerm((LAYER,), relative=True)
    targets = term.targets(Fixed(other).canvas, wide(other))
    loss = term.loss(tf.zeros([2, 5, 7, 3]), wide(features), targets, one_weight())
    own, wanted = gram_matrix(features).numpy(), gram_matrix(other).numpy()
    expected = ((own - wanted) ** 2).mean(axis=(1, 2)) / (wanted**2).mean(axis=(1, 2))
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    half = TermWeights({}, tf.constant([[0.5], [2.0]]))
    np.testing.assert_allclose(
        term.loss(tf.zeros([2, 5, 7, 3]), wide(features), targets, half), expected * [0.5, 2.0], rtol=1e-4
    )


def test_centred_style_loss_matches_covariance_and_mean(features: np.ndarray) -> None:
    other = features[::-1] + 1.0
    term = StyleTerm((LAYER,), relative=True, centred=True)
    targets = term.targets(Fixed(other).canvas, wide(other))
    loss = term.loss(tf.zeros([2, 5, 7, 3]), wide(features), targets, one_weight())
    expected = np.zeros(2)
    for i in range(2):
        (own, wanted) = (np.cov(each[i].reshape(35, 4).T, bias=True) for each in (features, other))
        expected[i] = ((own - wanted) ** 2).mean() / (wanted**2).mean()
        (own, wanted) = (each[i].reshape(35, 4).mean(axis=0) for each in (features, other))
        expected[i] += ((own - wanted) ** 2).mean() / (wanted**2).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-3)


def test_regions_count_by_their_area(features: np.ndarray) -> None:
    """A style on a part of the picture: the loss of that part, times the share of the picture that it has."""
    mask = np.zeros((1, 5, 7), np.uint8)
    mask[:, :, :3] = 255
    term = StyleTerm((LAYER,), relative=False)
    own = features[:1]
    canvas = Fixed(own, mask).canvas
    targets = term.targets(canvas, wide(own))
    other = features[1:]
    loss = term.loss(tf.zeros([1, 5, 7, 3]), wide(other), targets, one_weight(1))
    part = moments(wide(other[:, :, :3])[LAYER], None).gram
    whole = moments(wide(own)[LAYER], None).gram
    expected = 3 / 7 * np.mean(np.square(part - whole))
    np.testing.assert_allclose(loss, [expected], rtol=1e-4)


def test_relative_losses_of_a_black_target_are_finite() -> None:
    black = np.zeros((1, 5, 7, 4), np.float32)
    for term in (StyleTerm((LAYER,), relative=True, centred=True), ContentTerm(LAYER, relative=True)):
        targets = term.targets(Fixed(black).canvas, wide(black))
        assert np.isfinite(term.loss(tf.zeros([1, 5, 7, 3]), wide(black + 1.0), targets, one_weight(1))).all()


def test_squared_variation_is_its_formula(rng: np.random.Generator) -> None:
    image = rng.random((2, 5, 7, 3), np.float32)
    expected = 4 * sum(np.square(np.diff(image, axis=axis)).mean(axis=(1, 2, 3)) for axis in (1, 2))
    loss = SquaredVariationTerm().loss(tf.constant(image), {}, (), one_weight())
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_reference_loss_is_weighted_by_its_mask(rng: np.random.Generator) -> None:
    image, reference = (tf.constant(rng.random((1, 5, 7, 3), np.float32)) for _ in range(2))
    mask = rng.integers(0, 256, (1, 5, 7), np.uint8)
    term, canvas = ReferenceTerm(), plain_canvas(image, tf.zeros([1, 0]))
    assert term.loss(image, {}, term.targets(canvas, {}), one_weight(1)).numpy().tolist() == [0.0]
    canvas = canvas._replace(reference=reference, reference_weight=tf.constant(mask))
    expected = np.mean(np.square(image - reference) * mask[..., None] / 255)
    np.testing.assert_allclose(term.loss(image, {}, term.targets(canvas, {}), one_weight(1)), [expected], rtol=1e-5)


@pytest.mark.parametrize("loss", ["tutorial", "painter"])
@pytest.mark.parametrize("regions", [0, 2])
def test_gradient_of_the_whole_loss_agrees_with_differences(rng: np.random.Generator, loss: str, regions: int) -> None:
    """The real network in float32: a directional derivative, so that rounding averages out."""
    settings = ModelSettings(
        style_layers=("block1_conv1", "block2_conv1"),
        content_layer="block2_conv1",
        painter_content_layer="block2_conv1",
    )
    objective = StyleTransfer(random_weights(0), settings).objectives[loss]
    content, style = (tf.constant(rng.random((1, 24, 24, 3), np.float32)) for _ in range(2))
    canvas = plain_canvas(content, objective.style_moments(style))
    if regions:
        masks = np.zeros((2, 24, 24), np.uint8)
        masks[0, :, :15], masks[1, :, 10:] = 255, 128
        styles = tf.concat([canvas.styles, objective.style_moments(content)], axis=0)
        canvas = canvas._replace(regions=tf.constant(masks), blend=tf.constant([1.0, 2.0]), styles=styles)
    targets = objective.targets(canvas)
    image = tf.constant(0.3 + 0.4 * rng.random((1, 24, 24, 3), np.float32))
    balance = objective.balanced({term.name: tf.ones([1]) for term in objective.terms})
    weights = TermWeights(balance, tf.ones([1, 2]))
    losses, gradient = objective.losses_and_gradient(image, targets, weights)
    assert losses.shape == (1, 5)
    np.testing.assert_allclose(losses[:, 0], tf.reduce_sum(losses[:, 1:], axis=1), rtol=1e-6)
    direction = gradient / tf.norm(gradient)
    step = 1e-2
    ahead, _ = objective.losses_and_gradient(image + step * direction, targets, weights)
    behind, _ = objective.losses_and_gradient(image - step * direction, targets, weights)
    slope = float(ahead[0, 0] - behind[0, 0]) / (2 * step)
    # The kinks of rectifier, pooling and total variation leave a difference of their own over a finite step.
    assert float(tf.norm(gradient)) == pytest.approx(slope, rel=2e-2)
