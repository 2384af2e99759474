"""The proxy of the documents, running in front of the fake server."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from styleserve.client import ConnectionSettings, Controls, RequestRefused, RetryPolicy, StyleClient

from ..ports import free_port
from .blocks import blocks

TOKEN = "change-this-token"  # noqa: S105 - that of the document
PLACES = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@pytest.fixture
def proxy(tmp_path: Path, stub: Any) -> Iterator[str]:
    """nginx with the configuration of the document, but for names and ports."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    openssl = shutil.which("openssl")
    if nginx is None or openssl is None:
        pytest.skip("there is no nginx, or no openssl, here")
    key, certificate = tmp_path / "server.key", tmp_path / "server.pem"
    make = f"req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout {key}"
    subprocess.run([openssl, *make.split(), "-out", str(certificate)], check=True, capture_output=True)
    port = free_port()
    (block,) = blocks("nginx")
    server = block.text.replace("/etc/nginx/tls", str(tmp_path)).replace("127.0.0.1:8500", stub.address)
    server = server.replace("listen 8443", f"listen 127.0.0.1:{port}").replace("styleserve.example.org", "localhost")
    temporary = "".join(f"{name}_temp_path {tmp_path / name}; " for name in PLACES)
    user = "user root; " if os.getuid() == 0 else ""
    path = tmp_path / "nginx.conf"
    path.write_text(
        f"{user}daemon off; pid {tmp_path}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; {temporary}\n{server}}}\n"
    )
    process = subprocess.Popen([nginx, "-c", str(path), "-p", str(tmp_path)], stderr=subprocess.PIPE, text=True)
    yield f"localhost:{port}"
    process.terminate()
    _, log = process.communicate(timeout=10)
    assert "[emerg]" not in log


def settings(proxy: str, tmp_path: Path, token: str) -> ConnectionSettings:
    return ConnectionSettings(server=proxy, ca=tmp_path / "server.pem", token=token, retry=RetryPolicy(tries=10))


def test_the_proxy_lets_in_who_has_the_token(proxy: str, stub: Any, tmp_path: Path, content: Path, style: Path) -> None:
    large = content.with_name("large.bmp")
    with Image.open(content) as image:
        image.resize((1500, 1000)).save(large)  # 4.5 MB: nginx would refuse it as it comes
    with StyleClient(settings=settings(proxy, tmp_path, TOKEN)) as client:
        assert client.stylize(large, style, controls=Controls(steps=3)).steps == 3
    assert stub.headers[0]["authorization"] == f"Bearer {TOKEN}"


def test_the_proxy_keeps_out_who_has_not(proxy: str, stub: Any, tmp_path: Path) -> None:
    with (
        StyleClient(settings=settings(proxy, tmp_path, "another")) as client,
        pytest.raises(RequestRefused, match="does not let this client in"),
    ):
        client.status()
    assert stub.requests == []
