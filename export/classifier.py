"""The tutorial's check of the weights: VGG-19's classifier names the content of a picture."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

_SIDE = 224
"""Side of the classifier's training images, in pixels."""


class Guess(NamedTuple):
    """A class of ImageNet and its probability.

    Attributes:
        label: Name of the class.
        probability: Probability in [0, 1].
    """

    label: str
    probability: float


def classify(picture: Path) -> list[Guess]:
    """The five best classes of a picture, best first, by Keras' VGG-19 with its classifier.

    Args:
        picture: Path of a JPEG, PNG or WebP file.

    Raises:
        OSError: There is no such file, or Keras' weights with the classifier cannot be downloaded.
        ValueError: The file is not a picture.
    """
    import keras  # noqa: PLC0415 - only this check needs it

    try:
        image = tf.io.decode_image(picture.read_bytes(), channels=3, expand_animations=False)
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(f"{picture} is not a picture: {error.message}") from error
    try:
        network = keras.applications.VGG19(include_top=True, weights="imagenet")
        x = tf.image.resize(tf.cast(image, tf.float32)[None], [_SIDE, _SIDE], antialias=True)
        probabilities = network(keras.applications.vgg19.preprocess_input(x)).numpy()
        (best,) = keras.applications.vgg19.decode_predictions(probabilities, top=5)
    except Exception as error:  # Keras raises a bare Exception where a download fails
        raise OSError(f"Keras' VGG-19 with its classifier cannot be loaded: {error}") from error
    return [Guess(label, float(probability)) for _, label, probability in best]
