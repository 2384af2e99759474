import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow_serving.apis import prediction_log_pb2

from styleserve import contract
from styleserve.contract import Limits
from styleserve.export import ExportError, ExportSettings, export_model, exporter
from styleserve.export.precision import _bfloat16_speedup, choose_precision
from styleserve.export.validation import ValidationError, validate
from styleserve.model import ModelSettings, StyleTransfer, random_weights
from styleserve.version_directories import WARMUP_FILE
from styleserve.warmup_requests import read_warmup_logs

ROOT = Path(__file__).resolve().parents[2]

DISK_FULL = OSError(28, "No space left on device")


def tiny(output: Path, **options: object) -> ExportSettings:
    arguments = {
        "weights": "random",
        "precision": "float32",
        "style_layers": ("block1_conv1",),
        "content_layer": "block1_conv2",
        "limits": Limits(max_side=32),
    }
    return ExportSettings(output=output, **{**arguments, **options})  # pyright: ignore[reportArgumentType]


def model_of(settings: ExportSettings) -> StyleTransfer:
    """Directory of an export with these settings."""
    assert settings.style_layers is not None
    assert settings.content_layer is not None
    model_settings = ModelSettings(
        style_layers=settings.style_layers,
        content_layer=settings.content_layer,
        painter_content_layer=settings.content_layer,
        loss_scale="relative",
        trained=False,
        limits=settings.limits,
    )
    return StyleTransfer(settings.load_weights(), model_settings)


def version_of(base: Path) -> Path:
    (version,) = base.iterdir()
    return version


def test_a_version_is_a_number_and_nothing_else_is_left(tiny_model_base: Path) -> None:
    version = version_of(tiny_model_base)
    assert version.name.isdigit()
    assert (version / "saved_model.pb").is_file()
    assert version.stat().st_mode & 0o777 == 0o755


def test_card(tiny_model_base: Path) -> None:
    card = json.loads((version_of(tiny_model_base) / "assets.extra/model_card.json").read_text())
    assert card["weights"] == {
        "source": "random (seed 0)",
        "sha256": random_weights(0).sha256,
        "licence": "none needed: made from a seed",
    }
    assert card["contract_version"] == contract.CONTRACT_VERSION
    assert card["versions"]["tensorflow"] == tf.__version__
    assert card["style_layers"] == ["block1_conv1", "block2_conv1"]
    assert card["precision"] == "float32"
    assert card["loss_scale"] == "relative"
    assert card["limits"]["max_side"] == 64
    assert card["contract_version"] == 2
    assert card["trained"] is False
    assert card["defaults"]["style_weight"] == 1.0
    assert card["defaults"]["colors"] == "style"


def test_warmup_asks_every_signature_for_one_step(tiny_model_base: Path) -> None:
    requests = [log.predict_log.request for log in read_warmup_logs(version_of(tiny_model_base))]
    assert {request.model_spec.signature_name for request in requests} == set(contract.SIGNATURES)
    for request in requests:
        if contract.STEPS.name in request.inputs:
            assert tf.make_ndarray(request.inputs[contract.STEPS.name]).tolist() == [1]
    assert (version_of(tiny_model_base) / WARMUP_FILE).stat().st_size < 10_000


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("loss_scale", "style_weight"), [("tutorial", 1e-2), ("relative", 1e6)])
def test_defaults_follow_the_loss_scale(
    tmp_path: Path, tiny_model_base: Path, loss_scale: str, style_weight: float
) -> None:
    if loss_scale == "relative":  # that of random weights
        version = version_of(tiny_model_base)
    else:
        version = export_model(tiny(tmp_path / "m", loss_scale=loss_scale, limits=Limits(max_side=64)))
    definition = SavedModel.FromString((version / "saved_model.pb").read_bytes()).meta_graphs[0].signature_def
    defaults = definition[contract.SERVING_DEFAULT].defaults
    assert set(defaults) == {control.name for control in contract.ADAM_CONTROLS}
    assert tf.make_ndarray(defaults["style_weight"]).tolist() == [pytest.approx(style_weight)]
    painted = {name: tf.make_ndarray(value).tolist() for name, value in definition[contract.PAINT].defaults.items()}
    assert set(painted) == {field.name for field in contract.SIGNATURES[contract.PAINT].inputs}
    assert painted["max_side"] == [64]
    assert painted["style_weight"] == [1.0]
    assert painted["contract_version"] == [2]
    assert painted["style_blend"] == [[1.0]]
    assert painted["style_bytes"] == [[b""]]
    assert painted["colors"] == [b"style"]


def test_reloaded_is_eager(exported: tuple[Path, StyleTransfer]) -> None:
    version, model = exported
    rng = np.random.default_rng(0)
    content, style = rng.random((2, 24, 30, 3), np.float32), rng.random((2, 20, 20, 3), np.float32)
    inputs = {"content_image": tf.constant(content), "style_image": tf.constant(style), "steps": tf.constant([3, 2])}
    for control in contract.ADAM_CONTROLS:
        inputs.setdefault(control.name, tf.constant([control.relative], control.dtype))
    eager = model.methods["serving_default"](inputs)
    loaded = tf.saved_model.load(str(version)).signatures[contract.SERVING_DEFAULT](**inputs)
    for name, value in eager.items():
        np.testing.assert_allclose(loaded[name], value, rtol=1e-4, atol=1e-4)


def publish(output: Path, content: str) -> Path:
    """Publishes a directory with one file in it."""
    staging = output / f".staging-{content}"
    staging.mkdir(parents=True)
    (staging / "file").write_text(content)
    return exporter._publish(staging, output)


def test_numbers_are_higher_than_all_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter.time, "time", lambda: 100.5)
    assert publish(tmp_path / "empty", "a").name == "100"
    (tmp_path / "100").mkdir(parents=True)
    (tmp_path / "101").touch()
    (tmp_path / "1e9").touch()
    assert [publish(tmp_path, content).name for content in "ab"] == ["102", "103"]
    assert list((tmp_path / "100").iterdir()) == []
    assert (tmp_path / "102" / "file").read_text() == "a"
    assert (tmp_path / "103" / "file").read_text() == "b"


def test_numbers_with_zeros_in_front_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter.time, "time", lambda: 100.5)
    (tmp_path / "0000200").mkdir()
    (tmp_path / "-900").mkdir()
    assert publish(tmp_path, "a").name == "201"


def test_no_number_is_left(tmp_path: Path) -> None:
    (tmp_path / str(2**63 - 1)).mkdir()
    with pytest.raises(ExportError, match=r"its version 9223372036854775807 is the largest number"):
        publish(tmp_path, "a")


@pytest.mark.parametrize("inside", ["", "variables/deeper"])
def test_into_a_version(tiny_model_base: Path, inside: str) -> None:
    output = version_of(tiny_model_base) / inside
    with pytest.raises(ExportError, match=rf"it holds saved_model\.pb\. .*: --output {tiny_model_base}$"):
        export_model(tiny(output))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "nosuch.npz"}, "no weights at nosuch.npz"),
        ({"seed": -1}, "seed is -1; it must be 0 or more"),
        ({"content_layer": "block6_conv1"}, "no such layer of VGG-19: block6_conv1; it has block1_conv1"),
        ({"style_layers": ()}, "style layers must be named"),
        ({"style_layers": ("block1_conv1", "block1_conv1")}, "each once; got block1_conv1, block1_conv1"),
    ],
    ids=str,
)
def test_bad_settings_publish_nothing(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        export_model(tiny(tmp_path / "m", **options))
    assert not (tmp_path / "m").exists()


def test_the_smallest_limits_pass_the_check(tmp_path: Path) -> None:
    """The requests of the check are within the limits. Here in bfloat16, where the other exports are float32."""
    smallest = Limits(max_side=16, max_pixels=256, max_encoded_pixels=90, max_batch=1, max_steps=1)
    assert export_model(tiny(tmp_path / "m", limits=smallest, precision="bfloat16")).is_dir()


def test_weights_that_end_too_early_are_refused_by_name(tmp_path: Path) -> None:
    kernel, bias = random_weights(0).layers["block1_conv1"]
    np.savez(tmp_path / "w.npz", **{"block1_conv1/kernel": kernel, "block1_conv1/bias": bias})
    with pytest.raises(ExportError, match="missing layers: block1_conv2"):
        export_model(tiny(tmp_path / "m", weights=str(tmp_path / "w.npz")))


@pytest.mark.parametrize("below", ["", "style_transfer", "models/style_transfer"])
def test_output_that_is_a_file_is_refused_before_weights_are_loaded(tmp_path: Path, below: str) -> None:
    (tmp_path / "m").touch()
    with pytest.raises(ExportError, match=r"/m is not a directory\. Give another directory with --output"):
        export_model(tiny(tmp_path / "m" / below, weights="nosuch.npz"))


@pytest.mark.parametrize("output", ["", "models/style_transfer"])
def test_output_without_permission_is_refused_before_weights_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    if os.geteuid() == 0:  # who may write anywhere
        monkeypatch.setattr(exporter.os, "access", lambda *_: False)
    with pytest.raises(ExportError, match=r"/closed cannot be written to, .* Give another directory with --output"):
        export_model(tiny(closed / output, weights="nosuch.npz"))


def test_output_that_fails_later_is_named_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise DISK_FULL

    monkeypatch.setattr(exporter.tempfile, "mkdtemp", full)
    with pytest.raises(ExportError, match=r"to .*/m: .*No space left on device\. Give another .* with --output"):
        export_model(tiny(tmp_path / "m"))


@pytest.mark.parametrize(
    ("step", "failure"),
    [
        ("write_warmup_requests", DISK_FULL),
        ("write_warmup_requests", tf.errors.ResourceExhaustedError(None, None, "No space left on device")),
        ("write_card", KeyboardInterrupt()),
        ("validate", KeyboardInterrupt()),
        ("_publish", DISK_FULL),
    ],
    ids=str,
)
@pytest.mark.usefixtures("one_signature")
def test_interrupted_anywhere_leaves_no_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, failure: BaseException
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(exporter, step, fail)
    with pytest.raises((ExportError, KeyboardInterrupt)):
        export_model(tiny(tmp_path / "m"))
    assert list((tmp_path / "m").iterdir()) == []


@pytest.mark.usefixtures("one_signature")
def test_others_can_read_what_is_published(tmp_path: Path) -> None:
    """A server in a container is another user."""
    before = os.umask(0o077)
    try:
        version = export_model(tiny(tmp_path / "deep" / "m"))
    finally:
        os.umask(before)
    for path in (version.parent.parent, version.parent, version, *version.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644), path


def test_killed_leaves_no_version(tmp_path: Path) -> None:
    layers = ("--style-layers", "block1_conv1", "--content-layer", "block1_conv1")
    options = ("--weights", "random", "--precision", "float32", *layers, "--output", str(tmp_path / "m"))
    command = [sys.executable, "-m", "styleserve", "export", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("checking"):
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert process.returncode == -signal.SIGKILL
    assert [path.name for path in (tmp_path / "m").iterdir() if path.name.isdigit()] == []


_KILLED_WHILE_PUBLISHING = """
import os, signal, sys
from pathlib import Path
from styleserve.export import exporter
from tests.export.test_export import tiny

number, really = 0, exporter._fsync

def fsync(path):
    global number
    number += 1
    really(path)
    if (path.name == "model" if sys.argv[2] == "after" else number == 2):
        os.kill(os.getpid(), signal.SIGKILL)

exporter._fsync = fsync
exporter.export_model(tiny(Path(sys.argv[1])))
"""


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_while_publishing_leaves_a_whole_version_or_none(tmp_path: Path, moment: str) -> None:
    """Before and after the rename; the next export is none the worse."""
    output = tmp_path / "model"
    command = [sys.executable, "-c", _KILLED_WHILE_PUBLISHING, str(output), moment]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600, cwd=ROOT)
    assert done.returncode == -signal.SIGKILL, done.stderr
    versions = [path for path in output.iterdir() if path.name.isdigit()]
    assert len(versions) == (moment == "after")
    for version in versions:
        validate(version, model_of(tiny(output)))
    newest = export_model(tiny(output))
    assert {path.name for path in output.iterdir() if path.name.isdigit()} == {
        newest.name,
        *(version.name for version in versions),
    }


@pytest.fixture(scope="module")
def exported(tiny_model_base: Path) -> tuple[Path, StyleTransfer]:
    """A version, and the model that it was saved from."""
    layers = {"style_layers": ("block1_conv1", "block2_conv1"), "content_layer": "block2_conv2"}
    return version_of(tiny_model_base), model_of(tiny(Path(), **layers, limits=Limits(max_side=64)))


@pytest.fixture
def saved(exported: tuple[Path, StyleTransfer], tmp_path: Path) -> tuple[Path, StyleTransfer]:
    """A copy that a test may damage."""
    version, model = exported
    return Path(shutil.copytree(version, tmp_path / "copy")), model


def test_validation_notices_other_weights(saved: tuple[Path, StyleTransfer]) -> None:
    version, model = saved
    with pytest.raises(ValidationError, match="differs from the model by"):
        validate(version, StyleTransfer(random_weights(1), model.settings))


def test_validation_notices_other_defaults(saved: tuple[Path, StyleTransfer]) -> None:
    version, model = saved
    other = ModelSettings(**{**vars(model.settings), "loss_scale": "tutorial"})
    with pytest.raises(ValidationError, match="the default of style_weight is not"):
        validate(version, StyleTransfer(random_weights(0), other))


def test_validation_notices_a_bad_warmup_file(saved: tuple[Path, StyleTransfer]) -> None:
    version, model = saved
    (first, *_) = read_warmup_logs(version)
    request = first.predict_log.request
    request.inputs["steps"].CopyFrom(tf.make_tensor_proto([-1], tf.int32))
    with tf.io.TFRecordWriter(str(version / WARMUP_FILE)) as writer:
        log = prediction_log_pb2.PredictionLog()
        log.predict_log.request.CopyFrom(request)
        writer.write(log.SerializeToString())
    with pytest.raises(ValidationError, match=r"warm-up of serving_default fails.*steps must be from 0"):
        validate(version, model)


def test_validation_notices_what_does_not_load_in_a_session(
    saved: tuple[Path, StyleTransfer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise tf.errors.InvalidArgumentError(None, None, "{{node while}} has inputs from different frames")

    monkeypatch.setattr(tf.compat.v1.saved_model, "load", refuse)
    with pytest.raises(ValidationError, match=r"does not load in a session: .* different frames"):
        validate(*saved)


@pytest.mark.parametrize(
    ("flags", "speedup", "precision", "reason"),
    [
        (
            "fpu amx_bf16 avx512_bf16",
            3.8,
            "bfloat16",
            "has amx_bf16 and avx512_bf16, and a bfloat16 convolution ran 3.8x",
        ),
        ("fpu avx512_bf16", 0.7, "float32", "has avx512_bf16, and a bfloat16 convolution ran 0.7x"),
        ("fpu", 9.0, "float32", "has none of amx_bf16, avx512_bf16"),
    ],
)
def test_auto_precision_tries_the_cpu(
    monkeypatch: pytest.MonkeyPatch, flags: str, speedup: float, precision: str, reason: str
) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: [])
    monkeypatch.setattr("styleserve.export.precision.cpu_flags", lambda: frozenset(flags.split()))
    monkeypatch.setattr("styleserve.export.precision._bfloat16_speedup", lambda: speedup)
    choice = choose_precision("auto")
    assert choice.precision == precision
    assert reason in choice.reason
    assert choose_precision("bfloat16").precision == "bfloat16"


def test_the_speedup_is_that_of_the_quickest_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each precision has one run that prepares and two that count."""
    seconds = iter([9.0, 6.0, 3.0, 9.0, 1.0, 2.0])
    clock = [0.0]

    def now() -> float:
        clock.append(clock[-1] + (next(seconds) if len(clock) % 2 == 0 else 0.0))
        return clock[-1]

    monkeypatch.setattr("styleserve.export.precision.time", SimpleNamespace(perf_counter=now))
    assert _bfloat16_speedup(repeats=2) == 3.0


@pytest.mark.parametrize(("capability", "precision"), [((7, 5), "float32"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16")])
def test_auto_precision_looks_at_the_gpu(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], precision: str
) -> None:
    details = {"device_name": "Some GPU", "compute_capability": capability}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: ["gpu"])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda _: details)
    choice = choose_precision("auto")
    assert choice.precision == precision
    assert "Some GPU" in choice.reason
