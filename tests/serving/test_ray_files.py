"""Files for KubeRay: the manifest of a bulk run, and the command that it starts."""

from __future__ import annotations

import importlib.metadata
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate  # pyright: ignore[reportMissingTypeStubs] - it has none
import pytest
import yaml
from typer.testing import CliRunner

from styleserve.__main__ import app
from styleserve.bulk.jobs import SUFFIXES
from styleserve.bulk.runner import BulkProgress
from styleserve.bulk.settings import BulkSettings
from styleserve.contract import DEFAULT_MODEL_NAME
from styleserve.serving.deploy.deployment import RAY_MIB, RAY_VERSION, Deployment, DeploymentError, Device, Target
from styleserve.serving.deploy.rendering import rendered
from styleserve.sizing import memory_bytes

from .deployments import FILES, written
from .test_kubernetes_files import VERSIONS, built

IMAGE = "registry.example.org/styleserve-bulk:1"
URLS = {"image": IMAGE, "jobs": "s3://pictures/july/jobs.parquet", "results": "s3://results/july"}
CLAIMS = {
    "model": "pvc://models/style_transfer",
    "jobs": "pvc://pictures/july/jobs.csv",
    "results": "pvc://results/july/",
}
SECRET = {"secret": "store"}

SPEC = {
    "activeDeadlineSeconds": int,
    "backoffLimit": int,
    "entrypoint": str,
    "rayClusterSpec": dict,
    "shutdownAfterJobFinishes": bool,
    "submissionMode": str,
    "submitterPodTemplate": dict,
    "suspend": bool,
    "ttlSecondsAfterFinished": int,
}
CLUSTER = {"headGroupSpec": dict, "rayVersion": str, "workerGroupSpecs": list}
HEAD = {"rayStartParams": dict, "template": dict}
WORKERS = {**HEAD, "groupName": str, "maxReplicas": int, "minReplicas": int, "replicas": int}
"""Fields and types by KubeRay's API reference, version 1.5: no package brings its schemas. Pods are checked by those of
Kubernetes."""


def files(**fields: Any) -> dict[str, str]:
    return rendered(Deployment(target=Target.ray, **{**URLS, **fields}))


def spec(**fields: Any) -> dict[str, Any]:
    return yaml.safe_load(files(**fields)["ray-job.yaml"])["spec"]


def templates(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Templates of the pods."""
    (workers,) = job["rayClusterSpec"]["workerGroupSpecs"]
    head = job["rayClusterSpec"]["headGroupSpec"]
    return {"submitter": job["submitterPodTemplate"], "head": head["template"], "worker": workers["template"]}


def container(job: dict[str, Any], pod: str) -> dict[str, Any]:
    (found,) = templates(job)[pod]["spec"]["containers"]
    return found


@pytest.mark.parametrize("fields", [{}, {**CLAIMS, **SECRET, "device": Device.gpu, "replicas": 8}])
def test_fields_are_of_their_types(fields: dict[str, Any]) -> None:
    manifest = yaml.safe_load(files(**fields)["ray-job.yaml"])
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayJob")
    assert len(manifest["metadata"]["name"]) <= 47  # KubeRay's limit
    job = manifest["spec"]
    cluster = job["rayClusterSpec"]
    parts = [
        (job, SPEC),
        (cluster, CLUSTER),
        (cluster["headGroupSpec"], HEAD),
        (cluster["workerGroupSpecs"][0], WORKERS),
    ]
    for part, known in parts:
        assert {name: type(value) for name, value in part.items()}.items() <= known.items()
    for start in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert {type(value) for value in start["rayStartParams"].values()} == {str}
    for template in templates(job).values():
        pod = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {"name": "a", **template["metadata"]}}
        for version in VERSIONS:
            kubernetes_validate.validate(pod, version, strict=True)


def test_a_cluster_of_workers_on_cpus() -> None:
    job = spec(replicas=3, cpus=8, calls=2, max_side=512)
    cluster = job["rayClusterSpec"]
    (workers,) = cluster["workerGroupSpecs"]
    assert (workers["replicas"], workers["minReplicas"], workers["maxReplicas"]) == (3, 3, 3)
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert "num-cpus" not in workers["rayStartParams"]  # KubeRay takes the limit
    memory = f"{640 + 3 * 256 + 640 + 2 * 800 + RAY_MIB}Mi"
    sizes = {"cpu": "8", "memory": memory}
    assert container(job, "worker")["resources"] == {"requests": sizes, "limits": sizes}
    assert "tolerations" not in templates(job)["worker"]["spec"]


def test_a_gpu_for_each_worker() -> None:
    job = spec(device=Device.gpu, replicas=8)
    resources = container(job, "worker")["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == 1
    assert resources["requests"] == resources["limits"]
    assert templates(job)["worker"]["spec"]["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]
    for pod in ("head", "submitter"):
        assert "nvidia.com/gpu" not in container(job, pod)["resources"]["limits"]


def test_the_cluster_ends_with_the_run_and_a_retry_resumes() -> None:
    job = spec()
    assert job["submissionMode"] == "K8sJobMode"
    assert job["shutdownAfterJobFinishes"] is True
    assert job["ttlSecondsAfterFinished"] > 0
    assert job["backoffLimit"] > 0
    for pod in ("head", "worker"):
        assert container(job, pod)["lifecycle"]["preStop"]["exec"]["command"] == ["ray", "stop"]
        # `ray stop` gives processes 16 s, and a worker stops its server.
        assert templates(job)[pod]["spec"]["terminationGracePeriodSeconds"] > 16


def test_the_object_store_fits_into_shared_memory() -> None:
    job = spec()
    cluster = job["rayClusterSpec"]
    for pod, group in (("head", cluster["headGroupSpec"]), ("worker", cluster["workerGroupSpecs"][0])):
        volumes = {each["name"]: each for each in templates(job)[pod]["spec"]["volumes"]}
        assert volumes["shm"]["emptyDir"]["medium"] == "Memory"
        limit = memory_bytes(f"{volumes['shm']['emptyDir']['sizeLimit']}B")
        assert 75 * 2**20 < int(group["rayStartParams"]["object-store-memory"]) < limit
        assert limit < RAY_MIB * 2**20


def test_pods_have_the_least_permissions() -> None:
    for pod, template in templates(spec(**CLAIMS)).items():
        assert template["spec"]["automountServiceAccountToken"] is False, pod
        assert template["spec"]["securityContext"]["runAsNonRoot"] is True, pod
        assert template["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, pod
        (only,) = template["spec"]["containers"]
        assert only["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"name": "HOME", "value": "/tmp"} in only["env"]  # noqa: S108 - a volume
        assert only["image"] == IMAGE
        mounts = {mount["name"] for mount in only["volumeMounts"]}
        assert mounts == {volume["name"] for volume in template["spec"]["volumes"]}, pod


def test_only_the_run_and_the_operator_reach_ray() -> None:
    rendered_files = files()
    policy = yaml.safe_load(rendered_files["network-policy.yaml"])
    for version in VERSIONS:
        kubernetes_validate.validate(policy, version, strict=True)
    labels = policy["spec"]["podSelector"]["matchLabels"]
    for pod, template in templates(spec()).items():
        assert labels.items() <= template["metadata"]["labels"].items(), pod
    own, operator = policy["spec"]["ingress"]
    assert own == {"from": [{"podSelector": {"matchLabels": labels}}]}
    assert operator["from"][0]["podSelector"]["matchLabels"] == {"app.kubernetes.io/component": "kuberay-operator"}
    ports = {port["name"]: port["containerPort"] for port in container(spec(), "head")["ports"]}
    assert [ports[each["port"]] for each in operator["ports"]] == [8265]


def test_claims_are_mounted_and_only_results_are_written() -> None:
    job = spec(**CLAIMS)
    for pod in ("head", "worker"):
        volumes = {each["name"]: each.get("persistentVolumeClaim") for each in templates(job)[pod]["spec"]["volumes"]}
        mounts = {each["mountPath"]: each for each in container(job, pod)["volumeMounts"]}
        for claim in ("models", "pictures", "results"):
            mount = mounts[f"/volumes/{claim}"]
            source = volumes[mount["name"]]
            assert source is not None
            assert source["claimName"] == claim
            assert source.get("readOnly", False) == mount.get("readOnly", False) == (claim != "results")
    shared = spec(**{**CLAIMS, "jobs": "pvc://results/jobs.csv"})
    mounts = [each for each in container(shared, "worker")["volumeMounts"] if each["name"].startswith("volume-")]
    assert mounts == [
        {"name": "volume-0", "mountPath": "/volumes/results"},
        {"name": "volume-1", "mountPath": "/volumes/models", "readOnly": True},
    ]


def test_credentials_come_from_a_secret() -> None:
    job = spec(**SECRET)
    for pod in ("head", "worker"):
        assert container(job, pod)["envFrom"] == [{"secretRef": {"name": "store"}}]
        assert "envFrom" not in container(spec(), pod)


# --- the command ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "jobs", "results", "model"),
    [
        ({}, URLS["jobs"], URLS["results"], f"/models/{DEFAULT_MODEL_NAME}"),
        (CLAIMS, "/volumes/pictures/july/jobs.csv", "/volumes/results/july", "/volumes/models/style_transfer"),
        ({"model": "pvc://models"}, URLS["jobs"], URLS["results"], "/volumes/models"),
    ],
)
def test_the_entry_point_is_a_bulk_run_on_the_cluster(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], jobs: str, results: str, model: str
) -> None:
    """The command line itself reads it, so that a renamed option fails here."""
    runs: list[tuple[str, str, BulkSettings]] = []

    def run_bulk(jobs: str, output: str, settings: BulkSettings) -> Iterator[BulkProgress]:
        runs.append((jobs, output, settings))
        yield BulkProgress(1, 1, 0)

    monkeypatch.setattr("styleserve.bulk.runner.run_bulk", run_bulk)
    program, *words = shlex.split(spec(calls=3, **fields)["entrypoint"])
    assert program == "styleserve"
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert runs == [(jobs, results, BulkSettings(model=Path(model), address="auto", workers=None, calls=3))]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_list_of_jobs_is_allowed(suffix: str) -> None:
    assert f"bulk https://example.org/jobs{suffix} -o" in spec(jobs=f"https://example.org/jobs{suffix}")["entrypoint"]


def test_the_version_of_ray_is_the_installed_one() -> None:
    assert spec()["rayClusterSpec"]["rayVersion"] == RAY_VERSION == importlib.metadata.version("ray")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"image": None}, "--image: required for ray; docs/deploy/ray.md shows how to build the image"),
        ({"jobs": None, "results": None}, "--jobs and --results: required for ray"),
        ({"jobs": "jobs.csv"}, "--jobs is 'jobs.csv'; it must be a plain URL"),
        ({"jobs": "s3://pictures/jobs.txt"}, "that ends in .parquet, .csv, .jsonl or .ndjson"),
        ({"jobs": "s3://pictures/a b.csv"}, "--jobs is 's3://pictures/a b.csv'"),
        ({"jobs": "s3://pictures/$(id).csv"}, "--jobs is"),
        ({"jobs": "s3://pictures/jobs.csv\n"}, "--jobs is"),
        ({"jobs": "pvc://pictures/../jobs.csv"}, "--jobs is"),
        (
            {"results": "https://example.org/results"},
            "--results is 'https://example.org/results'; it must be a plain URL",
        ),
        ({"results": "s3://results;id"}, "--results is"),
        ({"results": "/results"}, "--results is '/results'"),
        (
            {"model": "s3://models/style_transfer"},
            "--model is 's3://models/style_transfer'; it must be pvc://CLAIM/PATH",
        ),
        ({"secret": "My_Secret"}, "--secret is 'My_Secret'; it must be 1 to 63 of a-z"),
        ({"cpus": 1}, "--cpus is 1; it must be at least 2 for ray"),
        ({"model_name": "art"}, "ray takes no --model-name: it is an option of compose, kubernetes and kserve"),
        ({"label": ("stable=1",)}, "ray takes no --label"),
        ({"batching": True}, "ray takes no --batching"),
        ({"max_batch": 2}, "ray takes no --max-batch"),
        ({"envoy": True}, "ray takes no --envoy: it is an option of compose and kubernetes"),
        ({"monitoring": True}, "ray takes no --monitoring: it is an option of compose"),
        ({"port": 9000}, "ray takes no --port"),
        ({"max_replicas": 9}, "ray takes no --max-replicas"),
        ({"drain_s": 9}, "ray takes no --drain-s"),
        ({"prometheus": "http://a:9090"}, "ray takes no --prometheus"),
        ({"prometheus_namespace": "a"}, "ray takes no --prometheus-namespace"),
        ({"target": Target.kubernetes, "results": None}, "kubernetes takes no --jobs: it is an option of ray"),
    ],
)
def test_invalid_options(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(DeploymentError) as caught:
        Deployment(**{"target": Target.ray, **URLS, **fields})
    assert text in str(caught.value)


def test_the_command_writes_the_files(tmp_path: Path) -> None:
    options = [word for name, value in URLS.items() for word in (f"--{name}", value)]
    done = CliRunner().invoke(app, ["deploy", "ray", "-o", str(tmp_path), "--namespace", "art", *options])
    assert done.exit_code == 0, done.output
    assert done.stdout == f"kubectl create namespace art; kubectl apply -k {tmp_path}\n"
    assert f"Memory of a worker: {15360 + RAY_MIB} MiB, for 4 calls at a time" in done.stderr
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == files(namespace="art")


# --- files ---------------------------------------------------------------------------------------------------------


def test_every_template_is_used_and_filled() -> None:
    rendered_files = files(**CLAIMS, **SECRET, device=Device.gpu)
    assert {path.name for path in (FILES / "ray").glob("*.yaml")} == set(rendered_files)
    named = yaml.safe_load(rendered_files["kustomization.yaml"])["resources"]
    assert sorted([*named, "kustomization.yaml"]) == sorted(rendered_files)
    assert [name for name, text in rendered_files.items() if re.search(r"\$\w|None", text)] == []


def test_kustomize_builds_the_files(tmp_path: Path) -> None:
    found = built(written(tmp_path, files(namespace="art")))
    assert {each["kind"] for each in found} == {"NetworkPolicy", "RayJob"}
    assert {each["metadata"]["namespace"] for each in found} == {"art"}


def test_the_image_has_every_room_of_the_package() -> None:
    """Rooms are links in the package; a link whose target is not copied would be left out silently."""
    root = FILES.parents[1]
    copied = (FILES / "ray" / "Dockerfile.dockerignore").read_text().splitlines()
    rooms = [path.resolve().name for path in (root / "styleserve").iterdir() if path.is_symlink()]
    assert len(rooms) >= 5
    needed = ["styleserve", "pyproject.toml", "README.md", "LICENSE", "requirements.lock", *rooms]
    assert [name for name in needed if f"!{name}" not in copied] == []


@pytest.mark.parametrize("device", Device)
def test_the_image_has_the_extras_of_the_pods(device: Device) -> None:
    """TensorFlow for the server of a worker, Ray, and the package that reads the URLs of the examples."""
    text = (FILES / "ray" / "Dockerfile").read_text()
    (extras,) = re.findall(r"^ARG EXTRAS=(\S+)$" if device is Device.cpu else r"--build-arg EXTRAS=(\S+?);", text, re.M)
    provided = importlib.metadata.metadata("styleserve").get_all("Provides-Extra") or []
    assert set(extras.split(",")) == {"bulk", "gpu" if device is Device.gpu else "tensorflow"} <= set(provided)
    user = templates(spec())["worker"]["spec"]["securityContext"]
    assert f"USER {user['runAsUser']}:{user['runAsGroup']}\n" in text
