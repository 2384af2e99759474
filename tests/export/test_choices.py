"""Choices that an export makes by itself and reports."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from typer.testing import CliRunner

from styleserve import contract
from styleserve.__main__ import app
from styleserve.contract import Limits
from styleserve.export import ExportSettings, export_model
from styleserve.model import random_weights


@pytest.mark.usefixtures("one_signature")
@pytest.mark.parametrize("speedup", [3.0, 0.5])
def test_weights_of_a_file_and_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, speedup: float) -> None:
    """Weights that may be trained have the tutorial's losses; the precision is the quicker one, with the reason."""
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda *_: [])
    monkeypatch.setattr("styleserve.export.precision.cpu_flags", lambda: frozenset(["amx_bf16"]))
    monkeypatch.setattr("styleserve.export.precision._bfloat16_speedup", lambda: speedup)
    kernel, bias = random_weights(0).layers["block1_conv1"]
    np.savez(tmp_path / "w.npz", **{"block1_conv1/kernel": kernel, "block1_conv1/bias": bias})
    settings = ExportSettings(
        output=tmp_path / "m",
        weights=str(tmp_path / "w.npz"),
        style_layers=("block1_conv1",),
        content_layer="block1_conv1",
        limits=Limits(max_side=32),
    )
    said: list[str] = []
    version = export_model(settings, say=said.append)

    chosen = "bfloat16" if speedup > 1 else "float32"
    assert said[0].startswith(f"precision: {chosen} (")
    assert f"a bfloat16 convolution ran {speedup}x" in said[0]
    assert said[2].endswith("loss scale: tutorial")
    card = json.loads((version / "assets.extra" / "model_card.json").read_text())
    assert (card["precision"], card["loss_scale"]) == (chosen, "tutorial")
    assert card["defaults"]["style_weight"] == contract.STYLE_WEIGHT.tutorial


def test_a_classifier_that_cannot_be_had_keeps_no_export_from_ending_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise Exception("URL fetch failure")  # as Keras does

    monkeypatch.setattr(keras.applications, "VGG19", fail)
    monkeypatch.setattr("styleserve.export.export_model", lambda *_, **__: tmp_path / "models" / "1")
    picture = tmp_path / "picture.png"
    picture.write_bytes(tf.io.encode_png(tf.zeros([8, 8, 3], tf.uint8)).numpy())
    arguments = ["export", "--output", str(tmp_path / "models"), "--check-classifier"]
    for path, reason in ((picture, "URL fetch failure"), (tmp_path / "none.png", "No such file")):
        result = CliRunner().invoke(app, [*arguments, str(path)])
        assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'models' / '1'}\n")
        assert result.stderr.startswith("loading TensorFlow\nthe classifier was not checked: ")
        assert reason in result.stderr
