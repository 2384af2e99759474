"""Small models for the tests of this room."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from styleserve.contract import Limits
from styleserve.model import ModelSettings, StyleTransfer, random_weights

SETTINGS = ModelSettings(
    style_layers=("block1_conv1", "block2_conv1"),
    content_layer="block2_conv2",
    painter_content_layer="block2_conv2",
    limits=Limits(max_side=96, max_steps=50, max_batch=4, max_encoded_pixels=10_000),
    loss_scale="relative",
)


def refusal_of(call: Callable[[], object]) -> str:
    """Message of the refusal of a request.

    A failure cancels the ops beside it, and about once in 250 times TensorFlow reports that in place of the failure; a
    session that serves repeats such a call as well.
    """
    for _ in range(5):
        with pytest.raises((tf.errors.InvalidArgumentError, tf.errors.CancelledError)) as caught:
            call()
        if not isinstance(caught.value, tf.errors.CancelledError):
            return caught.value.message
    raise AssertionError("cancelled each time")


@pytest.fixture(scope="session")
def model() -> StyleTransfer:
    return StyleTransfer(random_weights(seed=0), SETTINGS)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)
