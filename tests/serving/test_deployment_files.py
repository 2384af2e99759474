"""Files for TensorFlow Serving, checked without a server."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from styleserve.contract import DEFAULT_MODEL_NAME, DEFAULT_PORT
from styleserve.serving.config_files import MonitoringConfig, read_config
from styleserve.serving.deploy.deployment import Deployment, Device, Target
from styleserve.serving.deploy.rendering import models_config
from styleserve.serving.models.version_policy import configs_from_proto
from styleserve.serving.observability.metrics import Metrics

from .deployments import FILES, METRICS, OWN_METRICS, check_query, files_of, flags, written

DEFAULT = re.compile(r"\$\{(\w+):-([^}]*)\}")
LABELS = ("stable=1700000000", "canary=1700000001")
DASHBOARD: dict[str, Any] = json.loads((FILES / "monitoring" / "styleserve.json").read_text())
(ROW,) = [panel for panel in DASHBOARD["panels"] if panel["type"] == "row"]
PANELS = [*(panel for panel in DASHBOARD["panels"] if panel is not ROW), *ROW["panels"]]


def models_of(text: str) -> dict[str, Any]:
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    return configs_from_proto(config.model_config_list)


def compose_file(*, defaults: bool = True) -> dict[str, Any]:
    text = (FILES / "compose.yaml").read_text()
    return yaml.safe_load(DEFAULT.sub(r"\2", text) if defaults else text)


# --- configuration in protobuf's text format -----------------------------------------------------------------------


def test_models_config_is_valid() -> None:
    models = models_of((FILES / "config" / "models.config").read_text())
    assert set(models) == {DEFAULT_MODEL_NAME}
    assert models[DEFAULT_MODEL_NAME].base_path == Path("/models") / DEFAULT_MODEL_NAME


def test_models_config_is_rendered_by_default() -> None:
    text = models_config(Deployment(target=Target.compose, model="models/style_transfer"))
    assert text == (FILES / "config" / "models.config").read_text()


def test_labels_select_their_versions() -> None:
    text = models_config(Deployment(target=Target.compose, model="m", model_name="art", label=LABELS))
    (model,) = models_of(text).values()
    assert (model.name, model.base_path) == ("art", Path("/models/art"))
    assert model.policy.kind == "specific"
    assert set(model.policy.specific) == {1700000000, 1700000001}
    assert dict(model.labels) == {"stable": 1700000000, "canary": 1700000001}


def test_two_labels_of_one_version() -> None:
    labels = ("stable=7", "canary=7")
    (model,) = models_of(models_config(Deployment(target=Target.compose, model="m", label=labels))).values()
    assert model.policy.specific == (7,)


def test_prometheus_scrapes_the_port_and_path_of_the_metrics() -> None:
    monitoring = read_config(FILES / "config" / "monitoring.config", MonitoringConfig).prometheus_config
    assert monitoring.enable
    (job,) = yaml.safe_load((FILES / "monitoring" / "prometheus.yaml").read_text())["scrape_configs"]
    assert job["metrics_path"] == monitoring.path
    (found,) = job["dns_sd_configs"]
    service = compose_file()["services"]["cpu"]
    assert found["names"] == service["networks"]["default"]["aliases"]
    assert str(found["port"]) == flags(service["command"])["rest_api_port"]
    text = files_of("kubernetes")["deployment.yaml"]
    assert f"prometheus.io/path: {monitoring.path}\n" in text


def test_templates_are_package_data() -> None:
    """An installation has only the files that the package data names."""
    text = (FILES.parents[1] / "pyproject.toml").read_text()
    (listed,) = re.findall(r'^"styleserve\.serving\.deploy" = (\[.*\])$', text, re.MULTILINE)
    named = {path for pattern in json.loads(listed) for path in FILES.glob(pattern)}
    here = {
        path for path in FILES.rglob("*") if path.is_file() and path.suffix in (".yaml", ".json", ".config", ".env")
    }
    assert len(here) > 15
    assert here == named


# --- Dockerfile and Compose ----------------------------------------------------------------------------------------


def dockerfile(instruction: str) -> str:
    text = (FILES / "Dockerfile").read_text().replace("\\\n", " ")
    (line,) = re.findall(rf"^{instruction} (.*)$", text, re.MULTILINE)
    return line


def test_image_and_compose_have_the_same_flags() -> None:
    image = flags(json.loads(dockerfile("CMD")))
    compose = flags(compose_file()["services"]["cpu"]["command"])
    assert image.pop("model_config_file") == "/models/models.config"
    assert compose.pop("model_config_file") == "/config/models.config"
    assert image.pop("monitoring_config_file") == "/models/monitoring.config"
    assert compose.pop("monitoring_config_file") == "/config/monitoring.config"
    # Off in Compose; the image has no such flags.
    assert (compose.pop("enable_batching"), compose.pop("batching_parameters_file")) == ("false", "")
    assert image == compose
    assert image["port"] == str(DEFAULT_PORT)
    assert image["enable_profiler"] == "false"


def test_the_image_has_the_files_of_its_flags() -> None:
    copied = [line.split()[1:] for line in (FILES / "Dockerfile").read_text().splitlines() if line.startswith("COPY")]
    ignored = (FILES / "Dockerfile.dockerignore").read_text().splitlines()
    for *sources, place in copied:
        for source in sources:
            assert any(source.startswith(line[1:]) for line in ignored if line.startswith("!")), source
            assert source.startswith("models/") or (FILES.parents[1] / source).is_file(), source
        assert place.startswith("/models")
    assert json.loads(dockerfile("ENTRYPOINT")) == compose_file()["services"]["cpu"]["entrypoint"]
    assert dockerfile("USER") == compose_file()["services"]["cpu"]["user"]


def test_image_and_compose_have_the_same_health_check() -> None:
    command = json.loads(dockerfile("HEALTHCHECK").partition("CMD ")[2])
    compose = [part.replace("$$", "$") for part in compose_file()["services"]["cpu"]["healthcheck"]["test"]]
    assert ["CMD", *command] == compose


@contextmanager
def server_in_state(state: str) -> Generator[int]:
    """Port of an HTTP server with TensorFlow Serving's response for a model in this state."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == f"/v1/models/{DEFAULT_MODEL_NAME}"
            self.send_response(200 if found else 404)
            self.end_headers()
            versions = [{"version": "1", "state": state, "status": {"error_code": "OK", "error_message": ""}}]
            body = {"model_version_status": versions} if found else {"error": "Could not find any versions"}
            self.wfile.write(json.dumps(body, indent=1).encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def healthy(port: int) -> bool:
    if shutil.which("bash") is None or shutil.which("timeout") is None:
        pytest.skip("there is no bash, or no timeout, here")
    command = json.loads(dockerfile("HEALTHCHECK").partition("CMD ")[2])
    command = ["60" if part == "5" else part.replace("8501", str(port)) for part in command]
    return subprocess.run(command, capture_output=True, check=False, timeout=120).returncode == 0


@pytest.mark.parametrize(("state", "good"), [("AVAILABLE", True), ("LOADING", False), ("END", False)])
def test_health_is_the_state_of_the_model(state: str, good: bool) -> None:
    with server_in_state(state) as port:
        assert healthy(port) is good


def test_no_server_is_not_healthy() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and not listening: refused
        assert not healthy(taken.getsockname()[1])


def test_compose_schema(tmp_path: Path) -> None:
    """The file with its default values is valid by the Compose specification."""
    path = tmp_path / "compose.yaml"
    path.write_text(DEFAULT.sub(r"\2", (FILES / "compose.yaml").read_text()))
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout


def test_ports_are_published_on_loopback() -> None:
    for name, service in compose_file()["services"].items():
        assert service["ports"], name
        assert [port for port in service["ports"] if not port.startswith("127.0.0.1:")] == [], name


def test_services_have_no_capabilities_and_a_memory_limit() -> None:
    services = compose_file()["services"]
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["restart"] == "unless-stopped", name
    for name in ("cpu", "gpu", "envoy"):
        assert services[name]["read_only"] is True, name
        assert services[name]["user"].split(":")[0] not in ("", "0", "root"), name
        assert "mem_limit" in services[name], name
    (pod,) = [yaml.safe_load(files_of("kubernetes", envoy=True)["envoy-deployment.yaml"])["spec"]["template"]["spec"]]
    user = pod["securityContext"]
    assert services["envoy"]["user"] == f"{user['runAsUser']}:{user['runAsGroup']}"
    assert pod["containers"][0]["command"] == services["envoy"]["entrypoint"]


def test_memory_for_tensors_leaves_room_for_the_process() -> None:
    """Otherwise the system ends the server before TensorFlow refuses a request."""
    deployment = Deployment(target=Target.compose, model="models/m", calls=2, max_side=512)
    assert deployment.tensor_bytes == (640 + 2 * 800) * 2**20
    assert deployment.memory_mib * 2**20 - deployment.tensor_bytes == (640 + 3 * 256) * 2**20
    env = {"TF_MKL_ALLOC_MAX_BYTES": str(deployment.tensor_bytes), "TF_ENABLE_ONEDNN_OPTS": "1"}
    files = files_of("compose", calls=2, max_side=512, device=Device.gpu)
    text = DEFAULT.sub(lambda found: values_of(files).get(found[1], found[2]), files["compose.yaml"])
    for service in ("cpu", "gpu"):
        assert env.items() <= yaml.safe_load(text)["services"][service]["environment"].items()
        assert yaml.safe_load(text)["services"][service]["memswap_limit"] == f"{deployment.memory_mib}m"
    default = Deployment(target=Target.compose, model="models/m").tensor_bytes
    variables = f"ENV TF_MKL_ALLOC_MAX_BYTES={default} \\\n    TF_ENABLE_ONEDNN_OPTS=1\n"
    assert variables in (FILES / "Dockerfile").read_text()
    for target, name in (("kubernetes", "deployment.yaml"), ("kserve", "inference-service.yaml")):
        text = files_of(target, calls=2, max_side=512)[name]
        assert [f'{{name: {key}, value: "{value}"}}' in text for key, value in env.items()] == [True, True]


def test_images_have_versions() -> None:
    images = {name: service["image"] for name, service in compose_file()["services"].items()}
    assert [name for name, image in images.items() if not re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+(-gpu)?", image)] == []
    assert {images["cpu"], images["gpu"]} == {"tensorflow/serving:2.20.0", "tensorflow/serving:2.20.0-gpu"}
    for name in ("envoy-deployment.yaml",):
        assert f"image: {images['envoy']}\n" in files_of("kubernetes", envoy=True)[name]


def test_mounted_files_are_rendered() -> None:
    files = files_of("compose")
    for service in compose_file()["services"].values():
        for volume in service["volumes"]:
            source = volume["source"] if isinstance(volume, dict) else volume.split(":")[0]
            if source.startswith("./") and source != "./tls":
                assert any(name == source[2:] or name.startswith(f"{source[2:]}/") for name in files), source


def values_of(files: dict[str, str]) -> dict[str, str]:
    lines = [line for line in files[".env"].splitlines() if not line.startswith("#")]
    return {name: value.strip("'") for name, _, value in (line.partition("=") for line in lines)}


def test_rendered_defaults_are_those_of_compose() -> None:
    values = values_of(files_of("compose", model=str(FILES.parents[1] / "models" / "style_transfer")))
    assert values.pop("COMPOSE_PROFILES") == "cpu"
    defaults = dict(DEFAULT.findall((FILES / "compose.yaml").read_text().replace("2.20.0-gpu", "2.20.0")))
    assert set(values) <= set(defaults)
    assert values.pop("STYLESERVE_DEPLOY_MODEL_BASE_PATH") == str(
        (FILES / defaults["STYLESERVE_DEPLOY_MODEL_BASE_PATH"]).resolve()
    )
    assert values == {name: defaults[name] for name in values}
    assert files_of("compose")["compose.yaml"] == (FILES / "compose.yaml").read_text()


def test_batching_is_switched_on_with_both_flags_and_the_file() -> None:
    files = files_of("compose", batching=True)
    text = DEFAULT.sub(lambda found: values_of(files).get(found[1], found[2]), files["compose.yaml"])
    server_flags = flags(yaml.safe_load(text)["services"]["cpu"]["command"])
    assert server_flags["enable_batching"] == "true"
    assert server_flags["batching_parameters_file"] == "/config/batching.config"
    assert files["config/batching.config"] == (FILES / "config" / "batching.config").read_text()


def compose(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Docker Compose, as a plugin or by itself; skips the test where there is none."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is not None:
            found = subprocess.run([*command, "version"], capture_output=True, check=False, timeout=60)
            if found.returncode == 0:
                return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, timeout=60)
    pytest.skip("there is no docker compose here")


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_compose_config(profile: str) -> None:
    result = compose("-f", str(FILES / "compose.yaml"), "--profile", profile, "config", "--format", "json")
    assert result.returncode == 0, result.stderr
    service = json.loads(result.stdout)["services"][profile]
    assert [port["host_ip"] for port in service["ports"]] == ["127.0.0.1"]
    assert service["image"].endswith("-gpu") == (profile == "gpu")


def test_compose_config_of_rendered_files(tmp_path: Path) -> None:
    model = tmp_path / "it's $HOME" / "model"
    fields = {"device": Device.gpu, "model": str(model), "port": 8600, "calls": 2, "max_side": 512, "envoy": True}
    files = files_of("compose", model_name="art", monitoring=True, **fields)
    folder = written(tmp_path / "files", files)
    result = compose("-f", str(folder / "compose.yaml"), "config", "--format", "json")
    assert result.returncode == 0, result.stderr
    services = json.loads(result.stdout)["services"]
    assert set(services) == {"gpu", "prometheus", "grafana", "envoy"}
    server = services["gpu"]
    assert [(port["host_ip"], port["published"]) for port in server["ports"]] == [("127.0.0.1", "8600")]
    assert int(server["mem_limit"]) == 3548 * 2**20
    assert flags(server["command"])["grpc_max_threads"] == "3"
    mounts = {mount["target"]: mount["source"] for mount in server["volumes"]}
    assert mounts["/models/art"].replace("$$", "$") == str(model)
    assert mounts["/config"] == str(folder / "config")
    assert set(models_of((folder / "config" / "models.config").read_text())) == {"art"}


# --- Prometheus and Grafana ----------------------------------------------------------------------------------------


def test_the_dashboard_has_the_provisioned_source() -> None:
    (source,) = yaml.safe_load((FILES / "monitoring" / "datasources.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((FILES / "monitoring" / "dashboards.yaml").read_text())["providers"]
    services = compose_file()["services"]
    host, port = source["url"].removeprefix("http://").split(":")
    assert services[host]["ports"] == [f"127.0.0.1:{port}:{port}"]
    mounts = {each.split(":")[1] for each in services["grafana"]["volumes"]}
    assert f"{provider['options']['path']}/styleserve.json" in mounts
    assert services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] in mounts
    named = re.findall(r'"uid": "([^"]+)"', json.dumps(DASHBOARD["panels"]) + json.dumps(DASHBOARD["templating"]))
    assert set(named) == {source["uid"]}
    assert len(named) > len(PANELS)


QUERIES = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]


@pytest.mark.parametrize(("panel", "query"), QUERIES)
def test_queries_of_the_dashboard(panel: str, query: str) -> None:
    own = panel in [each["title"] for each in ROW["panels"]]
    check_query(query, OWN_METRICS if own else METRICS)


def test_the_row_of_the_embedded_server_has_all_its_metrics() -> None:
    """The dashboard, the documents and the server have the same metrics."""
    metrics = Metrics(running=lambda: 1, waiting=lambda: 2)
    pages = metrics.app({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda _status, _headers: None)
    page = b"".join(pages).decode()
    families = {name for name in re.findall(r"^# TYPE (\S+) ", page, re.M) if name.startswith("styleserve_")}
    asked = " ".join(target["expr"] for panel in ROW["panels"] for target in panel["targets"])
    own = {family: {name for name in OWN_METRICS if name.startswith(family)} for family in families}
    assert set().union(*own.values()) == set(OWN_METRICS)
    assert [family for family, names in own.items() if not any(name in asked for name in names)] == []
    listed = (FILES.parents[1] / "docs" / "deploy" / "metrics.md").read_text()
    assert [family for family in families if f"`{family}`" not in listed] == []


@pytest.mark.parametrize(
    "query",
    [
        "rate(:tensorflow:serving:request_counts[5m])",
        'sum(rate(:tensorflow:serving:request_count{model="m"}[5m]))',
        "sum by (model) (rate(:tensorflow:serving:request_count[5m]))",
    ],
)
def test_an_unknown_metric_or_label_is_found(query: str) -> None:
    with pytest.raises(AssertionError):
        check_query(query)


WATCHING = (FILES.parents[1] / "docs" / "deploy" / "monitoring.md").read_text()


@pytest.mark.parametrize("query", re.findall(r"^\| .+ \| `(.+)` \|$", WATCHING.partition("## Alerts")[2], re.M))
def test_queries_of_the_documents(query: str) -> None:
    check_query(query)


def test_the_documents_list_the_metrics_with_their_labels() -> None:
    listed: dict[str, set[str]] = {}
    for names, labels in re.findall(r"^\| (`:.+`) \| (.*) \| .+ \|$", WATCHING, re.M):
        first, *ends = re.findall(r"`([^`]+)`", names)
        for name in (first, *(first.removesuffix("_bucket") + end for end in ends)):
            listed[name] = set(re.findall(r"`([^`]+)`", labels))
    assert listed == {name: set(labels) - {"le"} for name, labels in METRICS.items() if name != "up"}


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in (*PANELS, ROW):
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in (*PANELS, ROW)}) == len(PANELS) + 1


def test_prometheus_configuration() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("there is no promtool here")
    command = ["promtool", "check", "config", str(FILES / "monitoring" / "prometheus.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
