"""Files of a deployment, rendered from the templates beside this module.

Files for Compose, Prometheus, Grafana and Envoy are copied, and also work in the repository. Values for Compose stand
in its file `.env`. Other files have `$names`, which are filled in. `Deployment` checks the values, so that none changes
the structure of a file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from string import Template
from typing import Final

from styleserve.contract import DEFAULT_MODEL_NAME
from styleserve.sizing import inter_op_threads

from .deployment import RAY_VERSION, Deployment, DeploymentError, Device, Target
from .locations import claim_of

_FILES: Final = Path(__file__).parent
_MODELS_CONFIG: Final = "config/models.config"
_MONITORING_CONFIG: Final = "config/monitoring.config"
_BATCHING_CONFIG: Final = "config/batching.config"
_VOLUMES: Final = "/volumes"
"""Parent of the volumes in the pods of Ray."""
_OBJECT_STORE_BYTES: Final = 256 * 2**20
"""Object store of a node of Ray, in half of its `/dev/shm`."""
_MONITORING: Final = ("prometheus.yaml", "datasources.yaml", "dashboards.yaml", "styleserve.json")


def rendered(deployment: Deployment) -> dict[str, str]:
    """Text of each file, by its path in the folder; the file that starts the deployment comes last."""
    renderers = {Target.compose: _compose, Target.kubernetes: _kubernetes, Target.kserve: _kserve, Target.ray: _ray}
    return renderers[deployment.target](deployment)


def models_config(deployment: Deployment, base_path: str | None = None) -> str:
    """Text of `models.config`: the newest version, or the versions that have labels."""
    text = _text(_MODELS_CONFIG)
    if labels := deployment.labels:
        head, *_ = text.partition("    # The newest version")
        versions = " ".join(f"versions: {version}" for version in sorted(set(labels.values())))
        lines = [f"    model_version_policy {{ specific {{ {versions} }} }}"]
        lines += [f'    version_labels {{ key: "{label}" value: {version} }}' for label, version in labels.items()]
        text = "\n".join((head.rstrip(), *lines, "  }", "}", ""))
    path = base_path or f"/models/{deployment.model_name}"
    text = text.replace(f'"/models/{DEFAULT_MODEL_NAME}"', f'"{path}"')
    return text.replace(f'"{DEFAULT_MODEL_NAME}"', f'"{deployment.model_name}"')


def _compose(deployment: Deployment) -> dict[str, str]:
    profiles = [deployment.device.value]
    profiles += ["monitoring"] if deployment.monitoring else []
    profiles += ["envoy"] if deployment.envoy else []
    # Files of inactive profiles, too: COMPOSE_PROFILES may be changed later.
    copied = [_MONITORING_CONFIG, _BATCHING_CONFIG, "envoy.yaml", *(f"monitoring/{name}" for name in _MONITORING)]
    values = {
        "profiles": ",".join(profiles),
        "model_path": _quoted(str(deployment.model_directory.absolute())),
        "enable_batching": str(deployment.batching).lower(),
        "batching_file": f"/{_BATCHING_CONFIG}" if deployment.batching else "",
    }
    return {
        **{name: _text(name) for name in copied},
        _MODELS_CONFIG: models_config(deployment),
        ".env": _filled("compose.env", deployment, values),
        "compose.yaml": _text("compose.yaml"),
    }


def _kubernetes(deployment: Deployment) -> dict[str, str]:
    resources = ["deployment.yaml", "service.yaml", "disruption-budget.yaml", "network-policy.yaml"]
    patches: list[str] = []
    files = _server_config(deployment)
    config_maps = {"styleserve-config": list(files)}
    if deployment.claim is not None:
        patches.append("volume.yaml")
    if deployment.device is Device.gpu:
        patches.append("gpu.yaml")
    if deployment.envoy:
        resources += ["envoy-deployment.yaml", "envoy-service.yaml"]
        files["envoy.yaml"] = _text("envoy.yaml")
        config_maps["styleserve-envoy"] = ["envoy.yaml"]
    if deployment.max_replicas is not None:
        resources.append("scaled-object.yaml")
        patches.append("no-replicas.yaml")
    claim, model_path = deployment.claim or ("", "")
    values = {"claim": claim, "model_path": model_path, "batching": _batching_flags(deployment, indent=12)}
    files |= {name: _filled(f"kubernetes/{name}", deployment, values) for name in (*resources, *patches)}
    return files | _kustomization(deployment, resources, patches, config_maps)


def _kserve(deployment: Deployment) -> dict[str, str]:
    env: list[str] = []
    limits = f"memory: {deployment.memory_mib}Mi"
    base_path = None
    if deployment.model is not None:
        env.append(f'{{name: STORAGE_URI, value: "{deployment.model}"}}')
        base_path = "/mnt/models"  # KServe mounts or downloads the model there
    if deployment.device is Device.gpu:
        env.append('{name: TF_FORCE_GPU_ALLOW_GROWTH, value: "true"}')
        env.append('{name: CUDA_CACHE_PATH, value: "/tmp/cuda"}')
        limits += ", nvidia.com/gpu: 1"
    values = {
        "env": _list_items(env, indent=10),
        "limits": limits,
        "batching": _batching_flags(deployment, indent=10),
    }
    resources = ["inference-service.yaml", "network-policy.yaml"]
    files = _server_config(deployment, base_path)
    config_maps = {"styleserve-config": list(files)}
    files |= {name: _filled(f"kserve/{name}", deployment, values) for name in resources}
    return files | _kustomization(deployment, resources, [], config_maps)


def _ray(deployment: Deployment) -> dict[str, str]:
    secret = [] if deployment.secret is None else [f"secretRef: {{name: {deployment.secret}}}"]
    mounts, volumes = _claims(deployment)
    resources = f'cpu: "{deployment.cpus}", memory: {deployment.memory_mib}Mi'
    tolerations: list[str] = []
    if deployment.device is Device.gpu:
        resources += ", nvidia.com/gpu: 1"
        tolerations.append("{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}")
    values = {
        "entrypoint": _bulk_command(deployment),
        "object_store_bytes": str(_OBJECT_STORE_BYTES),
        "ray_version": RAY_VERSION,
        "resources": resources,
        "tolerations": _list("tolerations", tolerations, indent=12),
    }
    for pod, indent in (("head", 10), ("worker", 12)):
        values[f"{pod}_env_from"] = _list("envFrom", secret, indent=indent + 4)
        values[f"{pod}_mounts"] = _list_items(mounts, indent=indent + 6)
        values[f"{pod}_volumes"] = _list_items(volumes, indent=indent + 2)
    names = ("network-policy.yaml", "ray-job.yaml", "kustomization.yaml")
    return {name: _filled(f"ray/{name}", deployment, values) for name in names}


def _bulk_command(deployment: Deployment) -> str:
    """Command of the run. Patterns of the options keep characters out of it that a shell reads."""
    model = _pod_path(deployment.model or "") or f"/models/{DEFAULT_MODEL_NAME}"
    jobs, results = _pod_path(deployment.jobs or ""), _pod_path(deployment.results or "")
    return (
        f"styleserve bulk {jobs} -o {results} --model {model} --address auto --workers auto --calls {deployment.calls}"
    )


def _pod_path(location: str) -> str:
    """Path of a location on a volume in the pods of Ray; other locations stay."""
    claim = claim_of(location)
    return location if claim is None else "/".join((_VOLUMES, *claim)).rstrip("/")


def _claims(deployment: Deployment) -> tuple[list[str], list[str]]:
    """Mounts and volumes of all claims; only that of the results can be written to."""
    found = [claim_of(each) for each in (deployment.results, deployment.model, deployment.jobs)]
    written = found[0][0] if found[0] else None
    mounts: list[str] = []
    volumes: list[str] = []
    for claim in dict.fromkeys(each[0] for each in found if each is not None):
        name, access = f"volume-{len(mounts)}", "" if claim == written else ", readOnly: true"
        mounts.append(f"{{name: {name}, mountPath: {_VOLUMES}/{claim}{access}}}")
        volumes.append(f"{{name: {name}, persistentVolumeClaim: {{claimName: {claim}{access}}}}}")
    return mounts, volumes


def _server_config(deployment: Deployment, base_path: str | None = None) -> dict[str, str]:
    files = {_MODELS_CONFIG: models_config(deployment, base_path), _MONITORING_CONFIG: _text(_MONITORING_CONFIG)}
    return files | ({_BATCHING_CONFIG: _text(_BATCHING_CONFIG)} if deployment.batching else {})


def _batching_flags(deployment: Deployment, *, indent: int) -> str:
    flags = ["--enable_batching=true", f"--batching_parameters_file=/{_BATCHING_CONFIG}"]
    return _list_items(flags if deployment.batching else [], indent=indent)


def _kustomization(
    deployment: Deployment, resources: Iterable[str], patches: Iterable[str], config_maps: Mapping[str, Iterable[str]]
) -> dict[str, str]:
    patched = "\n    target: {kind: Deployment, name: styleserve}"
    maps = [f"name: {name}\n    files: [{', '.join(files)}]" for name, files in config_maps.items()]
    values = {
        "resources": _list_items(resources, indent=2),
        "patches": _list_items((f"path: {name}{patched}" for name in patches), indent=2) or "\n  []",
        "config_maps": _list_items(maps, indent=2),
    }
    return {"kustomization.yaml": _filled("kubernetes/kustomization.yaml", deployment, values)}


def _list(name: str, items: Collection[str], *, indent: int) -> str:
    """Field with a list; nothing without items."""
    return f"\n{' ' * indent}{name}:{_list_items(items, indent=indent + 2)}" if items else ""


def _list_items(items: Iterable[str], *, indent: int) -> str:
    return "".join(f"\n{' ' * indent}- {item}" for item in items)


def _filled(path: str, deployment: Deployment, values: Mapping[str, str]) -> str:
    options = asdict(deployment) | {
        "target": deployment.target.value,
        "image": deployment.image_name,
        "grpc_max_threads": deployment.calls + 1,  # one thread refuses the next call
        "inter_op_threads": inter_op_threads(deployment.calls),
        "memory_mib": deployment.memory_mib,
        "tensor_bytes": deployment.tensor_bytes,
        "target_calls": f"{0.75 * deployment.calls:g}",
        "termination_s": deployment.drain_s + 15,
    }
    return Template(_text(path)).substitute(options, **values)


def _quoted(path: str) -> str:
    """Path as a quoted value of a .env file."""
    if "\\" in path or not path.isprintable():
        raise DeploymentError(f"the path is {path!r}; a .env file holds no backslash and no control character")
    return "'" + path.replace("'", "\\'") + "'"


def _text(path: str) -> str:
    return (_FILES / path).read_text(encoding="utf-8")
