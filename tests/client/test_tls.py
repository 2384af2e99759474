"""TLS, with certificates made here by openssl."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from styleserve.client import ConnectionSettings, RetryPolicy, ServerUnavailable, SettingsError, StyleClient

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
        with StyleClient(stub.address, settings=unknown) as client, pytest.raises(ServerUnavailable):
            client.status()


def test_an_authority_that_is_not_trusted(serve: Serve, tmp_path: Path, server_files: Any) -> None:
    stranger = Authority(tmp_path, "stranger")
    with serve(grpc.ssl_server_credentials([server_files])) as stub:
        for settings in (ConnectionSettings(ca=stranger.ca, retry=ONCE), ConnectionSettings(tls=True, retry=ONCE)):
            refused = pytest.raises(ServerUnavailable, match=r"no encrypted connection(.|\n)*--ca FILE")
            with StyleClient(stub.address, settings=settings) as client, refused:
                client.status()


def test_one_side_encrypts_and_the_other_does_not(
    stub: Any, serve: Serve, authority: Authority, server_files: Any
) -> None:
    encrypting, plain = ConnectionSettings(ca=authority.ca, retry=ONCE), ConnectionSettings(retry=ONCE)
    refused = pytest.raises(ServerUnavailable, match="no encrypted connection")
    with StyleClient(stub.address, settings=encrypting) as client, refused:
        client.status()
    with (
        serve(grpc.ssl_server_credentials([server_files])) as encrypted,
        StyleClient(encrypted.address, settings=plain) as client,
        pytest.raises(ServerUnavailable),
    ):
        client.status()


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
