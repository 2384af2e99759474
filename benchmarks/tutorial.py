"""The baseline: TensorFlow's style-transfer tutorial with its Keras layers, Keras' Adam and its train step.

Only the weights are an argument, so that no network connection is needed, as `weights="imagenet"` would.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from styleserve.model import Weights
from styleserve.model.network.architecture import layers_up_to

STYLE_WEIGHT = 1e-2
CONTENT_WEIGHT = 1e4
TOTAL_VARIATION_WEIGHT = 30.0


def vgg_layers(weights: Weights, layers: Sequence[str]) -> keras.Model:
    """The tutorial's `vgg_layers`, built from the Keras layers of VGG-19 in Keras Applications."""
    inputs = keras.Input((None, None, 3))
    x = inputs
    outputs: dict[str, tf.Tensor] = {}
    for layer in layers_up_to(layers):
        if layer.pool:
            x = keras.layers.MaxPooling2D((2, 2), strides=(2, 2))(x)
        conv = keras.layers.Conv2D(layer.out_channels, 3, activation="relu", padding="same", name=layer.name)
        x = conv(x)
        conv.set_weights(list(weights.layers[layer.name]))
        outputs[layer.name] = x
    network = keras.Model(inputs, [outputs[name] for name in layers])
    network.trainable = False
    return network


def gram_matrix(input_tensor: tf.Tensor) -> tf.Tensor:
    """The tutorial's `gram_matrix`, `[batch, height, width, channels]` float32 to `[batch, channels, channels]`."""
    result = tf.linalg.einsum("bijc,bijd->bcd", input_tensor, input_tensor)
    input_shape = tf.shape(input_tensor)
    return result / tf.cast(input_shape[1] * input_shape[2], tf.float32)


class Tutorial:
    """The tutorial's optimisation of one image.

    Args:
        weights: Weights of VGG-19.
        content: Start and content target, `[1, height, width, 3]` float32 in [0, 1].
        style: `[1, height, width, 3]` float32 in [0, 1].
        style_layers: Layers whose Gram matrices are matched.
        content_layer: Layer whose features are matched.
        content_weight: Factor of the content loss.
        total_variation_weight: Factor of the total variation.
    """

    def __init__(
        self,
        weights: Weights,
        content: tf.Tensor,
        style: tf.Tensor,
        *,
        style_layers: Sequence[str],
        content_layer: str,
        content_weight: float = CONTENT_WEIGHT,
        total_variation_weight: float = TOTAL_VARIATION_WEIGHT,
    ) -> None:
        self._vgg = vgg_layers(weights, [*style_layers, content_layer])
        self._style_targets = self._extract(tf.constant(style))[0]
        self._content_target = self._extract(tf.constant(content))[1]
        self._content_weight = content_weight
        self._total_variation_weight = total_variation_weight
        self.optimizer = keras.optimizers.Adam(learning_rate=0.02, beta_1=0.99, epsilon=1e-1)
        self.image = tf.Variable(content)
        self.optimizer.build([self.image])
        self._state = [self.image, *self.optimizer.variables]
        self._beginning = [variable.numpy() for variable in self._state]
        self.train_step = tf.function(self._train_step)

    def restart(self) -> None:
        """Resets image and optimiser, so that a measurement can leave out the first step, which traces."""
        for variable, value in zip(self._state, self._beginning, strict=True):
            variable.assign(value)

    def steps(self, count: int) -> list[float]:
        """Runs a number of steps; returns the total loss before each."""
        # Losses are read at the end, so that a GPU does not wait for Python after every step.
        losses = [self.train_step() for _ in range(count)]
        return [float(loss) for loss in losses]

    def _extract(self, image: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
        outputs = self._vgg(keras.applications.vgg19.preprocess_input(image * 255.0))
        return [gram_matrix(output) for output in outputs[:-1]], outputs[-1]

    def _train_step(self) -> tf.Tensor:
        """Runs one step; returns the total loss before it, float32 scalar."""
        with tf.GradientTape() as tape:
            style_outputs, content_output = self._extract(self.image)
            pairs = zip(style_outputs, self._style_targets, strict=True)
            style_loss = tf.add_n([tf.reduce_mean((output - target) ** 2) for output, target in pairs])
            style_loss *= STYLE_WEIGHT / len(style_outputs)
            content_loss = tf.reduce_mean((content_output - self._content_target) ** 2) * self._content_weight
            loss = style_loss + content_loss
            loss += self._total_variation_weight * tf.image.total_variation(self.image)[0]
        gradient = tape.gradient(loss, self.image)
        self.optimizer.apply_gradients([(gradient, self.image)])
        self.image.assign(tf.clip_by_value(self.image, 0.0, 1.0))
        return loss
