"""Files for Kubernetes and KServe are valid by their schemas and consistent."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import kubernetes_validate  # pyright: ignore[reportMissingTypeStubs] - it has none
import pytest
import yaml

from styleserve.contract import DEFAULT_MODEL_NAME
from styleserve.serving.deploy.deployment import Device

from .deployments import FILES, check_query, files_of, flags, written

VERSIONS = ("1.28", "1.37")
"""Oldest version of Kubernetes with stable gRPC probes, and newest version with schemas in the package."""

CASES: dict[str, dict[str, Any]] = {
    "cpu": {},
    "gpu": {"device": Device.gpu},
    "image": {"model": None, "image": "registry.example.org/styleserve:1"},
    "root of the volume": {"model": "pvc://models"},
    "scaled": {"device": Device.gpu, "replicas": 2, "max_replicas": 6},
    "envoy": {"envoy": True, "replicas": 3},
    "batching": {"batching": True},
    "everything": {
        "device": Device.gpu,
        "envoy": True,
        "max_replicas": 2,
        "label": ("stable=7", "canary=8"),
        "batching": True,
    },
}


def built(folder: Path) -> list[dict[str, Any]]:
    """Resources that Kustomize builds from a folder; skips the test without Kustomize."""
    if shutil.which("kubectl"):
        command = ["kubectl", "kustomize"]
    elif shutil.which("kustomize"):
        command = ["kustomize", "build"]
    else:
        pytest.skip("there is neither kubectl nor kustomize here")
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="module", params=list(CASES))
def resources(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Resources of each case, by kind and name."""
    folder = written(tmp_path_factory.mktemp("kubernetes"), files_of("kubernetes", **CASES[request.param]))
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in built(folder)}


def pod(resources: dict[str, dict[str, Any]], name: str = "styleserve") -> dict[str, Any]:
    return resources[f"Deployment/{name}"]["spec"]["template"]


def of_all_cases() -> list[tuple[str, dict[str, str]]]:
    kubernetes = [(name, files_of("kubernetes", **fields)) for name, fields in CASES.items()]
    return [*kubernetes, ("kserve", files_of("kserve")), ("kserve, batching", files_of("kserve", batching=True))]


@pytest.mark.parametrize(("case", "files"), of_all_cases(), ids=lambda each: each if isinstance(each, str) else "")
def test_kustomization_names_every_file(case: str, files: dict[str, str]) -> None:
    """This test runs without Kustomize."""
    found = yaml.safe_load(files["kustomization.yaml"])
    patches = [each["path"] for each in found["patches"]]
    maps = [file for each in found["configMapGenerator"] for file in each["files"]]
    assert sorted([*found["resources"], *patches, *maps, "kustomization.yaml"]) == sorted(files), case
    assert found["resources"]
    assert all(yaml.safe_load(files[name]) for name in (*found["resources"], *patches))


def test_every_template_is_used() -> None:
    used = {name for _, files in of_all_cases() for name in files}
    here = {path.name for folder in ("kubernetes", "kserve") for path in (FILES / folder).glob("*.yaml")}
    assert here <= used


def test_no_placeholder_remains() -> None:
    for case, files in of_all_cases():
        texts = {name: text.replace("clusterIP: None", "") for name, text in files.items()}
        assert [name for name, text in texts.items() if re.search(r"\$\w|None", text)] == [], case


def selectors_in(node: Any, name: str = "") -> Iterator[dict[str, str]]:
    """Selectors of pods, anywhere in a manifest."""
    if isinstance(node, list):
        for each in cast("list[Any]", node):
            yield from selectors_in(each)
    elif isinstance(node, dict):
        labels = cast("dict[str, Any]", node)
        if name == "matchLabels" or (name == "selector" and "matchLabels" not in labels):
            yield labels
        for key, value in labels.items():
            yield from selectors_in(value, key)


def test_selectors_match_no_pod_of_other_software() -> None:
    """Other charts also have the label `component: server`."""
    files = files_of("kubernetes", **CASES["everything"])
    manifests = {name: yaml.safe_load(text) for name, text in files.items() if name.endswith("yaml")}
    found = [each for manifest in manifests.values() for each in selectors_in(manifest)]
    own = [each for each in found if "app.kubernetes.io/component" in each]
    assert len(own) == 7
    assert [each for each in own if each.get("app.kubernetes.io/name") != "styleserve"] == []
    # All others select the callers.
    others = [set(each) for each in found if each not in own]
    assert others == [{"styleserve-client"}, {"kubernetes.io/metadata.name"}]
    for name in ("deployment.yaml", "envoy-deployment.yaml"):
        spec = manifests[name]["spec"]
        assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()


@pytest.mark.parametrize("version", VERSIONS)
def test_resources_are_of_their_schemas(resources: dict[str, dict[str, Any]], version: str) -> None:
    own = {name: each for name, each in resources.items() if not name.startswith("ScaledObject/")}
    for each in own.values():
        kubernetes_validate.validate(each, version, strict=True)
    assert len(own) >= 5


@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_are_of_their_schemas_as_they_are_written(version: str) -> None:
    """Also where there is no Kustomize. What is of KEDA or KServe has no schema here, and patches are parts."""
    seen: set[str] = set()
    for _, files in of_all_cases():
        for name in yaml.safe_load(files["kustomization.yaml"])["resources"]:
            manifest = yaml.safe_load(files[name])
            if manifest["kind"] not in ("ScaledObject", "InferenceService"):
                kubernetes_validate.validate(manifest, version, strict=True)
                seen.add(name)
    here = {path.name for folder in ("kubernetes", "kserve") for path in (FILES / folder).glob("*.yaml")}
    parts = {"kustomization.yaml", "gpu.yaml", "volume.yaml", "no-replicas.yaml"}
    assert here - parts - seen == {"scaled-object.yaml", "inference-service.yaml"}


def test_a_misspelt_field_is_found() -> None:
    text = files_of("kubernetes")["deployment.yaml"].replace("readinessProbe", "readynessProbe")
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        kubernetes_validate.validate(yaml.safe_load(text), VERSIONS[-1], strict=True)


def test_selectors_find_the_pods(resources: dict[str, dict[str, Any]]) -> None:
    labels = pod(resources)["metadata"]["labels"]
    selectors = [
        resources["Deployment/styleserve"]["spec"]["selector"]["matchLabels"],
        resources["Service/styleserve"]["spec"]["selector"],
        resources["PodDisruptionBudget/styleserve"]["spec"]["selector"]["matchLabels"],
        resources["NetworkPolicy/styleserve"]["spec"]["podSelector"]["matchLabels"],
        *(each["labelSelector"]["matchLabels"] for each in pod(resources)["spec"]["topologySpreadConstraints"]),
    ]
    for selector in selectors:
        assert selector
        assert selector.items() <= labels.items()
    if "Deployment/styleserve-envoy" in resources:
        envoy = pod(resources, "styleserve-envoy")["metadata"]["labels"]
        assert resources["Service/styleserve-envoy"]["spec"]["selector"].items() <= envoy.items()
        # Envoy is a client of the servers.
        assert not resources["Service/styleserve"]["spec"]["selector"].items() <= envoy.items()
        first, _ = resources["NetworkPolicy/styleserve"]["spec"]["ingress"]
        assert first["from"][0]["podSelector"]["matchLabels"].items() <= envoy.items()


def test_ports_agree(resources: dict[str, dict[str, Any]]) -> None:
    (server,) = pod(resources)["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in server["ports"]}
    server_flags = flags(server["args"])
    assert ports == {"grpc": int(server_flags["port"]), "http": int(server_flags["rest_api_port"])}
    assert {port["targetPort"] for port in resources["Service/styleserve"]["spec"]["ports"]} == set(ports)
    assert {probe["grpc"]["port"] for name, probe in server.items() if name.endswith("Probe")} == {ports["grpc"]}
    assert server_flags["enable_grpc_healthcheck_service"] == "true"
    assert pod(resources)["metadata"]["annotations"]["prometheus.io/port"] == str(ports["http"])
    rules = resources["NetworkPolicy/styleserve"]["spec"]["ingress"]
    assert [rule["ports"][0]["port"] for rule in rules] == ["grpc", "http"]
    assert resources["Service/styleserve"]["spec"]["clusterIP"] == "None"


def test_volumes_that_are_mounted_are_there(resources: dict[str, dict[str, Any]]) -> None:
    for name, each in resources.items():
        if each["kind"] != "Deployment":
            continue
        spec = each["spec"]["template"]["spec"]
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        mounts = {mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]}
        assert mounts == set(volumes), name
        maps = {volume["configMap"]["name"] for volume in volumes.values() if "configMap" in volume}
        assert {f"ConfigMap/{each}" for each in maps} <= set(resources)
    mounted = {mount["name"]: mount for mount in pod(resources)["spec"]["containers"][0]["volumeMounts"]}
    server_flags = flags(pod(resources)["spec"]["containers"][0]["args"])
    config = resources["ConfigMap/styleserve-config"]["data"]
    for flag in ("model_config_file", "monitoring_config_file"):
        folder, _, file = server_flags[flag].rpartition("/")
        assert folder == mounted["config"]["mountPath"]
        assert file in config
    assert f'base_path: "/models/{DEFAULT_MODEL_NAME}"' in config["models.config"]
    if "models" in mounted:
        assert mounted["models"]["mountPath"] == f"/models/{DEFAULT_MODEL_NAME}"


def test_pods_may_do_nothing_that_they_need_not(resources: dict[str, dict[str, Any]]) -> None:
    for name in ("styleserve", "styleserve-envoy"):
        if f"Deployment/{name}" not in resources:
            continue
        spec = pod(resources, name)["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["requests"]["memory"] and container["resources"]["limits"]["memory"]  # noqa: PT018
    policy = resources["NetworkPolicy/styleserve"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in policy


def test_a_pod_leaves_before_it_ends(resources: dict[str, dict[str, Any]]) -> None:
    spec = pod(resources)["spec"]
    (server,) = spec["containers"]
    (program, seconds) = server["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    assert int(seconds) < spec["terminationGracePeriodSeconds"]
    arguments = dict(each.split("=") for each in flags(server["args"])["grpc_channel_arguments"].split(","))
    # gRPC adds up to a tenth to the age of a connection.
    assert 1.1 * int(arguments["grpc.max_connection_age_ms"]) / 1000 < int(seconds)


def test_the_server_is_started_as_compose_does(resources: dict[str, dict[str, Any]]) -> None:
    own = flags(pod(resources)["spec"]["containers"][0]["args"])
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (FILES / "compose.yaml").read_text())
    compose = flags(yaml.safe_load(text)["services"]["cpu"]["command"])
    # Off, in Compose's own way; what they are where it is on is looked at below.
    assert (compose.pop("enable_batching"), compose.pop("batching_parameters_file")) == ("false", "")
    for name in ("enable_batching", "batching_parameters_file"):
        own.pop(name, None)
    channel = compose.pop("grpc_channel_arguments")
    assert own.pop("grpc_channel_arguments") == f"{channel},grpc.max_connection_age_ms=60000"
    assert own == compose


@pytest.mark.parametrize("target", ["kubernetes", "kserve"])
def test_batching_is_switched_on_with_both_flags_and_the_file(target: str) -> None:
    def server_flags(files: dict[str, str]) -> dict[str, str]:
        name, *way = {
            "kubernetes": ("deployment.yaml", "spec", "template", "spec"),
            "kserve": ("inference-service.yaml", "spec", "predictor"),
        }[target]
        found = yaml.safe_load(files[name])
        for step in way:
            found = found[step]
        return flags(found["containers"][0]["args"])

    off, on = files_of(target), files_of(target, batching=True)
    both = {"enable_batching": "true", "batching_parameters_file": "/config/batching.config"}
    assert server_flags(on) == {**server_flags(off), **both}
    assert not both.keys() & server_flags(off).keys()
    assert on["config/batching.config"] == (FILES / "config" / "batching.config").read_text()
    (config,) = yaml.safe_load(on["kustomization.yaml"])["configMapGenerator"]
    assert "config/batching.config" in config["files"]


def test_one_gpu_for_each_pod(tmp_path: Path) -> None:
    found = {each["kind"]: each for each in built(written(tmp_path, files_of("kubernetes", device=Device.gpu)))}
    spec = found["Deployment"]["spec"]
    (server,) = spec["template"]["spec"]["containers"]
    assert server["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert server["resources"]["limits"]["memory"] == server["resources"]["requests"]["memory"]
    assert server["image"].endswith("-gpu")
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    assert {each["name"]: each["value"] for each in server["env"]}["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"


def test_replicas_belong_to_keda_where_it_scales(tmp_path: Path) -> None:
    files = files_of("kubernetes", replicas=2, max_replicas=6, calls=4, namespace="art", model_name="m")
    found = {each["kind"]: each for each in built(written(tmp_path, files))}
    assert "replicas" not in found["Deployment"]["spec"]
    scaled = found["ScaledObject"]
    spec = scaled["spec"]
    # By KEDA's documents. Its schema is in cloudcoil-models-keda, which brings a plugin of pytest's that does not load
    # without more packages; what stands here was held against it once.
    assert set(spec) <= {
        "scaleTargetRef",
        "minReplicaCount",
        "maxReplicaCount",
        "cooldownPeriod",
        "advanced",
        "triggers",
    }
    assert spec["scaleTargetRef"] == {"name": found["Deployment"]["metadata"]["name"]}
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (2, 6)
    (trigger,) = spec["triggers"]
    assert (trigger["type"], trigger["metricType"]) == ("prometheus", "AverageValue")
    assert set(trigger["metadata"]) == {"serverAddress", "query", "threshold"}
    # Below what a server takes: what it refuses is not in the sum.
    assert 0 < float(trigger["metadata"]["threshold"]) < 4
    check_query(trigger["metadata"]["query"])
    assert 'namespace="art",model_name="m"' in trigger["metadata"]["query"]
    # What scales down is an autoscaler of Kubernetes, whose schema is here.
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    autoscaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "a"},
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "a"}, "maxReplicas": 6, "behavior": behavior},
    }
    kubernetes_validate.validate(autoscaler, VERSIONS[-1], strict=True)


def test_everything_is_in_the_namespace(tmp_path: Path) -> None:
    fields = {"namespace": "art", "envoy": True, "max_replicas": 2}
    found = built(written(tmp_path, files_of("kubernetes", **fields)))
    assert {each["metadata"]["namespace"] for each in found} == {"art"}


# --- KServe --------------------------------------------------------------------------------------------------------

EXTENSIONS = {"minReplicas", "maxReplicas"}
"""Fields of a predictor beside those of a pod, by KServe's documents: its own schema is in no package that goes with
these (its SDK holds protobuf below 7, and brings pandas and aiohttp). All other fields are held against a pod's."""


@pytest.mark.parametrize(
    ("fields", "storage", "base_path"),
    [
        ({}, "pvc://models/style_transfer", "/mnt/models"),
        ({"model": "gs://bucket/style_transfer", "device": Device.gpu}, "gs://bucket/style_transfer", "/mnt/models"),
        ({"model": None, "image": "own:1"}, None, f"/models/{DEFAULT_MODEL_NAME}"),
    ],
)
def test_kserve_gets_a_predictor_that_is_a_pod(fields: dict[str, Any], storage: str | None, base_path: str) -> None:
    files = files_of("kserve", replicas=3, **fields)
    service = yaml.safe_load(files["inference-service.yaml"])
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    assert set(service["spec"]) == {"predictor"}
    predictor = service["spec"]["predictor"]
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (3, 3)
    spec = {name: value for name, value in predictor.items() if name not in EXTENSIONS}
    as_pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": spec}
    for version in VERSIONS:
        kubernetes_validate.validate(as_pod, version, strict=True)
    (server,) = spec["containers"]
    assert server["name"] == "kserve-container"  # by which KServe finds it
    # KServe's Service calls the first one port 80.
    server_flags = flags(server["args"])
    assert server["ports"] == [
        {"name": "h2c", "containerPort": int(server_flags["port"]), "protocol": "TCP"},
        {"name": "http", "containerPort": int(server_flags["rest_api_port"]), "protocol": "TCP"},
    ]
    assert {probe["grpc"]["port"] for name, probe in server.items() if name.endswith("Probe")} == {8500}
    env = {each["name"]: each["value"] for each in server["env"]}
    assert env.get("STORAGE_URI") == storage
    assert f'base_path: "{base_path}"\n' in files["config/models.config"]
    assert server["resources"]["limits"].get("nvidia.com/gpu", 0) == (fields.get("device") is Device.gpu)


def test_kserve_starts_the_server_as_kubernetes_does() -> None:
    kserve = yaml.safe_load(files_of("kserve")["inference-service.yaml"])["spec"]["predictor"]["containers"][0]
    server = yaml.safe_load(files_of("kubernetes")["deployment.yaml"])["spec"]["template"]["spec"]["containers"][0]
    assert flags(kserve["args"]) == flags(server["args"])
    assert kserve["resources"] == server["resources"]
    assert kserve["env"] == [*server["env"], {"name": "STORAGE_URI", "value": "pvc://models/style_transfer"}]


def test_kserve_tells_prometheus_where_metrics_are_as_kubernetes_does() -> None:
    files = files_of("kserve")
    service = yaml.safe_load(files["inference-service.yaml"])
    server = yaml.safe_load(files_of("kubernetes")["deployment.yaml"])
    asked = server["spec"]["template"]["metadata"]["annotations"]
    assert asked.items() <= service["metadata"]["annotations"].items()
    assert asked["prometheus.io/port"] == flags(service["spec"]["predictor"]["containers"][0]["args"])["rest_api_port"]
    assert f'path: "{asked["prometheus.io/path"]}"' in files["config/monitoring.config"]


def test_kserve_admits_clients_and_prometheus() -> None:
    files = files_of("kserve")
    policy = yaml.safe_load(files["network-policy.yaml"])
    for version in VERSIONS:
        kubernetes_validate.validate(policy, version, strict=True)
    service = yaml.safe_load(files["inference-service.yaml"])
    # The label that KServe puts on the pods of a service.
    assert policy["spec"]["podSelector"]["matchLabels"] == {
        "serving.kserve.io/inferenceservice": service["metadata"]["name"]
    }
    kubernetes = yaml.safe_load(files_of("kubernetes")["network-policy.yaml"])
    rules = policy["spec"]["ingress"]
    assert [rule["from"] for rule in rules] == [rule["from"] for rule in kubernetes["spec"]["ingress"]]
    (server,) = service["spec"]["predictor"]["containers"]
    assert [rule["ports"] for rule in rules] == [[{"port": each["containerPort"]}] for each in server["ports"]]
    assert policy["spec"]["policyTypes"] == ["Ingress"]  # what fetches the model calls out


def test_kserve_is_built_by_kustomize(tmp_path: Path) -> None:
    found = built(written(tmp_path, files_of("kserve", namespace="art")))
    assert {each["kind"] for each in found} == {"ConfigMap", "InferenceService", "NetworkPolicy"}
    assert {each["metadata"]["namespace"] for each in found} == {"art"}
