"""The certificate, the SSLConfig and the token of the documents, made by their own commands and used."""

from __future__ import annotations

import json
import re
import shutil
import ssl
import subprocess
from pathlib import Path

import kubernetes_validate  # pyright: ignore[reportMissingTypeStubs] - it has none
import pytest

from .blocks import ROOT, Call, blocks, calls


def made_by_the_page(folder: Path) -> None:
    """Runs the page's commands from its beginning to the server's own, in their order."""
    if shutil.which("openssl") is None or shutil.which("bash") is None:
        pytest.skip("there is no openssl, or no bash, here")
    text = "".join(each.text for each in blocks("sh") if each.page == ROOT / "docs" / "deploy" / "security.md")
    commands, serve, after = text.partition("styleserve serve")
    assert serve
    own = re.findall(r"^export STYLESERVE_TOKEN=.*$", after, re.MULTILINE)[0]
    script = f'set -eu\n{commands}\n{own}\nprintf %s "$STYLESERVE_TOKEN" > sent\n'
    command = [shutil.which("bash") or "", "-c", script]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr


def test_the_page_is_in_an_order_in_which_it_runs(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow_serving", reason="the server's messages are those of tensorflow-serving-api")
    from styleserve.serving.config_files import SSLConfig, read_config  # noqa: PLC0415
    from styleserve.serving.rpc.security import Tokens  # noqa: PLC0415

    made_by_the_page(tmp_path)
    config = read_config(tmp_path / "ssl.config", SSLConfig)
    assert config.server_key == (tmp_path / "server.key").read_text()
    assert config.server_cert == (tmp_path / "server.pem").read_text()
    sent = (tmp_path / "sent").read_text()
    assert Tokens.from_file(tmp_path / "tokens").refusal([f"Bearer {sent}"]) is None
    for name in ("ssl.config", "tokens"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["localhost", "styleserve.example.org", "127.0.0.1"])
def test_the_certificate_is_for_the_names_that_are_called(name: str, tmp_path: Path) -> None:
    made_by_the_page(tmp_path)
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    client_side = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    client_side.verify_flags |= ssl.VERIFY_X509_STRICT  # as Python 3.13 has it by itself
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(back, there, server_hostname=name)
    server = server_side.wrap_bio(there, back, server_side=True)
    waiting = [client, server]
    for _ in range(10):
        for side in list(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)
    assert waiting == []
    assert client.version() is not None


def test_the_pod_that_fills_the_volume_is_one() -> None:
    (call,) = [each for each in calls("kubectl") if "run" in each.words]
    (overrides,) = [word.partition("=")[2] for word in call.words if word.startswith("--overrides=")]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "fill"}, **json.loads(overrides)}
    kubernetes_validate.validate(pod, "1.37", strict=True)
    (container,) = pod["spec"]["containers"]
    assert f"--image={container['image']}" in call.words
    assert container["name"] == pod["metadata"]["name"] == call.words[call.words.index("run") + 1]
    mounted = {each["mountPath"] for each in container["volumeMounts"]}
    moved: list[Call] = [each for each in calls("kubectl") if "mv" in each.words]
    assert {str(Path(word).parent) for each in moved for word in each.words[-2:]} == mounted
