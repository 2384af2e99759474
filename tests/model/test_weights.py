from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from styleserve.client import load_picture
from styleserve.model import Weights, file_weights, imagenet_weights, random_weights
from styleserve.model.network.architecture import CONV_LAYERS
from styleserve.model.network.calibration import PUBLISHED_MEANS
from styleserve.model.network.vgg19 import Vgg19
from styleserve.model.network.weights import LayerWeights

CONTENT = Path(__file__).parents[2] / "demo" / "content.jpg"
BLOCK1 = [layer for layer in CONV_LAYERS if layer.name.startswith("block1")]


def arrays(rng: np.random.Generator) -> dict[str, np.ndarray]:
    named = {}
    for layer in BLOCK1:
        named[f"{layer.name}/kernel"] = rng.standard_normal(layer.kernel_shape).astype(np.float32)
        named[f"{layer.name}/bias"] = rng.standard_normal(layer.out_channels).astype(np.float32)
    return named


def keras_model(named: dict[str, np.ndarray], *, top: bool = False) -> keras.Model:
    x = inputs = keras.Input((8, 8, 3))
    for layer in BLOCK1:
        x = keras.layers.Conv2D(layer.out_channels, 3, activation="relu", padding="same", name=layer.name)(x)
    if top:
        x = keras.layers.Flatten(name="flatten")(x)
        x = keras.layers.Dense(3, name="fc1")(x)
        x = keras.layers.Dense(2, name="predictions")(x)
    model = keras.Model(inputs, x)
    for layer in BLOCK1:
        model.get_layer(layer.name).set_weights([named[f"{layer.name}/kernel"], named[f"{layer.name}/bias"]])
    return model


def save_unnamed(path: Path, named: dict[str, np.ndarray]) -> None:
    """As the first releases of Keras 3 saved weights."""
    with h5py.File(path, "w") as file:
        for i, layer in enumerate(BLOCK1):
            group = f"layers/conv2d{f'_{i}' if i else ''}/vars"
            file[f"{group}/0"] = named[f"{layer.name}/kernel"]
            file[f"{group}/1"] = named[f"{layer.name}/bias"]


@pytest.mark.parametrize("top", [False, True], ids=["without-top", "with-top"])
@pytest.mark.parametrize("name", ["a.npz", "a.h5", "a.weights.h5", "a.keras", "old.h5", "unnamed.weights.h5"])
def test_every_form_of_file(tmp_path: Path, rng: np.random.Generator, name: str, top: bool) -> None:
    named = arrays(rng)
    path = tmp_path / name
    if name == "a.npz":
        extra = {"fc1/kernel": np.zeros((4, 3)), "fc1/bias": np.zeros(3)} if top else {}
        np.savez(path, **named, **extra)
    elif name == "old.h5":  # as Keras Applications distributes it
        with h5py.File(path, "w") as file:
            for layer in BLOCK1:
                file[f"{layer.name}/{layer.name}_W_1:0"] = named[f"{layer.name}/kernel"]
                file[f"{layer.name}/{layer.name}_b_1:0"] = named[f"{layer.name}/bias"]
            if top:
                file["fc1/fc1_W_1:0"] = np.zeros((4, 3))
                file["fc1/fc1_b_1:0"] = np.zeros(3)
    elif name == "unnamed.weights.h5":
        save_unnamed(path, named)
        if top:
            with h5py.File(path, "a") as file:
                file["layers/dense/vars/0"] = np.zeros((4, 3))
                file["layers/dense/vars/1"] = np.zeros(3)
    elif name == "a.weights.h5":
        keras_model(named, top=top).save_weights(path)
    else:
        keras_model(named, top=top).save(path)
    weights = file_weights(path)
    assert list(weights.layers) == [layer.name for layer in BLOCK1]
    for layer in BLOCK1:
        np.testing.assert_array_equal(weights.layers[layer.name].kernel, named[f"{layer.name}/kernel"])
        np.testing.assert_array_equal(weights.layers[layer.name].bias, named[f"{layer.name}/bias"])
    assert weights.source == name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block9_conv1/kernel": np.zeros((3, 3, 3, 64))}, "block9_conv1"),
        ({"block1_conv1/kernel": np.zeros((3, 3, 64, 3))}, r"block1_conv1 has kernel \(3, 3, 64, 3\)"),
        ({"block1_conv2/bias": np.zeros(63)}, r"block1_conv2 .* bias \(63,\)"),
        ({"block1_conv2/kernel": np.full((3, 3, 64, 64), np.nan)}, "block1_conv2 holds values that are not finite"),
        ({"block2_conv1/bias": np.zeros(128)}, "block2_conv1 has bias; it needs a kernel and a bias"),
        ({"block1_conv1/scale": np.zeros(64)}, "block1_conv1 has bias, kernel, scale"),
    ],
    ids=str,
)
def test_bad_layers_are_named(
    tmp_path: Path, rng: np.random.Generator, change: dict[str, np.ndarray], message: str
) -> None:
    np.savez(tmp_path / "a.npz", **{**arrays(rng), **change})
    with pytest.raises(ValueError, match=message):
        file_weights(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"layers/conv2d_16/vars/0": np.zeros((3, 3, 512, 512)), "layers/conv2d_16/vars/1": np.zeros(512)},
            "not a layer of VGG-19: conv2d_16",
        ),
        (
            {f"layers/batch_normalization/vars/{i}": np.zeros(64) for i in range(4)},
            "batch_normalization has more than one bias",
        ),
        ({"layers/conv2d_1/vars/2": np.ones(64)}, "block1_conv2 has more than one bias; it needs a kernel and a bias"),
        ({"layers/conv2d_1/vars/2": np.ones((3, 3, 64, 64))}, "block1_conv2 has more than one kernel"),
    ],
    ids=["past-the-end", "normalisation", "second-bias", "second-kernel"],
)
def test_bad_layers_of_files_without_names_are_named(
    tmp_path: Path, rng: np.random.Generator, change: dict[str, np.ndarray], message: str
) -> None:
    path = tmp_path / "a.weights.h5"
    save_unnamed(path, arrays(rng))
    with h5py.File(path, "a") as file:
        for key, array in change.items():
            file[key] = array
    with pytest.raises(ValueError, match=message):
        file_weights(path)


def test_missing_layers_are_named(rng: np.random.Generator) -> None:
    named = arrays(rng)
    layers = {layer.name: LayerWeights(named[f"{layer.name}/kernel"], named[f"{layer.name}/bias"]) for layer in BLOCK1}
    weights = Weights(layers, "a.npz", "none")
    weights.require(["block1_conv1"])
    with pytest.raises(ValueError, match=r"a\.npz: missing layers: block2_conv1; it has block1_conv1, block1_conv2"):
        weights.require(["block1_conv1", "block2_conv1"])


@pytest.mark.parametrize("name", ["a.npz", "a.h5", "a.keras"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"something else")
    with pytest.raises(ValueError, match=f"weights in {name} cannot be read"):
        file_weights(tmp_path / name)


def test_damaged_files_are_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    np.savez_compressed(tmp_path / "whole.npz", **arrays(rng))
    whole = (tmp_path / "whole.npz").read_bytes()
    middle = len(whole) // 2
    (tmp_path / "damaged.npz").write_bytes(whole[:middle] + b"\xff" * 64 + whole[middle + 64 :])
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    for name in ("damaged.npz", "array.npz"):
        with pytest.raises(ValueError, match=f"weights in {name} cannot be read"):
            file_weights(tmp_path / name)


def test_pickles_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{"block1_conv1/kernel": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(ValueError, match="allow_pickle=False"):
        file_weights(tmp_path / "a.npz")


def test_unknown_ending_and_missing_file(tmp_path: Path) -> None:
    (tmp_path / "a.pt").touch()
    with pytest.raises(ValueError, match=r"must end in one of \.npz"):
        file_weights(tmp_path / "a.pt")
    with pytest.raises(FileNotFoundError, match="no weights at"):
        file_weights(tmp_path / "b.npz")


def test_hash_is_of_the_numbers(tmp_path: Path, rng: np.random.Generator) -> None:
    named = arrays(rng)
    np.savez(tmp_path / "a.npz", **named)
    np.savez_compressed(tmp_path / "b.npz", **dict(reversed(named.items())))
    assert file_weights(tmp_path / "a.npz").sha256 == file_weights(tmp_path / "b.npz").sha256
    named["block1_conv1/bias"][0] += 1
    np.savez(tmp_path / "c.npz", **named)
    assert file_weights(tmp_path / "a.npz").sha256 != file_weights(tmp_path / "c.npz").sha256


def test_imagenet_is_what_keras_applications_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its download: Keras' own VGG-19, built with seeded weights of its own."""
    keras.utils.set_random_seed(0)
    network = keras.applications.VGG19(include_top=False, weights=None)
    monkeypatch.setattr(keras.applications, "VGG19", lambda **_: network)
    weights = imagenet_weights()
    assert list(weights.layers) == [layer.name for layer in CONV_LAYERS]
    kernel, bias = network.get_layer("block4_conv3").get_weights()
    np.testing.assert_array_equal(weights.layers["block4_conv3"].kernel, kernel)
    np.testing.assert_array_equal(weights.layers["block4_conv3"].bias, bias)


def test_imagenet_that_cannot_be_fetched_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(**_: object) -> None:
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.applications, "VGG19", no_network)
    with pytest.raises(OSError, match=r"cannot be fetched \(URL fetch failure\).*--weights random"):
        imagenet_weights()


def test_random_weights_are_seeded_and_calibrated(rng: np.random.Generator) -> None:
    first, again, other = random_weights(5), random_weights(5), random_weights(6)
    assert first.sha256 == again.sha256
    assert first.sha256 != other.sha256
    image = np.clip(0.5 + 0.2 * rng.standard_normal((1, 96, 96, 3)), 0, 1).astype(np.float32)
    features = Vgg19(first, ["block1_conv1", "block4_conv1", "block5_conv2"])(image)
    means = {name: float(np.mean(value)) for name, value in features.items()}
    # White noise is not what they were scaled on, but it is of the same order.
    assert 26.0 / 3 < means["block1_conv1"] < 26.0 * 3
    assert 530.0 / 3 < means["block4_conv1"] < 530.0 * 3
    assert 13.8 / 3 < means["block5_conv2"] < 13.8 * 3


def test_real_weights_have_the_published_activations(real_weights_path: Path) -> None:
    """On a photograph; on any other picture they are of that order."""
    weights = file_weights(real_weights_path)
    network = Vgg19(weights, list(PUBLISHED_MEANS)[:3])
    picture = load_picture(CONTENT)
    for name, features in network(picture.pixels(picture.size_within(256))).items():
        assert 0.5 < float(np.mean(features)) / PUBLISHED_MEANS[name] < 2.0, name
