"""Small models for the tests of this room."""

import numpy as np
import pytest

from styleserve.contract import Limits
from styleserve.model import ModelSettings, StyleTransfer, random_weights

SETTINGS = ModelSettings(
    style_layers=("block1_conv1", "block2_conv1"),
    content_layer="block2_conv2",
    painter_content_layer="block2_conv2",
    limits=Limits(max_side=96, max_steps=50, max_batch=4, max_encoded_pixels=10_000),
    loss_scale="relative",
)


@pytest.fixture(scope="session")
def model() -> StyleTransfer:
    return StyleTransfer(random_weights(seed=0), SETTINGS)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)
