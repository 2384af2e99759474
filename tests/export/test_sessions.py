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
def servers(tiny_model_base: Path) -> Iterator[list[Server]]:
    (version,) = (path for path in tiny_model_base.iterdir() if path.name.isdigit())
    both = [Server(version, rewriting=rewriting) for rewriting in (True, False)]
    yield both
    for server in both:
        server.session.close()


@pytest.mark.parametrize("optimizer", contract.OPTIMIZER.choices)
@pytest.mark.parametrize("loss", contract.LOSS.choices)
def test_rewriting_changes_no_result(servers: list[Server], loss: str, optimizer: str) -> None:
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
    ours, theirs = (server.paint(**choices, **files) for server in servers)
    np.testing.assert_allclose(ours["losses"], theirs["losses"], rtol=1e-3)
    ours, theirs = (
        server.paint(**choices, state=first["state"]) for server, first in zip(servers, (ours, theirs), strict=True)
    )
    np.testing.assert_allclose(ours["losses"], theirs["losses"], rtol=1e-2)
    assert [Image.open(io.BytesIO(file)).size for file in ours["image_bytes"]] == [(40, 24)] * 2
