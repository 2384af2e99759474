"""The client against the embedded server with a real, tiny model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from styleserve import contract
from styleserve.client import (
    ContractMismatch,
    Controls,
    DeadlineExceeded,
    ImageError,
    Loss,
    ModelNotFound,
    Optimizer,
    RequestRefused,
    StyleClient,
    StylizedResult,
    default_timeout_s,
    load_picture,
)

pytest.importorskip("tensorflow", reason="the embedded server needs TensorFlow")

SIDE = 64
LOSSES: tuple[Loss, ...] = get_args(Loss)
OPTIMIZERS: tuple[Optimizer, ...] = get_args(Optimizer)


@pytest.fixture(scope="module")
def address(tiny_model_base: Path) -> Iterator[str]:
    """Address of the embedded server."""
    from styleserve.serving import EmbeddedServer, ServerSettings  # noqa: PLC0415

    with EmbeddedServer(tiny_model_base, settings=ServerSettings(port=0)) as server:
        yield server.address


@pytest.fixture
def client(address: str) -> Iterator[StyleClient]:
    with StyleClient(address) as client:
        yield client


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_stylize(client: StyleClient, content: Path, style: Path, loss: Loss, optimizer: Optimizer) -> None:
    controls = Controls(steps=4, max_side=SIDE, loss=loss, optimizer=optimizer)
    result = client.stylize(content, style, controls)
    assert result.image.size == load_picture(content).size_within(SIDE)
    assert result.losses.shape == (4, 5)
    np.testing.assert_allclose(result.losses[:, 1:].sum(axis=1), result.losses[:, 0], rtol=1e-5)
    assert result.losses[-1, 0] < result.losses[0, 0]
    if optimizer == "lbfgs":
        assert (result.losses[1:, 0] <= result.losses[:-1, 0] * 1.001).all()  # of the picture held
    assert result.model_version == client.status()[0].version


def test_every_picture_and_control_is_taken(client: StyleClient, content: Path, style: Path, tmp_path: Path) -> None:
    mask = Image.linear_gradient("L").resize((40, 20))
    controls = Controls(
        steps=3,
        max_side=SIDE,
        style_blend=(2, 1),
        style_scale=(0.5, 1),
        style_layer_weights=(1, 0.5),
        start_noise=0.25,
        seed=5,
        colors="matched",
        reference_weight=2,
        image_format="png16",
    )
    run = client.stylize_iter(
        content,
        [style, content],
        controls,
        content_regions=[mask, ImageOps.flip(mask)],
        style_regions=[None, mask],
        start=style,
        reference=content,
        reference_mask=mask,
        chunk_steps=2,
    )
    first, last = run
    assert (first.steps_done, last.steps_done) == (2, 3)
    assert last.result is not None
    assert last.result.losses[-1, 4] > 0, "a loss of the reference"
    data = last.result.save(tmp_path / "deep.png").read_bytes()
    assert data[24:26] == bytes((16, 2))
    assert load_picture(data).image.size == load_picture(content).size_within(SIDE)


def test_colours_of_the_content_have_more_than_8_bits_in_the_file(
    client: StyleClient, content: Path, style: Path, tmp_path: Path
) -> None:
    controls = Controls(steps=2, max_side=SIDE, colors="content", image_format="png16", octaves=1)
    result = client.stylize(content, style, controls)
    in_png = result.save(tmp_path / "deep.png").read_bytes()
    levels = tifffile.imread(result.save(tmp_path / "deep.tif", dpi=300))
    assert (levels.dtype, levels.shape) == (np.uint16, (43, 64, 3))
    assert (levels == imagecodecs.png_decode(in_png)).all()
    assert all(len(np.unique(levels[..., channel])) > 256 for channel in range(3))
    assert len(np.unique(np.asarray(result.image)[..., 0])) <= 256


def test_octaves(client: StyleClient, content: Path, style: Path) -> None:
    controls = Controls(steps=5, max_side=SIDE, octaves=2)
    whole = client.stylize(content, style, controls)
    assert whole.octaves == ((32, 3), (64, 1))
    assert whole.losses.shape == (4, 5)
    assert whole.image.size == load_picture(content).size_within(SIDE)
    progress = list(client.stylize_iter(content, style, controls, images=True, chunk_steps=2))
    assert [(each.octave, each.steps_done) for each in progress] == [(1, 2), (1, 3), (2, 4)]
    assert [max(each.image.size) for each in progress if each.image] == [32, 32, 64]
    (last,) = client.stylize_iter(content, style, resume_from=progress[1].saved)
    assert last.result is not None
    assert progress[-1].result is not None
    assert last.result.image.tobytes() == progress[-1].result.image.tobytes()


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
    result = client.stylize(content, style, Controls(steps=1))
    assert (result.image.size, result.controls.max_side) == (expected, SIDE)


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
    facts = {"contract_version": 2, "min_side": 2, "style_layers": 2, "smallest_octave": 0}
    assert {**contract.Limits(max_side=64).numbers(), **facts} == metadata.limits
    assert metadata.contract_version == contract.CONTRACT_VERSION
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
    ("controls", "asked", "message"),
    [
        ({"steps": 10**6, "max_side": 64}, {"timeout_s": 60}, r"steps must be from 0 to 5000; got 1000000"),
        ({"max_side": 65}, {}, r"max_side must be from 16 to 64; got 65"),
        (
            {"style_layer_weights": (1, 2, 3)},
            {},
            "style_layer_weights must have one value, or one for each style layer",
        ),
        ({}, {"content_regions": Image.new("L", (9, 9))}, "must not be black everywhere; got the mean of each"),
    ],
)
def test_the_limits_of_the_model(
    client: StyleClient, content: Path, controls: dict[str, Any], asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(RequestRefused, match=message):
        client.stylize(content, content, Controls(**controls), **asked)
    assert client.stylize(content, content, Controls(steps=1, max_side=SIDE)).steps == 1


@pytest.mark.parametrize("pin", [{"model_name": "nomodel"}, {"version": 1}, {"version_label": "stable"}], ids=str)
def test_models_that_are_not_there(address: str, content: Path, pin: dict[str, Any]) -> None:
    with StyleClient(address, **pin) as client, pytest.raises(ModelNotFound):
        client.stylize(content, content, Controls(steps=1, max_side=SIDE))


def test_a_model_of_an_older_contract(tiny_model_base: Path, content: Path, style: Path, tmp_path: Path) -> None:
    from tensorflow.core.protobuf import saved_model_pb2  # noqa: PLC0415

    from styleserve.serving import EmbeddedServer, ServerSettings  # noqa: PLC0415

    (newest,) = (path for path in tiny_model_base.iterdir() if path.name.isdigit())
    old = shutil.copytree(newest, tmp_path / "old" / "1", ignore=shutil.ignore_patterns("assets.extra"))
    model = saved_model_pb2.SavedModel.FromString((old / "saved_model.pb").read_bytes())
    del model.meta_graphs[0].signature_def[contract.PAINT]
    (old / "saved_model.pb").write_bytes(model.SerializeToString())
    with (
        EmbeddedServer(old.parent, settings=ServerSettings(port=0)) as server,
        StyleClient(server.address) as client,
    ):
        with pytest.raises(ContractMismatch, match="speaks contract 1, this client 2\nExport the model again"):
            client.stylize(content, style, Controls(steps=1, max_side=SIDE))
        assert client.describe(content, size=SIDE).width == SIDE


def test_a_client_of_another_contract(client: StyleClient, content: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "CONTRACT_VERSION", 3)
    with pytest.raises(ContractMismatch, match="speaks contract 2, this client 3"):
        client.stylize(content, content, Controls(steps=1, max_side=SIDE))


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
        assert json.loads(saved.info["Recipe"])["controls"] == painted["controls"] == {"steps": 3, "max_side": SIDE}
    assert report.exists()
    assert len(run("describe", content, "--max-side", SIDE)["layers"]) == 3
    assert run("wait")["version"] == painted["model_version"]
