"""The check with VGG-19's classifier, whose half a gigabyte of weights a stand-in replaces."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from typer.testing import CliRunner

from styleserve.__main__ import app
from styleserve.export.classifier import Guess, classify

# Keras' means, which its preprocessing takes off each channel after it has made them blue, green, red.
MEANS = np.array([103.939, 116.779, 123.68])


def looks_at_colour(include_top: bool, weights: str) -> object:
    """A network as Keras gives it: class 1 where the picture is orange as VGG-19 wants it, else class 0."""
    assert include_top
    assert weights == "imagenet"
    print("Downloading data from somewhere")  # as Keras does, on stdout

    def network(x: tf.Tensor) -> tf.Tensor:
        assert x.shape == (1, 224, 224, 3)
        orange = np.allclose(tf.reduce_mean(x, [0, 1, 2]), np.array([0, 128, 255]) - MEANS, atol=1.0)
        return tf.one_hot([int(orange)], 1000) * 0.75

    return network


def decode(probabilities: np.ndarray, top: int) -> list[list[tuple[str, str, float]]]:
    order = np.argsort(-probabilities[0], kind="stable")[:top]
    return [[(f"n{i:08}", f"class_{i}", float(probabilities[0, i])) for i in order]]


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.applications, "VGG19", looks_at_colour)
    monkeypatch.setattr(keras.applications.vgg19, "decode_predictions", decode)


@pytest.fixture
def orange(tmp_path: Path) -> Path:
    path = tmp_path / "orange.png"
    path.write_bytes(tf.io.encode_png(tf.broadcast_to(tf.constant([255, 128, 0], tf.uint8), [40, 30, 3])).numpy())
    return path


def test_the_five_best_classes(orange: Path) -> None:
    guesses = classify(orange)
    assert guesses[0] == Guess("class_1", 0.75)
    assert [guess.label for guess in guesses[1:]] == ["class_0", "class_2", "class_3", "class_4"]


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "words.png"
    path.write_text("words")
    with pytest.raises(ValueError, match=r"words\.png is not a picture"):
        classify(path)


def test_a_failed_download_says_so(orange: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise Exception("URL fetch failure")  # as Keras does

    monkeypatch.setattr(keras.applications, "VGG19", fail)
    with pytest.raises(OSError, match=r"cannot be loaded: URL fetch failure"):
        classify(orange)


def test_the_command_prints_only_the_path_on_stdout(
    orange: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export(*_: object, **__: object) -> Path:
        print("Downloading data from somewhere else")
        return tmp_path / "models/1"

    monkeypatch.setattr("styleserve.export.export_model", export)
    arguments = ["export", "--output", str(tmp_path / "models"), "--check-classifier", str(orange)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert result.stdout == f"{tmp_path / 'models/1'}\n"
    assert "75.0%  class_1" in result.stderr
    assert "Downloading data from somewhere else" in result.stderr
