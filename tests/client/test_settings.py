"""How to reach a server: what is refused, and what stays secret."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from styleserve.client import ConnectionSettings, ServerUnavailable, SettingsError, StyleClient
from styleserve.client.transport.channel_arguments import channel_arguments
from styleserve.client.transport.settings import ENVIRONMENT

SECRET = "s3cret-t0ken"  # noqa: S105


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"server": "styles.example.org:8500", "token": SECRET}, "unencrypted"),
        ({"server": "127.0.0.1.example.org:8500", "token": SECRET}, "unencrypted"),
        ({"server": "localhost.example.org:8500", "token": SECRET}, "unencrypted"),
        ({"server": "dns:///10.0.0.1:8500", "token": SECRET}, "unencrypted"),
        ({"server": "ipv4:127.0.0.1:8500,10.0.0.5:8500", "token": SECRET}, "unencrypted"),
        ({"server": "ipv4:10.0.0.5:8500,127.0.0.1:8500", "token": SECRET}, "unencrypted"),
        ({"server": "ipv4:127.0.0.1:8500%2C10.0.0.5:8500", "token": SECRET}, "is not an address"),
        ({"server": "ip6-localhost:8500", "token": SECRET}, "unencrypted"),  # a name like any other for DNS
        ({"server": "ipv6:[::1]:8500,[fe80::5]:8500", "token": SECRET}, "unencrypted"),
        ({"server": "dns://127.0.0.1:53/styles.example.org:8500", "token": SECRET}, "unencrypted"),
        ({"token": f"{SECRET}\n"}, "the token has characters"),
        ({"token": ""}, "the token has characters"),
        ({"cert": Path("c.pem")}, "a cert file is given without a key file"),
        ({"key": Path("k.pem")}, "a key file is given without a cert file"),
        ({"tls": False, "ca": Path("ca.pem")}, "switched off"),
        ({"compression": "zstd"}, "the compression is 'zstd'; it must be one of: none, gzip"),
        ({"keepalive_s": 20.0}, "keepalive_s is 20.0; a server closes connections"),
        ({"keepalive_s": float("nan")}, "keepalive_s is nan"),
        ({"metadata": (("Upper", "x"),)}, "'Upper' cannot be a key"),
        ({"metadata": (("authorization", SECRET),)}, "'authorization' cannot be a key"),
        ({"metadata": (("grpc-timeout", "1S"),)}, "'grpc-timeout' cannot be a key"),
        ({"metadata": (("x-api-key", f"{SECRET}\r\n"),)}, "'x-api-key' has characters"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_used(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        ConnectionSettings(**values)
    assert isinstance(caught.value, ValueError)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {"server": "127.0.0.1:8500"},
        {"server": "[::1]:8500"},
        {"server": "localhost"},
        {"server": "LocalHost.:8500"},
        {"server": "::1"},
        {"server": "0.0.0.0"},  # noqa: S104
        {"server": "[::ffff:127.0.0.1]:8500"},
        {"server": "dns:///localhost:8500"},
        {"server": "ipv4:127.0.0.1:8500,127.0.0.2:8500"},
        {"server": "ipv6:[::1]:8500,[::1]:8501"},
        {"server": "unix:/run/styleserve.sock"},
        {"server": "styles.example.org:443", "tls": True},
        {"server": "styles.example.org:443", "ca": Path("ca.pem")},
    ],
    ids=str,
)
def test_a_token_is_sent_on_safe_connections(values: dict[str, Any]) -> None:
    settings = ConnectionSettings(token=SECRET, **values)
    assert settings.call_metadata() == (("authorization", f"Bearer {SECRET}"),)


def test_another_server_is_checked_anew() -> None:
    with pytest.raises(SettingsError, match="unencrypted"):
        StyleClient("styles.example.org:8500", settings=ConnectionSettings(token=SECRET))


def test_no_secret_is_shown() -> None:
    settings = ConnectionSettings(token=SECRET, metadata=(("x-api-key", SECRET),))
    assert SECRET not in repr(settings) + str(settings) + repr(replace(settings, compression="gzip"))


def test_the_environment() -> None:
    given = {
        "STYLESERVE_SERVER": "styles.example.org:443",
        "STYLESERVE_MODEL_NAME": "painter",
        "STYLESERVE_TOKEN": SECRET,
        "STYLESERVE_CA": "/etc/ca.pem",
        "STYLESERVE_TLS": "yes",
        "STYLESERVE_COMPRESSION": "gzip",
        "STYLESERVE_CERT": "",
    }
    assert ConnectionSettings.from_environment(given) == ConnectionSettings(
        server="styles.example.org:443",
        model_name="painter",
        token=SECRET,
        ca=Path("/etc/ca.pem"),
        tls=True,
        compression="gzip",
    )
    assert ConnectionSettings.from_environment({}) == ConnectionSettings()
    assert set(given) <= set(ENVIRONMENT.values())
    with pytest.raises(SettingsError, match="STYLESERVE_TLS is 'perhaps'"):
        ConnectionSettings.from_environment({"STYLESERVE_TLS": "perhaps"})
    with pytest.raises(ServerUnavailable, match="web address"):
        ConnectionSettings.from_environment({"STYLESERVE_SERVER": "https://styles.example.org"})


def options(settings: ConnectionSettings) -> dict[str, Any]:
    return dict(channel_arguments(settings).options)


def test_a_name_of_several_servers_is_used_in_turn(stub: Any) -> None:
    assert "round_robin" in options(ConnectionSettings(server="dns:///styles:8500"))["grpc.service_config"]
    assert "grpc.service_config" not in options(ConnectionSettings(server="styles:8500"))
    with StyleClient(f"dns:///{stub.address}") as client:
        assert client.status()[0].available


def test_a_server_in_its_own_configuration_bears_the_keepalive() -> None:
    found = options(ConnectionSettings())
    assert found["grpc.keepalive_time_ms"] >= 300_000
    assert "grpc.keepalive_permit_without_calls" not in found
    assert "grpc.keepalive_time_ms" not in options(ConnectionSettings(keepalive_s=None))


def test_grpc_does_not_retry_as_well() -> None:
    assert options(ConnectionSettings())["grpc.enable_retries"] == 0


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_requests_are_compressed_where_that_is_asked_for(stub: Any, content: Path, compression: Any) -> None:
    settings = ConnectionSettings(compression=compression)
    wanted = {"none": grpc.Compression.NoCompression, "gzip": grpc.Compression.Gzip}[compression]
    assert channel_arguments(settings).compression == wanted
    with StyleClient(stub.address, settings=settings) as client:
        assert client.stylize(content, content).steps == 100


def test_more_metadata_goes_with_each_call(stub: Any) -> None:
    settings = ConnectionSettings(metadata=(("x-tenant", "blue"),), token=SECRET)
    with StyleClient(stub.address, settings=settings) as client:
        client.status()
        client.metadata()
    for headers in stub.headers:
        assert headers["x-tenant"] == "blue"
        assert headers["authorization"] == f"Bearer {SECRET}"
        assert len(headers["x-request-id"]) == 32
