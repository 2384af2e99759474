"""L-BFGS against SciPy's, on problems whose answer is known and on a style transfer."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import Bounds, minimize

from styleserve.model import StyleTransfer
from styleserve.model.loss.canvas import plain_canvas
from styleserve.model.loss.terms.term import TermWeights
from styleserve.model.optimisation import lbfgs
from styleserve.model.optimisation.preconditioner import smoothing

# From points `[batch, height, width, channels]` to losses `[batch]`.
Loss = Callable[[tf.Tensor], tf.Tensor]


def identity(x: tf.Tensor) -> tf.Tensor:
    return x


def evaluate(loss: Loss, point: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    with tf.GradientTape() as tape:
        tape.watch(point)
        values = loss(point)
    return values[:, None], tape.gradient(values, point)


def run(
    loss: Loss, start: np.ndarray, evaluations: int, precondition: lbfgs.Preconditioner = identity
) -> tuple[lbfgs.LbfgsState, np.ndarray]:
    """The last state, and the losses after each evaluation, `[evaluations, batch]`."""

    @tf.function(reduce_retracing=True)
    def step(state: lbfgs.LbfgsState) -> lbfgs.LbfgsState:
        point = lbfgs.trial(state, precondition)
        running = tf.fill([tf.shape(point)[0]], True)
        return lbfgs.update(state, point, *evaluate(loss, point), running=running, precondition=precondition)

    state = lbfgs.init(tf.constant(start, tf.float32), columns=1)
    history: list[np.ndarray] = []
    for _ in range(evaluations):
        state = step(state)
        history.append(state.losses[:, 0].numpy())
    return state, np.array(history)


def scipy_loss(loss: Loss, start: np.ndarray, evaluations: int) -> float:
    """The loss that SciPy's L-BFGS-B ends with on [0, 1], in as many evaluations."""

    def value_and_gradient(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = evaluate(loss, tf.constant(x.reshape(start.shape), tf.float32))
        return float(value[0, 0]), gradient.numpy().astype(np.float64).ravel()

    result = minimize(
        value_and_gradient,
        start.astype(np.float64).ravel(),
        jac=True,
        method="L-BFGS-B",
        bounds=Bounds(0.0, 1.0),
        options={"maxcor": lbfgs.HISTORY, "maxfun": evaluations, "ftol": 0.0, "gtol": 0.0},
    )
    return float(result.fun)


def quadratic(rng: np.random.Generator) -> tuple[Loss, np.ndarray, np.ndarray]:
    """An ill-conditioned bowl (condition number 1000), where to start, and its minimum, inside [0, 1]."""
    shape = (1, 5, 4, 3)
    rotation, _ = np.linalg.qr(rng.standard_normal((60, 60)))
    curvature = (rotation * np.geomspace(1.0, 1000.0, 60)) @ rotation.T
    minimum = 0.3 + 0.4 * rng.random(shape, np.float32)

    def loss(x: tf.Tensor) -> tf.Tensor:
        d = tf.reshape(x - minimum, [-1, 60])
        return 0.5 * tf.reduce_sum(d * tf.linalg.matvec(tf.constant(curvature, tf.float32), d), axis=1)

    return loss, rng.random(shape, np.float32), minimum


def rosenbrock(x: tf.Tensor) -> tf.Tensor:
    """Rosenbrock's valley in 12 dimensions, moved so that its minimum, 0 at 0.75 each, lies in [0, 1]."""
    z = tf.reshape(x, [tf.shape(x)[0], -1]) * 4.0 - 2.0
    return tf.reduce_sum(100.0 * tf.square(z[:, 1:] - tf.square(z[:, :-1])) + tf.square(1.0 - z[:, :-1]), axis=1)


def test_quadratic(rng: np.random.Generator) -> None:
    loss, start, minimum = quadratic(rng)
    state, history = run(loss, start, 120)
    np.testing.assert_allclose(state.image, minimum, atol=2e-3)
    # SciPy's line search is another one, so the two are compared by how far they get: step by step they differ.
    assert history[-1, 0] < 1e-7 * history[0, 0]
    assert history[59, 0] < 10.0 * scipy_loss(loss, start, 60)


def test_rosenbrock() -> None:
    start = np.full((1, 2, 2, 3), 0.3, np.float32)
    state, history = run(rosenbrock, start, 150)
    assert history[-1, 0] < 1e-4
    assert scipy_loss(rosenbrock, start, 150) < 1e-4
    np.testing.assert_allclose(state.image, 0.75, atol=5e-3)


def test_minimum_outside_the_bounds_ends_on_them(rng: np.random.Generator) -> None:
    target = rng.uniform(-1.0, 2.0, (1, 6, 6, 3)).astype(np.float32)

    def loss(x: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.square(x - target), axis=[1, 2, 3])

    state, _ = run(loss, np.full(target.shape, 0.5, np.float32), 30)
    np.testing.assert_allclose(state.image, np.clip(target, 0.0, 1.0), atol=1e-4)


def test_goes_up_by_no_more_than_roughness_where_the_loss_jumps(rng: np.random.Generator) -> None:
    def loss(x: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.abs(x - 0.4), axis=[1, 2, 3]) + tf.reduce_sum(tf.floor(5.0 * x), axis=[1, 2, 3])

    _, history = run(loss, rng.random((2, 4, 4, 3), np.float32), 60)
    assert (history[1:] <= history[:-1] * 1.001).all()
    assert (history[-1] < 0.8 * history[0]).all()


def test_steps_over_what_is_not_finite(rng: np.random.Generator) -> None:
    def loss(x: tf.Tensor) -> tf.Tensor:
        inside = tf.reduce_sum(tf.square(x - 0.45), axis=[1, 2, 3])
        return tf.where(tf.reduce_min(x, axis=[1, 2, 3]) < 0.44, float("nan"), inside)

    state, history = run(loss, rng.uniform(0.5, 1.0, (1, 4, 4, 3)).astype(np.float32), 60)
    assert np.isfinite(history).all()
    assert history[-1, 0] < 0.01 * history[0, 0]
    assert np.isfinite(state.image).all()


def test_stays_at_a_minimum() -> None:
    start = np.full((1, 3, 3, 3), 0.25, np.float32)
    state, history = run(lambda x: tf.reduce_sum(tf.square(x - 0.25), axis=[1, 2, 3]), start, 12)
    np.testing.assert_array_equal(state.image, start)
    np.testing.assert_array_equal(history, 0.0)


def test_example_of_a_batch_is_the_same_alone(rng: np.random.Generator) -> None:
    starts = rng.random((3, 2, 2, 3), np.float32)
    together, _ = run(rosenbrock, starts, 25)
    for i in range(3):
        alone, _ = run(rosenbrock, starts[i : i + 1], 25)
        np.testing.assert_array_equal(together.image[i], alone.image[0])


def test_what_does_not_run_stands_still(rng: np.random.Generator) -> None:
    state, _ = run(rosenbrock, rng.random((2, 2, 2, 3), np.float32), 5)
    point = lbfgs.trial(state, identity)
    running = tf.constant([True, False])
    after = lbfgs.update(state, point, *evaluate(rosenbrock, point), running=running, precondition=identity)
    np.testing.assert_array_equal(after.image[1], state.image[1])
    np.testing.assert_array_equal(after.losses[1], state.losses[1])
    assert np.abs(after.image[0] - state.image[0]).max() > 0.0


@pytest.mark.parametrize("size", [(8, 8), (7, 10), (9, 5), (1, 1)])
def test_smoothing_is_symmetric_and_positive(size: tuple[int, int], rng: np.random.Generator) -> None:
    operator = smoothing(tf.constant(size))
    a, b = (rng.standard_normal((1, *size, 3)).astype(np.float32) for _ in range(2))
    assert np.sum(a * operator(b)) == pytest.approx(np.sum(b * operator(a)), rel=1e-4, abs=1e-4)
    assert np.sum(a * operator(a)) > 0.0
    np.testing.assert_allclose(operator(np.ones_like(a)), 1.0, rtol=1e-5)  # the mean of an image is left alone


def test_smoothing_falls_with_the_frequency() -> None:
    x = np.arange(64)
    waves = [np.tile(np.cos(2 * np.pi * cycles * x / 64)[None, None, :, None], (1, 4, 1, 3)) for cycles in (1, 8, 32)]
    operator = smoothing(tf.constant([4, 64]))
    factors = [np.abs(operator(wave.astype(np.float32))).max() for wave in waves]
    np.testing.assert_allclose(factors, [1 / (1 + f / 0.02) for f in (1 / 64, 8 / 64, 32 / 64)], rtol=1e-4)


def test_style_transfer_gets_where_scipy_gets(model: StyleTransfer, rng: np.random.Generator) -> None:
    content, style = (tf.constant(rng.random((1, 24, 20, 3), np.float32)) for _ in range(2))
    parts = {"style": 1e6, "content": 1e4, "total_variation": 3.0, "reference": 0.0}
    weights = TermWeights({name: tf.constant([factor]) for name, factor in parts.items()}, tf.ones([1, 2]))
    objective = model.objectives["tutorial"]
    targets = objective.targets(plain_canvas(content, objective.style_moments(style)))
    # As in a signature: the sizes are not known while the graph is built.
    specs = tf.nest.map_structure(lambda weight: tf.TensorSpec(weight.shape), weights)
    losses = tf.function(objective.losses, [tf.TensorSpec([None, None, None, 3]), objective.target_specs(), specs])

    def loss(x: tf.Tensor) -> tf.Tensor:
        return losses(x, targets, weights)[:, 0]

    # Without the preconditioner, which SciPy does not have.
    _, history = run(loss, content.numpy(), 60)
    assert history[-1, 0] < 1.05 * scipy_loss(loss, content.numpy(), 60)


def test_signature_gives_the_image_and_its_loss(model: StyleTransfer, rng: np.random.Generator) -> None:
    content, style = (rng.random((1, 24, 20, 3), np.float32) for _ in range(2))
    function = model.functions["stylize_lbfgs"]
    outputs = function(content_image=content, style_image=style, steps=np.int32([30]))
    losses = outputs["losses"].numpy()[0]
    assert losses.shape == (30, 4)
    assert (losses[1:, 0] <= losses[:-1, 0] * 1.001).all()
    assert losses[-1, 0] < 0.5 * losses[0, 0]
    again = function(content_image=outputs["stylized_image"], style_image=style, steps=np.int32([1]))
    # Other targets, the same image: total variation is its own.
    assert again["losses"].numpy()[0, 0, 3] == pytest.approx(losses[-1, 3], rel=1e-5)


def test_signature_batch_with_own_steps(model: StyleTransfer, rng: np.random.Generator) -> None:
    contents, styles = rng.random((2, 24, 20, 3), np.float32), rng.random((1, 24, 20, 3), np.float32)
    function = model.functions["stylize_lbfgs"]
    both = function(content_image=contents, style_image=styles, steps=np.int32([8, 3]))
    alone = function(content_image=contents[1:], style_image=styles, steps=np.int32([3]))
    assert np.isnan(both["losses"][1, 3:]).all()
    # Batched convolutions may sum in another order; a line search carries the last bits on.
    np.testing.assert_allclose(both["losses"][1, :3], alone["losses"][0], rtol=1e-3)
    np.testing.assert_allclose(both["stylized_image"][1], alone["stylized_image"][0], atol=1e-3)
