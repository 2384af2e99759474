"""Addresses of servers: ports, spellings of this machine, proxies."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest

from styleserve.client import (
    ConnectionSettings,
    DeadlineExceeded,
    RetryPolicy,
    ServerUnavailable,
    SettingsError,
    StyleClient,
)
from styleserve.client.transport.address import complete_address, is_loopback, is_this_machine
from styleserve.client.transport.proxies import proxy_of

ONCE = RetryPolicy(tries=1)


@pytest.mark.parametrize(
    ("server", "complete"),
    [
        ("127.0.0.1", "127.0.0.1:8500"),
        ("127.0.0.1:9000", "127.0.0.1:9000"),
        ("localhost", "localhost:8500"),
        ("styles.example.org", "styles.example.org:8500"),
        ("styles.example.org.", "styles.example.org.:8500"),
        ("LocalHost.:9000", "LocalHost:9000"),
        ("my_server-1:1", "my_server-1:1"),
        ("::1", "[::1]:8500"),
        ("2001:db8::25", "[2001:db8::25]:8500"),
        ("[::1]", "[::1]:8500"),
        ("[::1]:65535", "[::1]:65535"),
        ("[fe80::1%eth0]:8501", "[fe80::1%eth0]:8501"),
        ("dns:///styles", "dns:///styles:8500"),
        ("dns:styles", "dns:styles:8500"),
        ("dns:///[::1]", "dns:///[::1]:8500"),
        ("dns://10.0.0.53:53/styles", "dns://10.0.0.53:53/styles:8500"),
        ("ipv4:10.0.0.1,10.0.0.2:9000", "ipv4:10.0.0.1:8500,10.0.0.2:9000"),
        ("ipv6:[::1],[::2]:9000", "ipv6:[::1]:8500,[::2]:9000"),
        ("unix:/run/styleserve.sock", "unix:/run/styleserve.sock"),
        ("unix:///run/styleserve.sock", "unix:///run/styleserve.sock"),
        ("unix-abstract:styleserve", "unix-abstract:styleserve"),
        ("vsock:2:8500", "vsock:2:8500"),
        ("xds:///styles", "xds:///styles"),
    ],
)
def test_addresses_are_completed(server: str, complete: str) -> None:
    assert complete_address(server) == complete
    assert complete_address(complete) == complete
    with StyleClient(server) as client:
        assert client.server == complete


@pytest.mark.parametrize(
    ("server", "message"),
    [
        ("127.0.0.1:84036", r"the port of '127\.0\.0\.1:84036' is '84036'; it must be a number from 1 to 65535"),
        ("127.0.0.1:0", "the port .* is '0'"),
        ("127.0.0.1:-1", "the port .* is '-1'"),
        ("127.0.0.1:", "the port .* is ''"),
        ("127.0.0.1:http", "the port .* is 'http'"),
        ("127.0.0.1:8500/", "the port .* is '8500/'"),
        ("127.0.0.1:\uff18\uff15", "the port"),  # digits, but not of ASCII
        ("127.0.0.1:+8500", "the port"),
        ("[::1]:99999", "the port .* is '99999'"),
        ("dns:///styles:65536", "the port .* is '65536'"),
        ("ipv4:10.0.0.1:8500,10.0.0.2:0", "the port .* is '0'"),
        ("", "'' is not an address of a server\nGive HOST or HOST:PORT, as in 127"),
        (":8500", "is not an address"),
        ("a b:8500", "is not an address"),
        ("styles\n:8500", "is not an address"),
        ("a/b", "is not an address"),
        ("me@styles:8500", "is not an address"),
        ("[::1", "is not an address"),
        ("[styles]:8500", "is not an address"),
        ("::g", "is not an address"),
        ("a:1:2", "is not an address"),
        ("127.0.0.1:8500,127.0.0.2:8500,", "is not an address"),
        ("::1:8500", r"may be an IPv6 address, or one with a port\nWrite \[::1\]:8500 for the port"),
    ],
)
def test_addresses_that_cannot_be_used(server: str, message: str) -> None:
    for use in (lambda: ConnectionSettings(server=server), lambda: StyleClient(server)):
        with pytest.raises(SettingsError, match=message):
            use()


@pytest.mark.parametrize("server", ["HTTP://styles:8501", "https://styles", "grpc://styles:8500", "grpcs://styles"])
def test_web_addresses(server: str) -> None:
    with pytest.raises(ServerUnavailable, match=f"Leave the {server.partition('//')[0]}// out"):
        ConnectionSettings(server=server)


LOCAL = ["localhost", "LOCALHOST", "localhost.", "127.0.0.1", "127.9.8.7", "0.0.0.0", "[::ffff:127.0.0.1]"]  # noqa: S104


@pytest.mark.parametrize("host", LOCAL)
def test_no_proxy_is_asked_for_this_machine(stub: Any, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    port = stub.address.rpartition(":")[2]
    if host == "127.9.8.7":  # the server listens on 127.0.0.1 alone
        assert is_loopback(f"{host}:{port}")
        return
    for server in (f"{host}:{port}", f"dns:///{host}:{port}"):
        assert is_loopback(server)
        with StyleClient(server) as client:
            assert client.status()[0].available


def test_the_machines_own_names_and_addresses() -> None:
    own = socket.gethostname()
    try:
        addresses = {str(each[4][0]) for each in socket.getaddrinfo(own, None, socket.AF_INET)}
    except socket.gaierror:
        pytest.skip("this machine does not know its own name")
    for host in (own, own.upper(), f"{own}.", *addresses):
        assert is_this_machine(f"{host}:8500")
    for host in ("[::]", "[::1]", "127.1"):
        assert is_this_machine(f"{host}:8500")


@pytest.mark.parametrize(
    "server",
    [
        "192.0.2.1:8500",
        "[2001:db8::1]:8500",
        "styles.invalid:8500",
        "dns://192.0.2.1/localhost:8500",
        "xds:///localhost",
    ],
)
def test_other_machines(server: str) -> None:
    assert not is_this_machine(server)
    assert not is_loopback(server)


@contextmanager
def proxy() -> Generator[tuple[str, list[bytes]]]:
    """An HTTP proxy that refuses: its URL, and the first lines that it was sent."""
    seen = list[bytes]()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        seen.append(connection.recv(4000).partition(b"\r\n")[0])
                        connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        yield f"http://me:s3cret@127.0.0.1:{listener.getsockname()[1]}", seen
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("server", "environment"),
    [
        ("styles.invalid:8500", {"http_proxy": "P"}),
        ("styles.invalid:8500", {"https_proxy": "P"}),
        ("styles.invalid:8500", {"grpc_proxy": "P", "http_proxy": "http://127.0.0.1:1"}),
        ("styles.invalid:8500", {"grpc_proxy": "", "http_proxy": "P"}),
        ("styles.invalid:8500", {"HTTP_PROXY": "P", "HTTPS_PROXY": "P"}),
        ("styles.invalid:8500", {"http_proxy": "P", "no_proxy": "styles.invalid"}),
        ("styles.invalid:8500", {"http_proxy": "P", "no_proxy": "other.org, .invalid"}),
        ("styles.invalid:8500", {"http_proxy": "P", "no_proxy": "STYLES.invalid"}),
        ("styles.invalid:8500", {"http_proxy": "P", "no_proxy": "styles"}),
        ("styles.invalid:8500", {"http_proxy": "P", "no_proxy": "*"}),
        ("styles.invalid:8500", {"http_proxy": "P", "no_grpc_proxy": "", "no_proxy": ".invalid"}),
        ("styles.invalid:8500", {"http_proxy": "P", "no_grpc_proxy": ".invalid", "no_proxy": "a"}),
        ("styles.invalid:8500", {"http_proxy": "127.0.0.1:1"}),
        ("styles.invalid:8500", {"http_proxy": "https://127.0.0.1:1"}),
        ("dns:///styles.invalid:8500", {"http_proxy": "P"}),
        ("192.0.2.7:8500", {"http_proxy": "P", "no_proxy": "192.0.2.0/24"}),
        ("192.0.2.7:8500", {"http_proxy": "P", "no_proxy": "192.0.3.0/24"}),
    ],
)
def test_proxies_are_those_that_grpc_uses(
    server: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error names the proxy exactly where the call went to it."""
    for variable in ("grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
    with proxy() as (url, seen):
        for variable, value in environment.items():
            monkeypatch.setenv(variable, value.replace("P", url) if value == "P" else value)
        refused = pytest.raises((ServerUnavailable, DeadlineExceeded))
        with StyleClient(server, settings=ConnectionSettings(retry=ONCE)) as client, refused as caught:
            client.status(timeout_s=2)
        used = bool(seen)
        assert (proxy_of(server) is not None) == used
        text = str(caught.value)
        assert ("proxy http://127.0.0.1:" in text) == used
        assert "s3cret" not in text
        if used:
            variable = next(name for name in ("grpc_proxy", "https_proxy", "http_proxy") if name in environment)
            host = server.removeprefix("dns:///").removesuffix(":8500")
            assert f"(variable {variable}); to bypass it, add {host} to the variable no_proxy" in text
            assert seen[0] == f"CONNECT {host}:8500 HTTP/1.1".encode()
