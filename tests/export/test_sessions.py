"""An export in a session with graph rewriting, as TensorFlow Serving runs it; the embedded server runs it without."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from styleserve import contract
from styleserve.contract import Limits
from styleserve.export.exporter import _SAVE_OPTIONS, _without_rewriting
from styleserve.model import ModelSettings, StyleTransfer, random_weights

from ..conftest import TINY_CONTENT_LAYER, TINY_STYLE_LAYERS
from ..contract.pictures import png


class Server:
    """The signature `paint` in a session.

    Args:
        version: Directory of a model.
        rewriting: Whether TensorFlow rewrites the graph.
    """

    def __init__(self, version: Path, *, rewriting: bool) -> None:
        config = tf.compat.v1.ConfigProto()
        config.graph_options.rewrite_options.disable_meta_optimizer = not rewriting
        self.session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        with self.session.graph.as_default():
            loaded = tf.compat.v1.saved_model.load(self.session, ["serve"], str(version))
        self._definition = loaded.signature_def[contract.PAINT]

    def paint(self, **inputs: Any) -> dict[str, Any]:
        defaults = {name: tf.make_ndarray(value) for name, value in self._definition.defaults.items()}
        feeds = {self._definition.inputs[name].name: value for name, value in {**defaults, **inputs}.items()}
        return self.session.run({name: own.name for name, own in self._definition.outputs.items()}, feeds)


@pytest.fixture(scope="module")
def tiled_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of `tiny_model_base`, which divides pictures of 24 x 40 pixels into two tiles."""
    settings = ModelSettings(
        style_layers=TINY_STYLE_LAYERS,
        content_layer=TINY_CONTENT_LAYER,
        painter_content_layer=TINY_CONTENT_LAYER,
        loss_scale="relative",
        trained=False,
        limits=Limits(max_side=64),
        tile_pixels=900,
    )
    model, path = StyleTransfer(random_weights(0), settings), tmp_path_factory.mktemp("tiled") / "1"
    with _without_rewriting():
        tf.saved_model.save(model, str(path), signatures=model.functions, options=_SAVE_OPTIONS)
    return path


@pytest.fixture(scope="module")
def servers(tiny_model_base: Path, tiled_version: Path) -> Iterator[list[Server]]:
    (version,) = (path for path in tiny_model_base.iterdir() if path.name.isdigit())
    every = [Server(path, rewriting=rewriting) for path in (version, tiled_version) for rewriting in (True, False)]
    yield every
    for server in every:
        server.session.close()


@pytest.mark.parametrize("optimizer", contract.OPTIMIZER.choices)
@pytest.mark.parametrize("loss", contract.LOSS.choices)
def test_neither_rewriting_nor_tiles_change_a_result(servers: list[Server], loss: str, optimizer: str) -> None:
    """Every input at once, two examples, and a second call that resumes."""
    rng = np.random.default_rng(0)
    mask = np.zeros((24, 40, 3), np.uint8)
    mask[:, :25] = 255
    pictures = [png(rng.integers(0, 256, (24, 40, 3), np.uint8)) for _ in range(5)]
    choices = {"loss": [loss], "optimizer": [optimizer], "steps": np.int32([3, 2]), "return_state": np.int32([1])}
    files = {
        "content_bytes": pictures[:2],
        "style_bytes": [pictures[2:4]],
        "content_region_bytes": [[png(mask), png(255 - mask)]],
        "style_region_bytes": [[b"", png(mask)]],
        "reference_bytes": [pictures[4]],
        "reference_weight_bytes": [png(mask)],
        "start_bytes": [pictures[4]],
        "start_noise": np.float32([0.2]),
        "max_side": np.int32([40]),
        "colors": ["matched"],
    }
    expected, *others = (server.paint(**choices, **files) for server in servers)
    resumed = [server.paint(**choices, state=expected["state"]) for server in servers]
    for own in others:
        np.testing.assert_allclose(own["losses"], expected["losses"], rtol=1e-3)
    for own in resumed:
        np.testing.assert_allclose(own["losses"], resumed[0]["losses"], rtol=1e-2)
        assert [Image.open(io.BytesIO(file)).size for file in own["image_bytes"]] == [(40, 24)] * 2
