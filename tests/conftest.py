"""Fixtures that several rooms share: a tiny model, and real weights where they are to be had."""

import os
from pathlib import Path

import pytest

from tests.exported import export_once

# Before TensorFlow is imported anywhere: its greeting belongs in no test's output.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

TINY_STYLE_LAYERS = ("block1_conv1", "block2_conv1")
TINY_CONTENT_LAYER = "block2_conv2"


@pytest.fixture(scope="session")
def tiny_model_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base directory `style_transfer` with one version: random weights up to block2, at most 64 pixels a side."""
    from styleserve.contract import Limits  # noqa: PLC0415
    from styleserve.export import ExportSettings  # noqa: PLC0415

    base = tmp_path_factory.mktemp("models") / "style_transfer"
    export_once(
        ExportSettings(
            output=base,
            weights="random",
            precision="float32",
            style_layers=TINY_STYLE_LAYERS,
            content_layer=TINY_CONTENT_LAYER,
            limits=Limits(max_side=64),
        )
    )
    return base


@pytest.fixture(scope="session")
def real_weights_path() -> Path:
    """Real ImageNet weights of at least block1 to block3, where `STYLESERVE_TEST_WEIGHTS` names a file of them."""
    named = os.environ.get("STYLESERVE_TEST_WEIGHTS", "")
    if not named:
        pytest.skip("STYLESERVE_TEST_WEIGHTS does not name a file with real VGG-19 weights")
    return Path(named)
