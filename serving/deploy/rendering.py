"""The files of a deployment. The files beside this module are the templates; nothing is written twice.

Those for Compose, Prometheus, Grafana and Envoy are handed out as they stand, and work from the repository, too: what
is particular to a deployment stands in a file `.env`, which is Compose's own way. Those for Kubernetes and KServe have
`$names` in them, which are filled in; all values were checked by `Deployment`, so that none can break out of its
place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from string import Template
from typing import Final

from .deployment import Deployment, DeploymentError, Device, Target

_FILES: Final = Path(__file__).parent
_POLICY_OF_THE_NEWEST: Final = """\
    # The newest version alone. While it changes both are loaded: budget twice the memory.
    model_version_policy { latest { num_versions: 1 } }
"""
BATCHING_CONFIG: Final = "config/batching.config"
_BATCHING_FLAGS: Final = ("--enable_batching=true", f"--batching_parameters_file=/{BATCHING_CONFIG}")
_MONITORING: Final = ("prometheus.yaml", "datasources.yaml", "dashboards.yaml", "styleserve.json")


def rendered(deployment: Deployment) -> dict[str, str]:
    """The text of each file of a deployment, by its path in the folder; the one to begin with comes last."""
    return _RENDERERS[deployment.target](deployment)


def models_config(deployment: Deployment, base_path: str | None = None) -> str:
    """A `models.config` for `--model_config_file`: the newest version, or those that have labels."""
    return (
        "# Models of a TensorFlow Serving, given with --model_config_file. It is read again every 30 seconds while the "
        "server\n# runs (--model_config_file_poll_wait_seconds). Paths are those inside the container.\n"
        "model_config_list {\n  config {\n"
        f'    name: "{deployment.model_name}"\n'
        f'    base_path: "{base_path or f"/models/{deployment.model_name}"}"\n'
        '    model_platform: "tensorflow"\n'
        f"{_versions(deployment.labels)}"
        "  }\n}\n"
    )


def _versions(labels: Iterable[tuple[str, int]]) -> str:
    versions = " ".join(f"versions: {version}" for version in sorted({version for _, version in labels}))
    if not versions:
        return _POLICY_OF_THE_NEWEST
    lines = [f"model_version_policy {{ specific {{ {versions} }} }}"]
    lines += [f'version_labels {{ key: "{label}" value: {version} }}' for label, version in labels]
    return "".join(f"    {line}\n" for line in lines)


def _config(deployment: Deployment) -> dict[str, str]:
    files = {
        "config/models.config": models_config(deployment),
        "config/monitoring.config": _text("config/monitoring.config"),
    }
    return files | ({BATCHING_CONFIG: _text(BATCHING_CONFIG)} if deployment.batching else {})


def _compose(deployment: Deployment) -> dict[str, str]:
    profiles = [deployment.device.value]
    files = _config(deployment)
    if deployment.monitoring:
        profiles.append("monitoring")
    if deployment.envoy:
        profiles.append("envoy")
    # Also without their profile: somebody may switch it on later.
    files |= {f"monitoring/{name}": _text(f"monitoring/{name}") for name in _MONITORING}
    files["envoy.yaml"] = _text("envoy.yaml")
    files[BATCHING_CONFIG] = _text(BATCHING_CONFIG)
    values = {
        "COMPOSE_PROFILES": ",".join(profiles),
        "STYLESERVE_DEPLOY_IMAGE": deployment.image_name,
        "STYLESERVE_DEPLOY_MODEL_BASE_PATH": _quoted(str(Path(deployment.model or "").absolute())),
        "STYLESERVE_DEPLOY_MODEL_NAME": deployment.model_name,
        "STYLESERVE_DEPLOY_PORT": str(deployment.port),
        "STYLESERVE_DEPLOY_GRPC_MAX_THREADS": str(deployment.grpc_max_threads),
        "STYLESERVE_DEPLOY_INTER_OP_THREADS": str(deployment.inter_op_threads),
        "STYLESERVE_DEPLOY_MEMORY": f"{deployment.memory_mib}m",
        "STYLESERVE_DEPLOY_TENSOR_BYTES": str(deployment.tensor_bytes),
        "STYLESERVE_DEPLOY_ENABLE_BATCHING": "true" if deployment.batching else "false",
        "STYLESERVE_DEPLOY_BATCHING_FILE": f"/{BATCHING_CONFIG}" if deployment.batching else "",
    }
    files[".env"] = "# Written by `styleserve deploy compose`; compose.yaml says what each of these is.\n" + "".join(
        f"{name}={value}\n" for name, value in values.items()
    )
    files["compose.yaml"] = _text("compose.yaml")
    return files


def _kubernetes(deployment: Deployment) -> dict[str, str]:
    resources = ["deployment.yaml", "service.yaml", "disruption-budget.yaml", "network-policy.yaml"]
    patches: list[str] = []
    if deployment.claim is not None:
        patches.append("volume.yaml")
    if deployment.device is Device.gpu:
        patches.append("gpu.yaml")
    if deployment.envoy:
        resources += ["envoy-deployment.yaml", "envoy-service.yaml"]
    if deployment.max_replicas is not None:
        resources.append("scaled-object.yaml")
        patches.append("no-replicas.yaml")
    more = {"batching": _batching(deployment, indent=12)}
    files = {name: _filled(f"kubernetes/{name}", deployment, more) for name in (*resources, *patches)}
    files |= (config := _config(deployment))
    maps = {"styleserve-config": list(config)}
    if deployment.envoy:
        maps["styleserve-envoy"] = ["envoy.yaml"]
        files["envoy.yaml"] = _text("envoy.yaml")
    files["kustomization.yaml"] = _kustomization(deployment, resources, patches, maps)
    return files


def _kserve(deployment: Deployment) -> dict[str, str]:
    env = {"TF_MKL_ALLOC_MAX_BYTES": str(deployment.tensor_bytes)}
    limits = f"memory: {deployment.memory_mib}Mi"
    if deployment.model is not None:
        env["STORAGE_URI"] = deployment.model  # which KServe mounts, or fetches, to /mnt/models
    if deployment.device is Device.gpu:
        env |= {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "CUDA_CACHE_PATH": "/tmp/cuda"}  # noqa: S108 - of the container
        limits += ", nvidia.com/gpu: 1"
    lines = ["        env:", *(f'          - {{name: {name}, value: "{value}"}}' for name, value in env.items())]
    more = {"env": "\n".join(lines), "limits": limits}
    more["batching"] = _batching(deployment, indent=10)
    resources = ["inference-service.yaml", "network-policy.yaml"]
    files = {name: _filled(f"kserve/{name}", deployment, more) for name in resources}
    base_path = None if deployment.model is None else "/mnt/models"
    config = {**_config(deployment), "config/models.config": models_config(deployment, base_path)}
    files |= config
    maps = {"styleserve-config": list(config)}
    files["kustomization.yaml"] = _kustomization(deployment, resources, [], maps)
    return files


def _kustomization(
    deployment: Deployment, resources: Iterable[str], patches: Iterable[str], maps: Mapping[str, Iterable[str]]
) -> str:
    lines = {
        "resources": [f"  - {name}" for name in resources],
        "patches": [
            line
            for name in patches
            for line in (f"  - path: {name}", "    target: {kind: Deployment, name: styleserve}")
        ],
        "config_maps": [
            line for name, files in maps.items() for line in (f"  - name: {name}", f"    files: [{', '.join(files)}]")
        ],
    }
    more = {name: "\n".join(each or ["  []"]) for name, each in lines.items()}
    more["target"] = deployment.target.value
    return _filled("kubernetes/kustomization.yaml", deployment, more)


def _batching(deployment: Deployment, *, indent: int) -> str:
    """Further arguments of the server, as lines of YAML."""
    return "".join(f"\n{' ' * indent}- {flag}" for flag in _BATCHING_FLAGS) if deployment.batching else ""


def _filled(path: str, deployment: Deployment, more: Mapping[str, str] | None = None) -> str:
    claim = deployment.claim
    values = {
        "calls": str(deployment.calls),
        "claim": claim.name if claim else "",
        "cpus": str(deployment.cpus),
        "drain_s": str(deployment.drain_s),
        "grpc_max_threads": str(deployment.grpc_max_threads),
        "image": deployment.image_name,
        "inter_op_threads": str(deployment.inter_op_threads),
        "max_batch": str(deployment.max_batch),
        "max_replicas": str(deployment.max_replicas),
        "memory": f"{deployment.memory_mib}Mi",
        "model_name": deployment.model_name,
        "model_path": claim.path if claim else "",
        "namespace": deployment.namespace,
        "prometheus": deployment.prometheus,
        "prometheus_namespace": deployment.prometheus_namespace,
        "replicas": str(deployment.replicas),
        "target_calls": f"{0.75 * deployment.calls:g}",
        "tensor_bytes": str(deployment.tensor_bytes),
        "termination_s": str(deployment.drain_s + 15),
        **(more or {}),
    }
    return Template(_text(path)).substitute(values)


def _quoted(path: str) -> str:
    """A path as a value of a .env file, that stands for itself whatever is in it."""
    if "\\" in path or not path.isprintable():
        raise DeploymentError(
            f"the path {path!r} has a backslash or a control character, which a .env file cannot hold"
        )
    return "'" + path.replace("'", "\\'") + "'"


def _text(path: str) -> str:
    return (_FILES / path).read_text(encoding="utf-8")


_RENDERERS: Final = {Target.compose: _compose, Target.kubernetes: _kubernetes, Target.kserve: _kserve}
