"""TLS, with certificates made here by openssl."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from styleserve.client import (
    AsyncStyleClient,
    ConnectionSettings,
    RetryPolicy,
    ServerUnavailable,
    SettingsError,
    StyleClient,
    TooLarge,
)

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificates with openssl")

ONCE = RetryPolicy(tries=1)
Serve = Callable[..., AbstractContextManager[Any]]


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)  # noqa: S607


@dataclass
class Authority:
    """Signs certificates, into a folder."""

    folder: Path
    name: str

    def __post_init__(self) -> None:
        request = ("req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", 2)
        openssl(*request, "-subj", f"/CN={self.name}", "-keyout", self.key, "-out", self.ca)

    @property
    def ca(self) -> Path:
        return self.folder / f"{self.name}.pem"

    @property
    def key(self) -> Path:
        return self.folder / f"{self.name}.key"

    def sign(self, name: str) -> tuple[Path, Path]:
        """Certificate and key, for 127.0.0.1."""
        cert, key, extension = (self.folder / f"{name}.{suffix}" for suffix in ("pem", "key", "ext"))
        request = self.folder / f"{name}.csr"
        extension.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        new = ("req", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
        openssl(*new, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        authority = ("-CA", self.ca, "-CAkey", self.key, "-CAcreateserial", "-days", 2)
        openssl("x509", "-req", "-in", request, *authority, "-extfile", extension, "-out", cert)
        return cert, key


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "trusted")


@pytest.fixture(scope="module")
def server_files(authority: Authority) -> tuple[bytes, bytes]:
    cert, key = authority.sign("server")
    return key.read_bytes(), cert.read_bytes()


@pytest.fixture(scope="module")
def client_files(authority: Authority) -> tuple[Path, Path]:
    return authority.sign("client")


def test_an_encrypted_call_with_a_token(serve: Serve, authority: Authority, server_files: Any) -> None:
    settings = ConnectionSettings(ca=authority.ca, token="s3cret")  # noqa: S106
    with serve(grpc.ssl_server_credentials([server_files])) as stub:
        with StyleClient(stub.address, settings=settings) as client:
            assert client.status()[0].available
        assert stub.headers[0]["authorization"] == "Bearer s3cret"


def test_a_server_that_asks_who_is_there(
    serve: Serve, authority: Authority, server_files: Any, client_files: tuple[Path, Path]
) -> None:
    asking = grpc.ssl_server_credentials([server_files], authority.ca.read_bytes(), require_client_auth=True)
    known = ConnectionSettings(ca=authority.ca, cert=client_files[0], key=client_files[1])
    unknown = ConnectionSettings(ca=authority.ca, retry=ONCE)
    with serve(asking) as stub:
        with StyleClient(stub.address, settings=known) as client:
            assert client.status()[0].available
        refused = pytest.raises(
            ServerUnavailable, match=r"asks for a certificate of the client(.|\n)*--cert FILE --key FILE"
        )
        with StyleClient(stub.address, settings=unknown) as client, refused:
            client.status()


def test_a_certificate_that_is_not_accepted(
    serve: Serve, authority: Authority, server_files: Any, tmp_path: Path
) -> None:
    cert, key = Authority(tmp_path, "stranger").sign("client")
    settings = ConnectionSettings(ca=authority.ca, cert=cert, key=key, retry=ONCE)
    refused = pytest.raises(ServerUnavailable, match=r"does not accept the certificate .*client\.pem")
    asking = grpc.ssl_server_credentials([server_files], authority.ca.read_bytes(), require_client_auth=True)
    with serve(asking) as stub, StyleClient(stub.address, settings=settings) as client, refused:
        client.status()


def test_an_authority_that_is_not_trusted(serve: Serve, tmp_path: Path, server_files: Any) -> None:
    stranger = Authority(tmp_path, "stranger")
    with serve(grpc.ssl_server_credentials([server_files])) as stub:
        for settings in (ConnectionSettings(ca=stranger.ca, retry=ONCE), ConnectionSettings(tls=True, retry=ONCE)):
            refused = pytest.raises(ServerUnavailable, match=r"no encrypted connection(.|\n)*--ca FILE")
            with StyleClient(stub.address, settings=settings) as client, refused:
                client.status()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_encrypts_too(serve: Serve, authority: Authority, server_files: Any) -> None:
    text = """
import os, pathlib, sys
from styleserve.client import ConnectionSettings, StyleClient
with StyleClient(sys.argv[1], settings=ConnectionSettings(ca=pathlib.Path(sys.argv[2]), token="s3cret")) as client:
    print(client.status()[0].version, flush=True)
    if pid := os.fork():
        os.waitpid(pid, 0)
    print(client.status()[0].version, flush=True)
"""
    with serve(grpc.ssl_server_credentials([server_files])) as stub:
        command = [sys.executable, "-c", text, stub.address, str(authority.ca)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.split() == ["42"] * 3
        assert [headers["authorization"] for headers in stub.headers] == ["Bearer s3cret"] * 3


def test_a_client_with_tls_and_a_server_without(stub: Any, authority: Authority) -> None:
    encrypting = ConnectionSettings(ca=authority.ca, retry=ONCE)
    refused = pytest.raises(
        ServerUnavailable, match=r"no encrypted connection(.|\n)*The server does not speak TLS: leave"
    )
    # "localhost" is two addresses, of which the server has one: gRPC may report the other.
    for server in (stub.address, *[stub.address.replace("127.0.0.1", "localhost")] * 3):
        with StyleClient(server, settings=encrypting) as client, refused:
            client.status()


@pytest.mark.parametrize("asking", [False, True])
def test_a_client_without_tls_and_a_server_with(
    serve: Serve, authority: Authority, server_files: Any, *, asking: bool
) -> None:
    credentials = grpc.ssl_server_credentials([server_files], authority.ca.read_bytes(), require_client_auth=asking)
    with serve(credentials) as stub:
        by_name = stub.address.replace("127.0.0.1", "localhost")
        for server in (stub.address, f"dns:///{stub.address}", by_name, by_name, by_name):
            with (
                StyleClient(server, settings=ConnectionSettings(retry=ONCE)) as client,
                pytest.raises(ServerUnavailable, match="speaks TLS, and this client does not") as caught,
            ):
                client.status(request_id="mine")
            assert "--tls or --ca FILE" in caught.value.hint
            assert ("--cert FILE --key FILE" in caught.value.hint) == asking
            assert (caught.value.status, caught.value.tries) == ("UNAVAILABLE", 1)
            assert str(caught.value).endswith("Request mine.")


def test_an_event_loop_learns_it_too(serve: Serve, server_files: Any) -> None:
    async def use(server: str) -> None:
        async with AsyncStyleClient(server, settings=ConnectionSettings(retry=ONCE)) as client:
            with pytest.raises(ServerUnavailable, match="speaks TLS, and this client does not"):
                await client.status()

    with serve(grpc.ssl_server_credentials([server_files])) as stub:
        asyncio.run(use(stub.address))


def test_a_port_that_closes_each_connection_is_no_server_with_tls() -> None:
    """As a published port of a container in which no server runs."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def close() -> None:
            with contextlib.suppress(OSError):
                while True:
                    listener.accept()[0].close()

        thread = threading.Thread(target=close, daemon=True)
        thread.start()
        server = f"127.0.0.1:{listener.getsockname()[1]}"
        for settings in (ConnectionSettings(retry=ONCE), ConnectionSettings(tls=True, retry=ONCE)):
            with StyleClient(server, settings=settings) as client, pytest.raises(ServerUnavailable) as caught:
                client.status(timeout_s=5)
            assert "certificate of the client" not in str(caught.value)
            assert "speaks TLS" not in str(caught.value)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.mark.parametrize("length", [20_000, 200_000])
def test_a_token_that_is_too_long(serve: Serve, authority: Authority, server_files: Any, length: int) -> None:
    token = "t" * length
    with serve(grpc.ssl_server_credentials([server_files])) as stub:
        for values in ({"token": token}, {"metadata": (("x-api-key", token),)}):
            settings = ConnectionSettings(ca=authority.ca, **values)
            with (
                StyleClient(stub.address, settings=settings) as client,
                pytest.raises(TooLarge, match="the token, or other metadata, is too large") as caught,
            ):
                client.status()
            assert caught.value.hint.startswith("Use a shorter token or less metadata: 8 kB in all are safe.")
            assert caught.value.tries == 1
            assert "ttt" not in str(caught.value)


def test_files_that_cannot_be_used(tmp_path: Path, authority: Authority, client_files: tuple[Path, Path]) -> None:
    cert, key = client_files
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no certificate")
    for values, message in (
        ({"ca": tmp_path / "none.pem"}, r"none\.pem cannot be read: No such file"),
        ({"ca": wrong}, r"wrong\.pem holds no certificate in PEM form"),
        ({"ca": authority.ca, "cert": key, "key": key}, "holds no certificate"),
        ({"ca": authority.ca, "cert": cert, "key": cert}, "holds no private key"),
    ):
        with pytest.raises(SettingsError, match=message):
            StyleClient(settings=ConnectionSettings(**values))
