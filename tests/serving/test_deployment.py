"""Options of a deployment, memory of a server, and the command."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from styleserve.contract import DEFAULT_MODEL_NAME, Limits
from styleserve.serving.command import register
from styleserve.serving.deploy.command import EXIT_DEPLOY_FAILED, write
from styleserve.serving.deploy.deployment import BATCHED_ROWS, Deployment, DeploymentError, Device, Target
from styleserve.serving.deploy.rendering import rendered
from styleserve.serving.models.model_card import CallLimits, exporter_of, limits_of
from styleserve.sizing import DEFAULT_MEMORY
from styleserve.version_directories import MODEL_CARD_FILE

from .deployments import FILES


def deployment(target: str = "kubernetes", **fields: Any) -> Deployment:
    model = "models/m" if target == "compose" else "pvc://models/style_transfer"
    return Deployment(target=Target(target), **{"model": model, **fields})


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"model_name": 'a"b'}, "--model-name is 'a\"b'; it must be 1 to 128 letters"),
        ({"model_name": ""}, "--model-name is ''"),
        ({"namespace": "Style"}, "--namespace is 'Style'; it must be 1 to 63 of a-z"),
        ({"namespace": "a" * 64}, "--namespace is"),
        ({"namespace": "-a"}, "--namespace is '-a'"),
        ({"prometheus_namespace": "a.b"}, "--prometheus-namespace is 'a.b'"),
        ({"prometheus": "prometheus:9090"}, "--prometheus is 'prometheus:9090'; it must be http://HOST:PORT"),
        ({"prometheus": "http://a:9090\nb: c"}, "--prometheus is"),
        ({"replicas": 0}, "--replicas is 0; it must be from 1 to 1000"),
        ({"calls": 0}, "--calls is 0; it must be from 1 to 256"),
        ({"calls": 1, "batching": True}, "--calls is 1; it must be at least 2 with --batching"),
        ({"max_side": 15}, "--max-side is 15; it must be from 16"),
        ({"max_batch": 0}, "--max-batch is 0; it must be from 1"),
        ({"cpus": 0}, "--cpus is 0"),
        ({"drain_s": -1}, "--drain-s is -1; it must be from 0 to 3600"),
        ({"replicas": 3, "max_replicas": 2}, "--max-replicas is 2; it must be at least --replicas, 3"),
        ({"max_replicas": 1001}, "--max-replicas is 1001"),
        ({"image": "tensorflow/serving"}, "and not 'latest', which changes"),
        ({"image": "tensorflow/serving:latest"}, "and not 'latest', which changes"),
        ({"image": "tensorflow/serving:latest-gpu"}, "and not 'latest', which changes"),
        ({"image": "Tensorflow/serving:1"}, "it must be NAME:TAG"),
        ({"image": "registry.example.org:5000/serving"}, "it must be NAME:TAG"),
        ({"image": "a:1 b"}, "it must be NAME:TAG"),
        ({"image": "a:1\n"}, "it must be NAME:TAG"),
        ({"label": ("stable",)}, "--label is 'stable'; it must be NAME=VERSION, as in stable=1700000000"),
        ({"label": ("stable=-1",)}, "--label is 'stable=-1'; it must be NAME=VERSION"),
        ({"label": ("a b=1",)}, "--label is 'a b=1'"),
        ({"label": ("stable=1", "stable=2")}, "--label is stable=1, stable=2; each name must have one version"),
        ({"label": ("stable=9223372036854775808",)}, "of at most 9223372036854775807"),
        ({"model": None}, "set --model pvc://CLAIM/PATH, or --image to an image that has the model inside"),
        ({"model": "gs://bucket/model"}, "--model is 'gs://bucket/model'; it must be pvc://CLAIM/PATH"),
        ({"model": "pvc://Claim/a"}, "--model is 'pvc://Claim/a'"),
        ({"model": "pvc://claim/a/../b"}, "and no '..'"),
        ({"model": 'pvc://claim/a"b'}, "where PATH has letters, digits"),
        ({"monitoring": True}, "kubernetes takes no --monitoring: it is an option of compose"),
        ({"target": "kserve", "envoy": True}, "kserve takes no --envoy: it is an option of compose and kubernetes"),
        ({"target": "kserve", "max_replicas": 3}, "kserve takes no --max-replicas: it is an option of kubernetes"),
        ({"port": 9000}, "kubernetes takes no --port: it is an option of compose"),
        ({"target": "compose", "namespace": "a"}, "it is an option of kubernetes, kserve and ray"),
        ({"target": "compose", "drain_s": 9}, "compose takes no --drain-s"),
        ({"target": "kserve", "model": "ftp://host/a"}, "or an address that KServe downloads"),
        ({"target": "kserve", "model": 'gs://a"b'}, "or an address that KServe downloads"),
        ({"target": "compose", "replicas": 2}, "compose takes no --replicas"),
        ({"target": "compose", "model": ""}, "it must be a directory of this machine"),
        ({"target": "compose", "model": "gs://bucket/model"}, "it must be a directory of this machine"),
        ({"target": "compose", "port": 0}, "--port is 0"),
    ],
)
def test_invalid_options(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(DeploymentError) as caught:
        deployment(**fields)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    "image",
    [
        "tensorflow/serving:2.20.0-gpu",
        "registry.example.org:5000/team/style-serve:v1",
        "styleserve@sha256:" + "0" * 64,
        "tensorflow/serving:latest@sha256:" + "0" * 64,
    ],
)
def test_images_with_a_tag_or_digest(image: str) -> None:
    assert f"image: {image}\n" in rendered(deployment(image=image))["deployment.yaml"]


def test_default_image_of_each_device() -> None:
    assert deployment().image_name == "tensorflow/serving:2.20.0"
    assert deployment(device=Device.gpu).image_name == "tensorflow/serving:2.20.0-gpu"
    assert deployment(device=Device.gpu, image="own:1").image_name == "own:1"


def test_memory_holds_what_was_measured() -> None:
    for side, measured_mb in ((256, 923), (512, 1938), (1024, 3629)):
        assert deployment(calls=1, max_side=side).memory_mib * 2**20 / 1e6 > measured_mb
    assert deployment(calls=4, max_side=1024).memory_mib == 1280 + 5 * 256 + 4 * 3200
    assert deployment(calls=4, max_side=512).memory_mib == 1280 + 5 * 256 + 4 * 800


def test_memory_holds_the_kernels_of_pictures_of_many_sizes() -> None:
    """A real server with eight threads held 2,409 MiB after 1,600 calls with sides of 16 to 128 px; with one, 882."""
    small = deployment(calls=4, max_side=128)
    assert small.memory_mib > 2409
    assert deployment(calls=1, max_side=128).memory_mib > 882 + (2409 - 882) / 7
    assert (
        deployment(calls=7, max_side=128).memory_mib - deployment(calls=6, max_side=128).memory_mib > (2409 - 882) / 7
    )


def test_memory_holds_the_largest_files_before_they_are_resized() -> None:
    """Small pictures of photographs of 64 megapixels: 184 MiB for each of four calls."""
    assert deployment(calls=4, max_side=64).memory_mib == 1280 + 5 * 256 + 4 * 184


def test_the_defaults_of_export_and_deploy_agree() -> None:
    limits, usual = Limits().numbers(), deployment("compose")
    assert limits["max_batch_pixels"] == usual.max_batch * usual.max_side**2
    assert limits["max_pixels"] == usual.max_side**2


def test_memory_holds_the_copies_that_fill_batches() -> None:
    """Largest number of pictures over all ways in which the running calls form batches."""
    text = (FILES / "config" / "batching.config").read_text()
    sizes = [int(size) for size in re.findall(r"^allowed_batch_sizes: (\d+)$", text, re.MULTILINE)]
    assert sizes[-1] == BATCHED_ROWS
    assert f"max_batch_size {{ value: {BATCHED_ROWS} }}" in text

    @functools.cache
    def most(calls: int, of: int) -> int:
        # A batch of so many rows has at most as many calls as rows, and at least as many as bring them.
        batches = [(-(-rows // of), rows) for rows in range(1, BATCHED_ROWS + 1)]
        filled = [(took, min(size for size in sizes if size >= rows)) for took, rows in batches]
        return max((size + most(calls - took, of) for took, size in filled if took <= calls), default=0)

    for calls in range(2, 20):
        for of in range(1, BATCHED_ROWS + 1):
            assert deployment(calls=calls, batching=True, max_batch=of).pictures == most(calls, of)
        assert deployment(calls=calls, batching=True).pictures == calls + calls // 3
    assert deployment(calls=4, max_side=512, batching=True).memory_mib == 1280 + 5 * 256 + 5 * 800


def test_memory_holds_all_pictures_of_a_call() -> None:
    assert deployment(calls=4, max_side=512, max_batch=8).memory_mib == 1280 + 5 * 256 + 4 * 8 * 800


def test_memory_and_calls_go_to_the_server_together() -> None:
    text = rendered(deployment(calls=2, max_side=512))["deployment.yaml"]
    assert "--grpc_max_threads=3\n" in text
    assert 'requests: {cpu: "4", memory: 3648Mi}\n            limits: {memory: 3648Mi}' in text


# --- the command ---------------------------------------------------------------------------------------------------


def run(*arguments: str) -> Any:
    app = typer.Typer()
    register(app)
    return CliRunner().invoke(app, ["deploy", *arguments])


KUBERNETES = ("kubernetes", "--model", "pvc://models/style_transfer")


def texts(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_compose_without_options(here: Path) -> None:
    done = run("compose")
    assert done.exit_code == 0, done.output
    assert done.stdout == "docker compose -f deployments/compose/compose.yaml up -d\n"
    assert "15360 MiB, for 4 calls at a time, each with up to 1 picture of 1024 x 1024 pixels" in done.stderr
    values = (here / "deployments" / "compose" / ".env").read_text()
    assert f"STYLESERVE_DEPLOY_MODEL_BASE_PATH='{here}/models/{DEFAULT_MODEL_NAME}'\n" in values
    assert "COMPOSE_PROFILES=cpu\n" in values


def test_note_for_compose_without_a_model(here: Path) -> None:
    assert f"Note: no directory models/{DEFAULT_MODEL_NAME} yet" in run("compose").stderr
    (here / "models" / DEFAULT_MODEL_NAME).mkdir(parents=True)
    assert "Note" not in run("compose").stderr


def test_start_command_of_kubernetes(here: Path) -> None:
    done = run(*KUBERNETES, "-o", "k8s", "--namespace", "art")
    assert done.stdout == "kubectl create namespace art; kubectl apply -k k8s\n"
    assert (here / "k8s" / "kustomization.yaml").is_file()


def test_a_dry_run_prints_the_files(here: Path) -> None:
    done = run(*KUBERNETES, "-o", "k8s", "--dry-run")
    assert list(here.iterdir()) == []
    run(*KUBERNETES, "-o", "k8s")
    written = {path for path in (here / "k8s").rglob("*") if path.is_file()}
    assert len(written) == 8
    for path in written:
        assert f"# ----- {path.relative_to(here)}\n{path.read_text()}\n" in done.stdout


def test_existing_files_are_overwritten_only_with_force(here: Path) -> None:
    own = here / "k8s" / "notes.txt"
    own.parent.mkdir()
    own.write_text("mine")
    assert run(*KUBERNETES, "-o", "k8s").exit_code == 0
    assert run(*KUBERNETES, "-o", "k8s").exit_code == 0  # the same again
    before = {path: path.read_bytes() for path in own.parent.rglob("*") if path.is_file()}

    refused = run(*KUBERNETES, "-o", "k8s", "--namespace", "art", "--calls", "1")
    assert refused.exit_code == EXIT_DEPLOY_FAILED
    assert "k8s/kustomization.yaml: exists with other contents; --force overwrites" in refused.stderr
    assert {path: path.read_bytes() for path in own.parent.rglob("*") if path.is_file()} == before

    assert run(*KUBERNETES, "-o", "k8s", "--namespace", "art", "--force").exit_code == 0
    assert "namespace: art\n" in (here / "k8s" / "kustomization.yaml").read_text()
    assert own.read_text() == "mine"
    assert {path for path in own.parent.rglob("*") if path.is_file()} == set(before)


def test_an_invalid_option_is_a_line_on_stderr() -> None:
    done = run(*KUBERNETES, "--dry-run", "--label", "stable")
    assert done.exit_code == EXIT_DEPLOY_FAILED
    assert done.stderr == "Error: --label is 'stable'; it must be NAME=VERSION, as in stable=1700000000\n"


def test_output_folder_is_a_file(here: Path) -> None:
    (here / "file").write_text("")
    done = run("compose", "-o", "file")
    assert done.exit_code == EXIT_DEPLOY_FAILED
    assert "Error: cannot write" in done.stderr


def test_a_directory_in_place_of_a_file_remains(here: Path) -> None:
    (here / "c" / "compose.yaml").mkdir(parents=True)
    done = run("compose", "-o", "c")
    assert "c/compose.yaml: exists" in done.stderr
    assert list((here / "c").iterdir()) == [here / "c" / "compose.yaml"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "chmod", full)
    with pytest.raises(DeploymentError, match=r"cannot write .*: No space left on device"):
        write(tmp_path, {"a": "new"}, force=True)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "old")]


@pytest.mark.usefixtures("here")
def test_files_depend_only_on_the_options() -> None:
    """A changed file is overwritten, and an option that is not given has its default."""
    folder = Path("deployments") / "compose"
    assert run("compose").exit_code == 0
    plain = texts(folder)
    assert run("compose", "--batching", "--envoy", "--label", "stable=7", "--calls", "2", "--force").exit_code == 0
    assert texts(folder) != plain
    (folder / "config" / "batching.config").write_text("max_batch_size { value: 2 }\n")
    done = run("compose", "--force")
    assert done.stdout == f"docker compose -f {folder / 'compose.yaml'} up -d\n"
    assert texts(folder) == plain


# --- models of a newer TensorFlow ---------------------------------------------------------------


def exported(model: Path, version: int, tensorflow: str | None) -> None:
    path = model / str(version) / MODEL_CARD_FILE
    path.parent.mkdir(parents=True)
    if tensorflow is not None:
        path.write_text(json.dumps({"versions": {"styleserve": "0.1.0", "tensorflow": tensorflow}}))


@pytest.mark.parametrize(
    ("tensorflow", "options", "warned"),
    [
        ("2.21.0", (), True),
        ("3.0.0", ("--device", "gpu"), True),
        ("2.20.1", (), False),
        ("2.9.1", (), False),
        ("2.21.0", ("--image", "tensorflow/serving:2.21.0"), False),
        ("2.21.0", ("--image", "registry.example.org/tensorflow/serving:2.20.0-gpu"), True),
        ("2.21.0", ("--image", "registry.example.org/own:2.20.0"), False),
        ("2.21.0", ("--label", "stable=7"), False),
        ("2.21.0", ("--label", "stable=7", "--label", "canary=8"), True),
        (None, (), False),
        ("new", (), False),
    ],
)
def test_warning_for_a_model_of_a_newer_tensorflow(
    here: Path, tensorflow: str | None, options: tuple[str, ...], warned: bool
) -> None:
    model = here / "models" / DEFAULT_MODEL_NAME
    exported(model, 7, "2.20.0")
    exported(model, 8, tensorflow)
    (model / ".9-staging").mkdir()
    done = run("compose", *options)
    assert done.exit_code == 0, done.output
    assert (f"version 8 was exported with TensorFlow {tensorflow}, newer than " in done.stderr) is warned
    assert ("Export it with TensorFlow 2.20 (" in done.stderr) is warned


def test_the_card_of_an_export_has_its_tensorflow(tiny_model_base: Path) -> None:
    tensorflow = pytest.importorskip("tensorflow")
    (version,) = [path for path in tiny_model_base.iterdir() if path.name.isdigit()]
    assert exporter_of(version) == tensorflow.__version__


# --- models that need more memory ---------------------------------------------------------------

BASE = 1280 + 5 * 256
"""MiB of a server for four calls, before their pictures."""
LARGER = "A larger call may end the server; the model refuses it if you export it with "


def with_limits(model: Path, version: int, limits: Any, memory: int | None = DEFAULT_MEMORY) -> None:
    path = model / str(version) / MODEL_CARD_FILE
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"limits": limits, "memory": memory}))


@pytest.mark.parametrize(
    ("limits", "options", "needed"),
    [
        (Limits(), (), None),  # as both come
        (Limits(max_batch=1), (), None),
        (Limits(max_batch=64), (), None),  # together no larger than one image
        (Limits(max_batch_pixels=2**21), (), BASE + 4 * 6400),
        (Limits(max_batch_pixels=2**23), (), BASE + 4 * 16384),  # tiled: whole images need 25600
        (Limits(max_batch_pixels=2**23), ("--max-batch", "8"), None),
        (Limits(max_batch_pixels=2**22), ("--max-batch", "3"), BASE + 4 * 12800),
        (Limits(max_batch_pixels=2**22), ("--batching",), BASE + 4 * 12800),  # four in a batch, and so in a call
        (Limits(max_batch_pixels=2**23), ("--batching", "--max-batch", "4"), None),  # more than four are refused
        (Limits(max_batch_pixels=2**22), ("--calls", "2", "--max-batch", "2"), 1280 + 3 * 256 + 2 * 12800),
        (Limits(max_side=2048), (), BASE + 4 * 12800),
        (Limits(max_side=2048, max_pixels=2**20), (), None),
        (Limits(max_side=2048), ("--max-side", "2048"), None),
        (Limits(max_side=256, max_batch_pixels=2**19), (), None),  # eight small pictures are no more than a large one
        (Limits(max_side=64), ("--max-side", "64"), None),
        (Limits(max_side=64, max_encoded_pixels=10**9), ("--max-side", "64"), BASE + 4 * 2862),
    ],
)
def test_warning_for_a_model_that_needs_more_memory(
    here: Path, limits: Limits, options: tuple[str, ...], needed: int | None
) -> None:
    with_limits(here / "models" / DEFAULT_MODEL_NAME, 7, limits.numbers())
    done = run("compose", *options)
    assert done.exit_code == 0, done.output
    assert LARGER not in done.stderr
    assert [int(each) for each in re.findall(r"for which a server needs (\d+) MiB", done.stderr)] == (
        [] if needed is None else [needed]
    )
    if needed is None:
        assert "Warning" not in done.stderr
        return
    (advice,) = re.findall(r"Deploy with (--max-batch \d+ --max-side \d+(?: --memory \d+MiB)?), or", done.stderr)
    followed = run("compose", *options, *advice.split(), "--force").stderr
    assert "needs" not in followed
    (given,) = re.findall(r"Memory of a server: (\d+) MiB", followed)
    assert int(given) >= needed


@pytest.mark.parametrize(
    ("memory", "own", "needed"),
    [
        (2**33, "8GiB", None),
        (2**33, "16GiB", None),
        (2**34, "8GiB", BASE + 4 * 16384),
        (None, "16GiB", BASE + 4 * 51200),  # exported without tiles
    ],
)
def test_warning_for_a_model_with_larger_tiles(here: Path, memory: int | None, own: str, needed: int | None) -> None:
    with_limits(here / "models" / DEFAULT_MODEL_NAME, 7, Limits(max_side=4096).numbers(), memory)
    options = ("--max-side", "4096", "--memory", own)
    shown = run("compose", *options).stderr
    assert f"Memory of a server: {BASE + 4 * 1024 * int(own.removesuffix('GiB'))} MiB" in shown
    found = [int(each) for each in re.findall(r"for which a server needs (\d+) MiB", shown)]
    assert found == ([] if needed is None else [needed])
    if memory == 2**34:
        assert "--max-side 4096 --memory 16384MiB, or export it with --max-side 4096 --memory 8GiB." in shown
        assert "needs" not in run("compose", *options[:2], "--memory", "16384MiB", "--force").stderr


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("memory", ["0GiB", "16", "-1GiB", "lots"])
def test_memory_is_a_number_with_a_unit(memory: str) -> None:
    assert f"Error: --memory: got {memory!r}; give a number over 0" in run("compose", "--memory", memory).stderr


@pytest.mark.parametrize(
    ("limits", "options", "refuses"),
    [
        (Limits(), ("--batching",), True),
        (Limits(), (), False),
        (Limits(max_batch=3, max_batch_pixels=2**23), ("--batching",), True),
        (Limits(max_batch=4, max_batch_pixels=2**22), ("--batching",), False),
    ],
)
def test_warning_for_a_model_that_refuses_batches(
    here: Path, limits: Limits, options: tuple[str, ...], refuses: bool
) -> None:
    with_limits(here / "models" / DEFAULT_MODEL_NAME, 7, limits.numbers())
    shown = run("compose", *options).stderr
    advice = "Export it with --max-batch 4 --max-batch-pixels 4194304, or deploy without --batching."
    assert (advice in shown) == refuses
    assert ("version 7 refuses a batch of 4 of its largest pictures" in shown) == refuses


def test_options_of_the_export_where_the_model_cannot_be_read(here: Path) -> None:
    assert f"\n{LARGER}--max-side 512.\n" in run(*KUBERNETES, "--max-side", "512").stderr
    for number, limits in enumerate(({}, [], {"max_batch": "8", "max_pixels": 1}, {"max_batch": 0, "max_pixels": 1})):
        with_limits(here / "models" / DEFAULT_MODEL_NAME, number, limits)
        assert (
            f"{LARGER}--max-side 1024 --max-batch 2 --max-batch-pixels 2097152."
            in run("compose", "--max-batch=2", "--force").stderr
        )


def test_the_card_of_an_export_has_its_limits(tiny_model_base: Path) -> None:
    (version,) = [path for path in tiny_model_base.iterdir() if path.name.isdigit()]
    limits = json.loads((version / MODEL_CARD_FILE).read_bytes())["limits"]
    assert limits_of(version) == CallLimits(8, 64 * 64, 64 * 64, limits["max_encoded_pixels"], DEFAULT_MEMORY)
    assert limits_of(version.parent) is None


# --- files ---------------------------------------------------------------------------------------------------------


def test_the_user_of_a_server_can_read_the_files(here: Path) -> None:
    own = here / "own"
    own.mkdir(0o700)
    before = os.umask(0o077)
    try:
        assert run("compose", "-o", "own/deep/c").exit_code == 0
    finally:
        os.umask(before)
    made = list(own.rglob("*"))
    assert {path.stat().st_mode & 0o777 for path in made if path.is_file()} == {0o644}
    assert {path.stat().st_mode & 0o777 for path in made if path.is_dir()} == {0o755}
    assert own / "deep" / "c" / "config" in made
    assert own.stat().st_mode & 0o777 == 0o700  # existed before


@pytest.mark.parametrize("path", ["a\nb", "a\\b"])
def test_paths_with_invalid_characters(path: str) -> None:
    done = run("compose", "--dry-run", "--model", path)
    assert done.exit_code == EXIT_DEPLOY_FAILED
    assert "a .env file holds no backslash and no control character" in done.stderr


def test_the_command_imports_neither_tensorflow_nor_grpc() -> None:
    code = (
        "import sys, styleserve.serving.deploy.command as command;"
        "command.deploy(command.Target.compose, dry_run=True);"
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'grpc', 'numpy', 'google.protobuf')))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "compose.yaml" in done.stdout
