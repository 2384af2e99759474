"""Configuration files in protobuf's text format."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from styleserve.serving.config_files import MonitoringConfig, SSLConfig, read_config
from styleserve.serving.errors import StartError


def test_reads_what_tensorflow_serving_reads(tmp_path: Path) -> None:
    path = tmp_path / "ssl.config"
    path.write_text('server_key: "a\\nb" client_verify: true')
    ssl = read_config(path, SSLConfig)
    assert (ssl.server_key, ssl.client_verify, ssl.custom_ca) == ("a\nb", True, "")

    path.write_text('prometheus_config { enable: true path: "/metrics" }')
    assert read_config(path, MonitoringConfig).prometheus_config.path == "/metrics"


@pytest.mark.parametrize("text", ["prometheus_config: 8", "nosuch: 1", "prometheus_config {", "\udcff"])
def test_refuses_anything_else(tmp_path: Path, text: str) -> None:
    path = tmp_path / "monitoring.config"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(StartError, match=r"monitoring\.config is no MonitoringConfig in protobuf's text format"):
        read_config(path, MonitoringConfig)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('client_verify: true\nserver_key: "-----BEGIN SECRET', "line 2, column 13"),
        ("server_key: -----BEGIN SECRET", "line 1, column 13"),
        ("server_cert: 'x'\n\nSECRET", "line 3, column 1"),
        ('server_key: "SECRET\\xZZ"', "line 1, column 13"),
        ('server_key: "SECRET \udcff"', "byte 21 is no UTF-8"),
    ],
)
def test_of_keys_it_tells_where_it_stopped_and_not_what_it_read(tmp_path: Path, text: str, where: str) -> None:
    path = tmp_path / "ssl.config"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(StartError, match=where) as caught:
        read_config(path, SSLConfig)
    assert "server_key, server_cert, custom_ca, client_verify" in str(caught.value)
    assert "SECRET" not in "".join(traceback.format_exception(caught.value))


def test_refuses_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"cannot read .*: No such file"):
        read_config(tmp_path / "nosuch", SSLConfig)
