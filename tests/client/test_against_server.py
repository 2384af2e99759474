"""The client against the embedded server with a real, tiny model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image

from styleserve import contract
from styleserve.client import (
    Controls,
    DeadlineExceeded,
    ImageError,
    ModelNotFound,
    Optimizer,
    RequestRefused,
    StyleClient,
    StylizedResult,
    StylizeSignature,
    default_timeout_s,
    load_picture,
)

pytest.importorskip("tensorflow", reason="the embedded server needs TensorFlow")

SIDE = 64
SIGNATURES: tuple[StylizeSignature, ...] = get_args(StylizeSignature)
PAIRS: dict[Optimizer, tuple[StylizeSignature, StylizeSignature]] = {
    "lbfgs": ("stylize_lbfgs_encoded", "stylize_lbfgs"),
    "adam": ("stylize_encoded", "serving_default"),
}


@pytest.fixture(scope="module")
def address(tiny_model_base: Path) -> Iterator[str]:
    """Where the embedded server listens."""
    from styleserve.serving import EmbeddedServer, ServerSettings  # noqa: PLC0415

    with EmbeddedServer(tiny_model_base, settings=ServerSettings(port=0)) as server:
        yield server.address


@pytest.fixture
def client(address: str) -> Iterator[StyleClient]:
    with StyleClient(address) as client:
        yield client


@pytest.mark.parametrize("signature", SIGNATURES)
def test_stylize(client: StyleClient, content: Path, style: Path, signature: StylizeSignature) -> None:
    result = client.stylize(content, style, Controls(steps=4, max_side=SIDE), signature=signature)
    assert result.image.size == load_picture(content).size_within(SIDE)
    assert result.losses.shape == (4, 4)
    np.testing.assert_allclose(result.losses[:, 1:].sum(axis=1), result.losses[:, 0], rtol=1e-5)
    assert result.losses[-1, 0] < result.losses[0, 0]
    if result.optimizer == "lbfgs":
        assert (result.losses[1:, 0] <= result.losses[:-1, 0] * 1.001).all()  # of the picture held
    assert result.model_version == client.status()[0].version


@pytest.mark.parametrize("optimizer", PAIRS)
def test_files_and_numbers_of_the_same_pixels_become_the_same(
    client: StyleClient, picture: Image.Image, tmp_path: Path, optimizer: Optimizer
) -> None:
    """With PNG files of the size that is worked on, neither decoding nor resizing differs."""
    picture.save(tmp_path / "content.png")
    picture.rotate(180).save(tmp_path / "style.png")
    encoded, tensors = (
        client.stylize(
            tmp_path / "content.png",
            tmp_path / "style.png",
            Controls(steps=3, max_side=max(picture.size)),
            signature=signature,
        )
        for signature in PAIRS[optimizer]
    )
    difference = np.asarray(encoded.image, np.int16) - np.asarray(tensors.image, np.int16)
    assert np.abs(difference).max() <= 1
    # The two divide by 255 with different rounding of the last bit of a float32.
    np.testing.assert_allclose(encoded.losses[:, 0], tensors.losses[:, 0], rtol=1e-5)


def test_no_steps_return_the_content(client: StyleClient, picture: Image.Image, tmp_path: Path) -> None:
    picture.save(tmp_path / "content.png")
    result = client.stylize(
        tmp_path / "content.png", tmp_path / "content.png", Controls(steps=0, max_side=max(picture.size))
    )
    assert result.steps == 0
    assert result.image.tobytes() == picture.tobytes()


def files(picture: Image.Image) -> dict[str, tuple[Image.Image, dict[str, Any]]]:
    exif = Image.Exif()
    exif[0x0112] = 6
    clear = picture.copy()
    clear.putalpha(Image.linear_gradient("L").resize(picture.size))
    deep = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    return {
        "plain.png": (picture, {}),
        "grey.jpg": (picture.convert("L"), {}),
        "progressive.jpg": (picture, {"progressive": True}),
        "turned.jpg": (picture, {"exif": exif.tobytes()}),
        "ink.jpg": (picture.convert("CMYK"), {}),
        "lossless.webp": (picture, {"lossless": True}),
        "lossy.webp": (picture, {"quality": 90}),
        "clear.png": (clear, {}),
        "clear.webp": (clear, {"lossless": True}),
        "palette.gif": (picture.quantize(32), {}),
        "palette.png": (picture.quantize(32), {}),
        "deep.png": (deep, {}),
        "windows.bmp": (picture, {}),
        "strips.tif": (picture, {}),
    }


def test_the_server_sees_the_pixels_that_the_client_sees(
    client: StyleClient, picture: Image.Image, tmp_path: Path
) -> None:
    for name, (image, options) in files(picture).items():
        image.save(tmp_path / name, **options)
        loaded = load_picture(tmp_path / name)
        result = client.stylize(tmp_path / name, tmp_path / name, Controls(steps=0, max_side=max(picture.size)))
        assert result.image.size == loaded.image.size, name
        difference = np.abs(np.asarray(result.image, np.int16) - np.asarray(loaded.image, np.int16))
        # Of JPEG both decode with libjpeg's accurate transform, of lossy WebP each with a chroma filter of its own.
        tolerance = 16 if name == "lossy.webp" else 1 if loaded.encoded.startswith(b"\xff\xd8") else 0
        assert difference.max() <= tolerance, name


def test_sizes_that_are_not_given_suit_the_model(client: StyleClient, content: Path, style: Path) -> None:
    """The model takes less than the contract's default."""
    expected = load_picture(content).size_within(SIDE)
    found = client.describe(content)
    assert (found.width, found.height) == expected
    for signature in SIGNATURES:
        assert client.stylize(content, style, Controls(steps=1), signature=signature).image.size == expected, signature


def test_describe(client: StyleClient, content: Path) -> None:
    found = client.describe(content, size=(SIDE, 43))
    assert [layer.name for layer in found.layers] == ["block1_conv1", "block2_conv1", "block2_conv2"]
    assert [layer.gram is not None for layer in found.layers] == [True, True, False]
    pixels = load_picture(content).pixels((SIDE, 43))[0]
    np.testing.assert_allclose(found.high_pass_x, pixels[:, 1:] - pixels[:, :-1], atol=1e-6)
    np.testing.assert_allclose(found.high_pass_y, pixels[1:] - pixels[:-1], atol=1e-6)
    total = np.abs(found.high_pass_x).sum() + np.abs(found.high_pass_y).sum()
    assert found.total_variation == pytest.approx(total, rel=1e-4)
    # Sobel's y is positive where it grows brighter downwards.
    inner = found.sobel_edges[1:-1, 1:-1]
    down = pixels[2:] - pixels[:-2]
    expected = down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]
    np.testing.assert_allclose(inner[..., 0], expected, atol=1e-5)


def test_metadata_is_the_contract(client: StyleClient) -> None:
    metadata = client.metadata()
    assert metadata.limits is not None
    assert list(metadata.limits) == [field.name for field in contract.LIMIT_FIELDS]
    assert {**contract.Limits(max_side=64).numbers(), "min_side": 2} == metadata.limits
    found = {signature.name: signature for signature in metadata.signatures}
    assert set(found) >= set(contract.SIGNATURES)
    for name, signature in contract.SIGNATURES.items():
        assert {(field.name, field.dtype, field.shape) for field in signature.inputs} == {
            (tensor.name, tensor.dtype, tensor.shape) for tensor in found[name].inputs
        }
        for tensor in found[name].inputs:
            field = next(field for field in signature.inputs if field.name == tensor.name)
            assert field.required == (tensor.default is None)
        assert {field.name for field in signature.outputs} <= {tensor.name for tensor in found[name].outputs}


def test_waiting_for_what_is_there(client: StyleClient) -> None:
    assert client.wait_until_ready(30).available


@pytest.mark.parametrize(
    ("controls", "message"),
    [
        ({"steps": 10**6, "timeout_s": 60}, r"steps must be from 0 to 5000; got 1000000"),
        ({"max_side": 65}, r"max_side must be from 16 to 64; got 65"),
    ],
)
def test_the_models_limits_are_told(client: StyleClient, content: Path, controls: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestRefused, match=message):
        client.stylize(content, content, **controls)
    assert client.stylize(content, content, Controls(steps=1, max_side=SIDE)).steps == 1


@pytest.mark.parametrize("pin", [{"model_name": "nomodel"}, {"version": 1}, {"version_label": "stable"}], ids=str)
def test_models_that_are_not_there(address: str, content: Path, pin: dict[str, Any]) -> None:
    with StyleClient(address, **pin) as client, pytest.raises(ModelNotFound):
        client.stylize(content, content, Controls(steps=1, max_side=SIDE))


def test_a_model_of_an_older_version(tiny_model_base: Path, content: Path, style: Path, tmp_path: Path) -> None:
    """It has Adam alone; nothing else is painted in the place of what was asked for."""
    from tensorflow.core.protobuf import saved_model_pb2  # noqa: PLC0415

    from styleserve.serving import EmbeddedServer, ServerSettings  # noqa: PLC0415

    (newest,) = (path for path in tiny_model_base.iterdir() if path.name.isdigit())
    old = shutil.copytree(newest, tmp_path / "old" / "1", ignore=shutil.ignore_patterns("assets.extra"))
    model = saved_model_pb2.SavedModel.FromString((old / "saved_model.pb").read_bytes())
    for signature in PAIRS["lbfgs"]:
        del model.meta_graphs[0].signature_def[signature]
    (old / "saved_model.pb").write_bytes(model.SerializeToString())
    with (
        EmbeddedServer(old.parent, settings=ServerSettings(port=0)) as server,
        StyleClient(server.address) as client,
    ):
        for signature in PAIRS["lbfgs"]:
            with pytest.raises(ModelNotFound, match=rf'without L-BFGS.*"{signature}" not found.\nExport'):
                client.stylize(content, style, Controls(steps=1, max_side=SIDE), signature=signature)
        assert client.stylize(content, style, Controls(steps=1, max_side=SIDE, optimizer="adam")).steps == 1


def test_pictures_are_refused_before_they_are_sent(client: StyleClient, content: Path) -> None:
    with pytest.raises(ImageError):
        client.stylize(content.read_bytes()[:500], content)


def test_a_call_that_takes_too_long_ends(client: StyleClient, content: Path) -> None:
    """And leaves the server to others."""
    with pytest.raises(DeadlineExceeded):
        client.stylize(content, content, Controls(steps=5000, max_side=SIDE), timeout_s=0.5)
    result: StylizedResult = client.stylize(content, content, Controls(steps=1, max_side=SIDE))
    assert result.timings.call_s < default_timeout_s(SIDE * SIDE, 1)


def test_the_commands_as_a_process(address: str, content: Path, style: Path, tmp_path: Path) -> None:
    def run(*arguments: object) -> dict[str, Any]:
        command = [sys.executable, "-m", "styleserve", *map(str, arguments), "--server", address, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    out, report = tmp_path / "out.png", tmp_path / "report.png"
    painted = run("stylize", content, style, "-o", out, "--report", report, "--steps", 3, "--max-side", SIDE)
    with Image.open(out) as saved:
        assert saved.size == (painted["width"], painted["height"])
        assert saved.info["Model version"] == str(painted["model_version"])
        assert saved.info["Signature"] == painted["signature"] == "stylize_lbfgs_encoded"
    assert report.exists()
    assert len(run("describe", content, "--max-side", SIDE)["layers"]) == 3
    assert run("wait")["version"] == painted["model_version"]
