"""Who is let in: TLS and tokens of the embedded server, with certificates made here by openssl."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import text_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import prediction_service_pb2_grpc
from typer.testing import CliRunner

import styleserve.serving
from styleserve.__main__ import app
from styleserve.client import ConnectionSettings, RequestRefused, RetryPolicy, ServerUnavailable, StyleClient
from styleserve.serving import EmbeddedServer, ServerSettings, StartError
from styleserve.serving.config_files import SSLConfig
from styleserve.serving.rpc import listener
from styleserve.serving.rpc.interceptor import PREDICT
from styleserve.serving.rpc.listener import MAX_CONNECTIONS, SPARE_FILES, Listener, connection_limit
from styleserve.serving.rpc.security import NONE_SENT, NOT_ACCEPTED, Tokens, server_credentials

Make = Callable[..., Any]
ONCE = RetryPolicy(tries=1)
TOKEN = "6f1d-current"  # noqa: S105
OLD_TOKEN = "6f1d-previous"  # noqa: S105
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificates with openssl")


class Authority:
    """Signs certificates for 127.0.0.1, into a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder, self.ca = folder, folder / "ca.pem"
        self._openssl("req", "-x509", *self._new("ca"), "-out", self.ca, "-days", 2)

    def sign(self, name: str) -> tuple[Path, Path]:
        """Certificate and key."""
        cert, request, extension = (self.folder / f"{name}.{suffix}" for suffix in ("pem", "csr", "ext"))
        extension.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        self._openssl("req", *self._new(name), "-out", request)
        by = ("-CA", self.ca, "-CAkey", self.folder / "ca.key", "-CAcreateserial", "-days", 2)
        self._openssl("x509", "-req", "-in", request, *by, "-extfile", extension, "-out", cert)
        return cert, self.folder / f"{name}.key"

    def _new(self, name: str) -> tuple[object, ...]:
        key = ("-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", self.folder / f"{name}.key")
        return (*key, "-subj", f"/CN={name}")

    @staticmethod
    def _openssl(*arguments: object) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)  # noqa: S607


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("security") / "authority")


@pytest.fixture(scope="module")
def own_pair(authority: Authority) -> tuple[Path, Path]:
    return authority.sign("server")


def ssl_config(path: Path, **fields: Any) -> Path:
    """A file as TensorFlow Serving reads it; paths become what they hold."""
    contents = {name: value.read_text() if isinstance(value, Path) else value for name, value in fields.items()}
    path.write_text(text_format.MessageToString(SSLConfig(**contents)))
    return path


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(f"{TOKEN}\n\n  {OLD_TOKEN}  \n")
    return path


@pytest.fixture
def guarded(stand_in_base: Path, token_file: Path) -> Iterator[EmbeddedServer]:
    settings = ServerSettings(port=0, grace_s=0.0, token_file=token_file)
    with EmbeddedServer(stand_in_base, settings=settings) as server:
        yield server


def client_of(server: EmbeddedServer, **settings: Any) -> StyleClient:
    return StyleClient(settings=ConnectionSettings(server=server.address, retry=ONCE, **settings))


@pytest.mark.parametrize("token", [TOKEN, OLD_TOKEN])
def test_a_token_of_the_file_lets_in(guarded: EmbeddedServer, request_of: Make, token: str) -> None:
    with client_of(guarded, token=token) as client:
        assert client.status()[0].available
    with grpc.insecure_channel(guarded.address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        reply = stub.Predict(request_of(), timeout=60.0, metadata=[("authorization", f"bearer {token}")])
        assert reply.outputs


@pytest.mark.parametrize(
    ("token", "text"),
    [(None, NONE_SENT), (TOKEN[:-1], NOT_ACCEPTED), (TOKEN + "x", NOT_ACCEPTED), ("x", NOT_ACCEPTED)],
)
def test_any_other_does_not(guarded: EmbeddedServer, token: str | None, text: str) -> None:
    with client_of(guarded, token=token) as client, pytest.raises(RequestRefused) as caught:
        client.status()
    assert caught.value.status == "UNAUTHENTICATED"
    assert caught.value.server_text == text
    assert "STYLESERVE_TOKEN" in str(caught.value)


@pytest.mark.parametrize("header", [f"Basic {TOKEN}", TOKEN, "Bearer", "Bearer ", f"{TOKEN} Bearer"])
def test_other_forms_of_the_header(guarded: EmbeddedServer, request_of: Make, header: str) -> None:
    with grpc.insecure_channel(guarded.address) as channel, pytest.raises(grpc.RpcError) as caught:
        prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(
            request_of(), timeout=60.0, metadata=[("authorization", header)]
        )
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_health_is_open_and_nothing_else_is(guarded: EmbeddedServer) -> None:
    with grpc.insecure_channel(guarded.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        reply = health.Check(health_pb2.HealthCheckRequest(), timeout=60.0)
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
        for method in (
            PREDICT,
            "/tensorflow.serving.PredictionService/GetModelMetadata",
            "/tensorflow.serving.ModelService/GetModelStatus",
            "/tensorflow.serving.ModelService/HandleReloadConfigRequest",
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            "/no.such.Service/Method",
        ):
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(method)(b"", timeout=60.0)
            assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED, method


def test_a_strangers_request_is_not_waited_for(guarded: EmbeddedServer) -> None:
    """Its header is enough to turn it away; its pictures are never taken in."""
    done = threading.Event()

    def never_sent() -> Iterator[bytes]:
        done.wait()
        yield b""

    with grpc.insecure_channel(guarded.address) as channel:
        try:
            call: Any = channel.stream_unary(PREDICT).future(never_sent(), timeout=120.0)
            assert call.exception().code() == grpc.StatusCode.UNAUTHENTICATED
        finally:
            done.set()


def test_reflection_and_profiler_are_not_there(stand_in_base: Path) -> None:
    settings = ServerSettings(port=0, grace_s=0.0)
    with (
        EmbeddedServer(stand_in_base, settings=settings) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        for method in (
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "/tensorflow.ProfilerService/Profile",
        ):
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(method)(b"", timeout=60.0)
            assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no token. Make one: openssl rand"),
        (b"\n \n", "holds no token"),
        (b"good\nnot one\n", r"line 2 of .* is no token"),
        (b"x" * 5000, r"line 1 of .* is no token"),
        ("größe".encode(), "characters that no token may have"),
    ],
)
def test_files_that_hold_no_tokens(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "tokens"
    path.write_bytes(content)
    with pytest.raises(StartError, match=message) as caught:
        Tokens.from_file(path)
    assert "not one" not in str(caught.value)
    assert "xxx" not in str(caught.value)


def test_tokens_are_not_kept() -> None:
    tokens = Tokens([TOKEN])
    assert TOKEN not in repr(vars(tokens))
    assert tokens.refusal([f"Bearer {TOKEN}"]) is None
    assert tokens.refusal(["Bearer wrong", f"Bearer {TOKEN}"]) is None


def test_a_token_in_plain_text_from_other_machines_has_to_be_wanted(
    stand_in_base: Path, token_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = {"host": "0.0.0.0", "port": 0, "grace_s": 0.0}  # noqa: S104
    with pytest.raises(StartError, match=r"unencrypted.*--ssl-config-file.*--allow-plain-token"):
        EmbeddedServer(stand_in_base, settings=ServerSettings(**plain, token_file=token_file)).start()
    allowed = ServerSettings(**plain, token_file=token_file, allow_plain_token=True)
    with EmbeddedServer(stand_in_base, settings=allowed):
        assert "every client" not in caplog.text
    with EmbeddedServer(stand_in_base, settings=ServerSettings(**plain)):
        assert "every client that reaches 0.0.0.0 may use the model" in caplog.text


@needs_openssl
def test_tls_and_a_token(
    stand_in_base: Path, tmp_path: Path, authority: Authority, own_pair: Any, token_file: Path
) -> None:
    config = ssl_config(tmp_path / "ssl.config", server_cert=own_pair[0], server_key=own_pair[1])
    settings = ServerSettings(port=0, grace_s=0.0, ssl_config_file=config, token_file=token_file)
    with EmbeddedServer(stand_in_base, settings=settings) as server:
        with client_of(server, ca=authority.ca, token=TOKEN) as client:
            assert client.status()[0].available
        with client_of(server, ca=authority.ca) as client, pytest.raises(RequestRefused):
            client.status()
        with client_of(server) as client, pytest.raises(ServerUnavailable):  # not encrypted
            client.status()


@needs_openssl
def test_the_probe_of_the_documents(
    stand_in_base: Path, tmp_path: Path, authority: Authority, own_pair: Any, token_file: Path
) -> None:
    page = (Path(styleserve.serving.__file__).resolve().parents[1] / "docs" / "deploy" / "security.md").read_text()
    (line,) = re.findall(r"^styleserve (wait .+)$", page, re.M)
    config = ssl_config(tmp_path / "ssl.config", server_cert=own_pair[0], server_key=own_pair[1])
    settings = ServerSettings(port=0, grace_s=0.0, ssl_config_file=config, token_file=token_file)

    def probe(server: EmbeddedServer, token: str) -> int:
        address = server.address.replace("127.0.0.1", "localhost")
        said = {"localhost:8500": address, "ca.pem": str(authority.ca), "5": "60"}
        words = [said.get(word, word) for word in line.split()]
        return CliRunner().invoke(app, words, env={"STYLESERVE_TOKEN": token}).exit_code

    with EmbeddedServer(stand_in_base, settings=settings) as server:
        assert probe(server, TOKEN) == 0
        assert probe(server, "") == RequestRefused.exit_code


@needs_openssl
def test_a_server_that_asks_for_the_clients_certificate(
    stand_in_base: Path, tmp_path: Path, authority: Authority, own_pair: Any
) -> None:
    own = {"server_cert": own_pair[0], "server_key": own_pair[1]}
    config = ssl_config(tmp_path / "ssl.config", **own, custom_ca=authority.ca, client_verify=True)
    cert, key = authority.sign("client")
    strange_cert, strange_key = Authority(tmp_path / "stranger").sign("client")
    with EmbeddedServer(stand_in_base, settings=ServerSettings(port=0, grace_s=0.0, ssl_config_file=config)) as server:
        with client_of(server, ca=authority.ca, cert=cert, key=key) as client:
            assert client.status()[0].available
        for pair in ({}, {"cert": strange_cert, "key": strange_key}):
            with client_of(server, ca=authority.ca, **pair) as client, pytest.raises(ServerUnavailable):
                client.status()


@needs_openssl
@pytest.mark.parametrize("verify", [True, False])
def test_no_warning_of_open_access_where_clients_show_certificates(
    stand_in_base: Path,
    tmp_path: Path,
    authority: Authority,
    own_pair: Any,
    caplog: pytest.LogCaptureFixture,
    verify: bool,
) -> None:
    own = {"server_cert": own_pair[0], "server_key": own_pair[1], "custom_ca": authority.ca}
    config = ssl_config(tmp_path / "ssl.config", **own, client_verify=verify)
    settings = ServerSettings(host="0.0.0.0", port=0, grace_s=0.0, ssl_config_file=config)  # noqa: S104
    with EmbeddedServer(stand_in_base, settings=settings):
        assert ("every client" in caplog.text) is not verify


@needs_openssl
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "server_key must hold a private key"),
        ({"server_key": "/etc/tls/server.key"}, r"server_key .*not the path of a file"),
        ({"server_key": "own"}, "server_cert must hold a certificate"),
        ({"server_key": "own", "server_cert": "own", "client_verify": True}, "custom_ca must hold the certificate of"),
        ({"server_key": "own", "server_cert": "own", "custom_ca": "x"}, "custom_ca must hold"),
    ],
)
def test_configurations_of_tls_that_cannot_be_used(
    tmp_path: Path, own_pair: Any, fields: dict[str, Any], message: str
) -> None:
    own = {"server_cert": own_pair[0], "server_key": own_pair[1]}
    given = {name: own[name] if value == "own" else value for name, value in fields.items()}
    with pytest.raises(StartError, match=message):
        server_credentials(ssl_config(tmp_path / "ssl.config", **given))


@needs_openssl
def test_a_certificate_and_a_key_that_do_not_belong_together(
    stand_in_base: Path, tmp_path: Path, authority: Authority, own_pair: Any
) -> None:
    _, other_key = authority.sign("other")
    config = ssl_config(tmp_path / "ssl.config", server_cert=own_pair[0], server_key=other_key)
    with pytest.raises(StartError, match="do not belong together"):
        EmbeddedServer(stand_in_base, settings=ServerSettings(port=0, ssl_config_file=config)).start()


def test_more_connections_than_allowed_are_closed() -> None:
    small = Listener("127.0.0.1", max_calls=1, max_request_bytes=1000, max_connections=2)
    port = small.start(0)
    inside = [socket.create_connection(("127.0.0.1", port), 60.0) for _ in range(2)]
    try:
        for each in inside:
            assert each.recv(9)  # HTTP/2's settings: it was taken
        with socket.create_connection(("127.0.0.1", port), 60.0) as refused:
            assert refused.recv(9) == b""
    finally:
        for each in inside:
            each.close()
        small.stop()


@pytest.mark.parametrize(
    ("files", "connections"),
    [(SPARE_FILES + 1, 1), (1024, 1024 - SPARE_FILES), (2**20, MAX_CONNECTIONS), (-1, MAX_CONNECTIONS)],
)
def test_no_more_connections_than_files(monkeypatch: pytest.MonkeyPatch, files: int, connections: int) -> None:
    monkeypatch.setattr(listener.resource, "getrlimit", lambda _: (files, files))
    assert connection_limit() == connections


def test_too_few_files(monkeypatch: pytest.MonkeyPatch, stand_in_base: Path) -> None:
    monkeypatch.setattr(listener.resource, "getrlimit", lambda _: (SPARE_FILES, 2**20))
    with pytest.raises(StartError, match="may have 100 files open, and needs 100 beside"):
        EmbeddedServer(stand_in_base, settings=ServerSettings(port=0)).start()
