"""The optimisation of the pixels: one loop, everything it owns a loop variable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

import tensorflow as tf

from styleserve import contract
from styleserve.contract import LossScale

from . import adam, lbfgs
from .architecture import CONV_LAYERS
from .bands import by_size
from .losses import LossWeights, Targets, make_targets, style_transfer_losses
from .spectrum import smoothing
from .vgg19 import Vgg19


class AdamRun(NamedTuple):
    """Where a run of Adam is: the image, `[batch, height, width, 3]` float32 in [0, 1], and the optimiser's state."""

    image: tf.Tensor
    moments: adam.AdamState


class Stylizer(tf.Module):
    """Neural style transfer of one request.

    Args:
        network: gives at least the layers named below.
        style_layers: layers whose Gram matrices are matched.
        content_layer: layer whose features are matched.
        loss_scale: see `make_targets`.
        max_side: longest side of an image, in pixels.
    """

    def __init__(
        self,
        network: Vgg19,
        *,
        style_layers: tuple[str, ...],
        content_layer: str,
        loss_scale: LossScale,
        max_side: int,
    ) -> None:
        super().__init__(name="stylizer")
        self.network = network
        image = tf.TensorSpec(contract.IMAGE.shape, tf.float32)
        # Of pictures that nothing is derived by. A call of its own, so that it stands in a graph once.
        self.features: Callable[[tf.Tensor], Mapping[str, tf.Tensor]] = by_size(
            network.__call__, [image], max_side=max_side
        )
        self.style_layers = style_layers
        self.content_layer = content_layer
        self.loss_scale: LossScale = loss_scale
        weight = tf.TensorSpec([None], tf.float32)
        self.losses_and_gradient: Callable[[tf.Tensor, Targets, LossWeights], tuple[tf.Tensor, tf.Tensor]] = by_size(
            self._losses_and_gradient,
            [image, self.target_specs(), LossWeights(weight, weight, weight)],
            max_side=max_side,
        )
        """Losses `[batch, 4]` and the gradient of each example's total loss with respect to its own pixels.

        A call of its own: TensorFlow takes oneDNN's kernel for the gradient of a pooling if it has seen that of the
        pooling before. Within a loop, whose graph has no beginning, that is chance, and the other kernel works with
        one thread an example: at 512 pixels in bfloat16 a sixth of a step.
        """

    def targets(self, content_image: tf.Tensor, style_image: tf.Tensor) -> Targets:
        """What the image is pulled towards; images `[batch, height, width, 3]` float32 in [0, 1]."""
        style = self.features(style_image)
        return make_targets(
            self.features(content_image)[self.content_layer],
            [style[layer] for layer in self.style_layers],
            loss_scale=self.loss_scale,
        )

    def target_specs(self) -> Targets:
        """What `targets` gives, each as a `tf.TensorSpec`."""
        channels = {layer.name: layer.out_channels for layer in CONV_LAYERS}
        scale = tf.TensorSpec([None], tf.float32)
        return Targets(
            content=tf.TensorSpec([None, None, None, channels[self.content_layer]], tf.float32),
            content_scale=scale,
            grams=tuple(
                tf.TensorSpec([None, channels[name], channels[name]], tf.float32) for name in self.style_layers
            ),
            gram_scales=(scale,) * len(self.style_layers),
        )

    def losses(self, image: tf.Tensor, targets: Targets, weights: LossWeights, *, banded: bool = False) -> tf.Tensor:
        """Total, style, content and total-variation loss of each example, `[batch, 4]` float32."""
        return style_transfer_losses(
            image,
            self.network(image, banded=banded),
            targets,
            weights,
            style_layers=self.style_layers,
            content_layer=self.content_layer,
        )

    def _losses_and_gradient(
        self, image: tf.Tensor, targets: Targets, weights: LossWeights, *, banded: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(image)
            losses = self.losses(image, targets, weights, banded=banded)
            # Examples do not see each other, so the gradient of the sum is each example's own gradient.
            total = tf.reduce_sum(losses[:, 0])
        return losses, tape.gradient(total, image)

    def adam(
        self, targets: Targets, run: AdamRun, weights: LossWeights, *, steps: tf.Tensor, learning_rate: tf.Tensor
    ) -> tuple[AdamRun, tf.Tensor]:
        """Optimises the image of a run with Adam, clipped to [0, 1] after each step.

        Args:
            targets: see `targets`.
            run: where to start.
            weights: factors of the losses, `[batch]` each.
            steps: `[batch]` int32; an example that has had its steps stays still.
            learning_rate: `[batch]` float32.

        Returns:
            The run after these steps, and the losses before each, `[batch, max(steps), 4]`, NaN after an example's own
            last step.
        """

        def step(run: AdamRun, running: tf.Tensor) -> tuple[AdamRun, tf.Tensor]:
            losses, gradient = self.losses_and_gradient(run.image, targets, weights)
            moved, moments = adam.update(run.image, gradient, run.moments, learning_rate=learning_rate)
            image = tf.where(running[:, None, None, None], tf.clip_by_value(moved, 0.0, 1.0), run.image)
            return AdamRun(image, moments), losses

        return _loop(step, run, steps)

    def lbfgs(
        self, targets: Targets, run: lbfgs.LbfgsState, weights: LossWeights, *, steps: tf.Tensor
    ) -> tuple[lbfgs.LbfgsState, tf.Tensor]:
        """Optimises the image of a run with L-BFGS, projected on [0, 1].

        Arguments and results are those of `adam`, but a step is one evaluation of the network, the first one at the
        image that the run began with, and the losses are those of the image that is held after each evaluation.
        """
        precondition = smoothing(tf.shape(run.image)[1:3])

        def step(run: lbfgs.LbfgsState, running: tf.Tensor) -> tuple[lbfgs.LbfgsState, tf.Tensor]:
            point = lbfgs.trial(run, precondition)
            losses, gradient = self.losses_and_gradient(point, targets, weights)
            run = lbfgs.update(run, point, losses, gradient, running=running, precondition=precondition)
            return run, run.losses

        return _loop(step, run, steps)


_State = TypeVar("_State")


def _loop(
    step: Callable[[_State, tf.Tensor], tuple[_State, tf.Tensor]], state: _State, steps: tf.Tensor
) -> tuple[_State, tf.Tensor]:
    """Runs `step` on the state as often as the example with the most steps wants it.

    Args:
        step: from a state, and which examples are running (`[batch]` bool), to the next state and the losses,
            `[batch, 4]`.
        state: before the first step.
        steps: `[batch]` int32.

    Returns:
        The state after the last step, and all losses, `[batch, max(steps), 4]`, NaN after an example's own last step.
    """
    most = tf.reduce_max(steps)

    def body(i: tf.Tensor, state: _State, history: tf.TensorArray) -> tuple[tf.Tensor, _State, tf.TensorArray]:
        running = i < steps
        state, losses = step(state, running)
        return i + 1, state, history.write(i, tf.where(running[:, None], losses, float("nan")))

    def unfinished(i: tf.Tensor, *_: object) -> tf.Tensor:
        return i < most

    # An array without any element cannot be stacked, so there is one row too many where there are no steps.
    columns = len(contract.LOSS_COLUMNS)
    history = tf.TensorArray(tf.float32, size=tf.maximum(most, 1), element_shape=[None, columns])
    history = history.write(0, tf.fill([tf.shape(steps)[0], columns], float("nan")))
    _, state, history = tf.while_loop(
        unfinished,
        body,
        (tf.constant(0), state, history),
        parallel_iterations=1,  # iterations depend on one another; more would only hold memory
    )
    return state, tf.transpose(history.stack()[:most], [1, 0, 2])
