"""Guard of a studio: tokens, sessions, names of the host, origins, bounds of bodies, headers."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import httpx
import pytest

from styleserve.studio.web.security import CONTENT_SECURITY_POLICY

from .conftest import CONTENT, STYLE, StudioProcess

PAGES = [
    "/",
    "/new",
    "/history",
    "/events",
    "/runs/x",
    "/runs/x/result.png",
    "/sheets/x",
    f"/pictures/{'0' * 64}/shown.jpg",
]


@pytest.fixture(scope="module")
def signed_in(shared_studio: StudioProcess) -> Generator[httpx.Client]:
    """HTTP client with a session, whose requests come from the studio's own page."""
    with httpx.Client(base_url=shared_studio.url, headers={"origin": shared_studio.url}) as client:
        link = client.get(shared_studio.link.removeprefix(shared_studio.url))
        assert link.status_code == 303
        yield client


def test_a_link_works_once_and_its_cookie_is_protected(signed_in: httpx.Client, shared_studio: StudioProcess) -> None:
    path = signed_in.post("/links").json()["path"]
    first = httpx.get(shared_studio.url + path)
    assert (first.status_code, first.headers["location"]) == (303, "/")
    cookie = first.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert httpx.get(shared_studio.url + path).status_code == 401
    assert httpx.get(shared_studio.url + "/", cookies=first.cookies).status_code == 200


@pytest.mark.parametrize("path", PAGES)
def test_nothing_is_shown_without_a_session(shared_studio: StudioProcess, path: str) -> None:
    for cookies in ({}, {f"styleserve_studio_{shared_studio.port}": "guess"}):
        response = httpx.get(shared_studio.url + path, cookies=cookies)
        assert response.status_code == 401
        assert "session" in response.json()["message"]
    page = httpx.get(shared_studio.url + path, headers={"accept": "text/html"})
    assert page.status_code == 401
    assert "This studio is locked" in page.text


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example:{port}", "", "[::1"])
def test_other_names_of_the_host_are_refused(signed_in: httpx.Client, shared_studio: StudioProcess, host: str) -> None:
    response = signed_in.get("/", headers={"host": host.format(port=shared_studio.port)})
    assert response.status_code in (400, 421)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", None])
def test_changes_from_other_pages_are_refused(signed_in: httpx.Client, origin: str | None) -> None:
    request = signed_in.build_request("POST", "/samples/0")
    del request.headers["origin"]
    if origin is not None:
        request.headers["origin"] = origin
    assert signed_in.send(request).status_code == 403


def test_every_answer_has_the_headers(signed_in: httpx.Client) -> None:
    answers = [signed_in.get(path) for path in ("/", "/new", "/static/studio.js", "/nosuch", "/history", "/enter")]
    answers.append(signed_in.post("/runs", json={}))
    for answer in answers:
        assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "server" not in answer.headers


def test_pages_have_no_inline_script_or_style(signed_in: httpx.Client) -> None:
    pages = signed_in.get("/new").text + httpx.get(signed_in.base_url, headers={"accept": "text/html"}).text
    assert re.findall(r"<script(?![^>]*\bsrc=)", pages) == []
    assert re.findall(r"<style|\sstyle=|\son[a-z]+=|javascript:", pages) == []
    assert set(re.findall(r'(?:src|href)="(https?:[^"]*)"', pages)) == set()


def test_a_large_upload_is_refused_before_it_is_read(signed_in: httpx.Client, shared_studio: StudioProcess) -> None:
    cookie = "; ".join(f"{name}={value}" for name, value in signed_in.cookies.items())
    head = (
        f"POST /pictures?name=large.tif HTTP/1.1\r\nHost: 127.0.0.1:{shared_studio.port}\r\nCookie: {cookie}\r\n"
        f"Origin: {shared_studio.url}\r\nContent-Length: 100000000000\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", shared_studio.port), timeout=10) as connection:
        connection.sendall(head.encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    assert answer.startswith("HTTP/1.1 413 ")
    assert "large.tif has more than the 64 MB allowed" in answer


def test_a_large_upload_of_unknown_length_is_refused(signed_in: httpx.Client, shared_studio: StudioProcess) -> None:
    with contextlib.suppress(httpx.TransportError):  # the studio does not read all of it
        assert signed_in.post("/pictures?name=x", content=(bytes(2**20) for _ in range(80))).status_code == 413
    assert not [name for name in (shared_studio.folder / "pictures").iterdir() if name.stat().st_size > 2**20]
    assert signed_in.get("/new").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b"[" * 60_000,
        b'{"content": 1}',
        b'{"content": "x", "styles": "y"}',
        b'{"content": "x", "styles": [1]}',
        b'{"content": "../../etc/passwd", "styles": ["x"]}',
        b'{"content": "x", "styles": ["y"], "values": {"steps": 3}}',
        b" " * 100_000,
    ],
)
def test_wrong_requests_are_refused(signed_in: httpx.Client, body: bytes) -> None:
    for path in ("/runs", "/sheets"):
        answer = signed_in.post(path, content=body)
        assert answer.status_code == 422
        assert answer.json()["message"]


def test_values_of_the_form_are_checked_at_once(signed_in: httpx.Client) -> None:
    content, style = (
        signed_in.post("/pictures?name=a.jpg", content=path.read_bytes()).json() for path in (CONTENT, STYLE)
    )
    pair = {"content": content["sha256"], "styles": [style["sha256"]]}
    for values, field in (
        ({"steps": "many"}, "steps"),
        ({"nosuch": "1"}, "nosuch"),
        ({"style_blend": "0"}, "style_blend"),
        ({"style_scale": "1,1,1"}, ""),
        ({"learning_rate": "0.1"}, ""),
    ):
        answer = signed_in.post("/runs", json={**pair, "values": values})
        assert (answer.status_code, answer.json()["field"]) == (422, field)
    answer = signed_in.post("/runs", json={**pair, "preset": "nosuch"})
    assert (answer.status_code, answer.json()["field"]) == (422, "preset")


@pytest.mark.parametrize(
    "path",
    [
        "/static/../command.py",
        "/static/..%2fcommand.py",
        "/static/%2e%2e/command.py",
        "/pictures/..%2f..%2fstudio.sqlite/shown.jpg",
    ],
)
def test_files_outside_are_not_reached(signed_in: httpx.Client, path: str) -> None:
    assert signed_in.get(path).status_code == 404


EVERYWHERE = "0.0.0.0"  # noqa: S104 - the option under test


def run_command(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "styleserve", "studio", "--no-open", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_other_hosts_need_tokens(tmp_path: Path) -> None:
    done = run_command("--server", "127.0.0.1:1", "--host", EVERYWHERE, "--data", str(tmp_path))
    assert done.returncode == 1
    assert "--token-file" in done.stderr


def test_tokens_of_a_file_open_the_studio_to_other_hosts(paint_server: str, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("first-token-of-the-file\nsecond-token-of-the-file\n")
    options = (
        "--server",
        paint_server,
        "--host",
        EVERYWHERE,
        "--token-file",
        str(tokens),
        "--allow-host",
        "studio.lan",
    )
    studio = StudioProcess(tmp_path / "studio", *options)
    studio.start()
    try:
        assert "token" not in studio.link
        headers = {"origin": studio.url, "accept": "text/html"}
        assert 'name="token"' in httpx.get(studio.url, headers=headers).text
        wrong = httpx.post(f"{studio.url}/enter", data={"token": "first-token"}, headers=headers)
        assert (wrong.status_code, "This token is not right" in wrong.text) == (401, True)
        token = {"token": "second-token-of-the-file"}
        right, again = (httpx.post(f"{studio.url}/enter", data=token, headers=headers) for _ in range(2))
        assert (right.status_code, again.status_code) == (303, 303)
        for host, status in (("studio.lan", 200), ("192.168.7.7", 200), ("evil.example", 421)):
            answer = httpx.get(studio.url, cookies=right.cookies, headers={"host": f"{host}:{studio.port}"})
            assert answer.status_code == status
    finally:
        studio.end()


def test_a_missing_model_is_explained(tmp_path: Path) -> None:
    done = run_command("--model", str(tmp_path), "--data", str(tmp_path / "data"))
    assert done.returncode == 1
    assert f"styleserve export --output {tmp_path}" in done.stderr


def test_a_folder_has_one_studio(shared_studio: StudioProcess) -> None:
    done = run_command("--server", "127.0.0.1:1", "--data", str(shared_studio.folder), "--port", "0")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: another studio uses ")


def test_a_port_in_use_is_explained(shared_studio: StudioProcess, tmp_path: Path) -> None:
    done = run_command("--server", "127.0.0.1:1", "--data", str(tmp_path), "--port", str(shared_studio.port))
    assert done.returncode == 1
    assert "Address already in use" in done.stderr


def test_a_broken_token_file_is_explained(tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.write_text("abc\n")
    for path, text in ((short, "at least 16 characters"), (tmp_path / "none", "cannot be read")):
        done = run_command("--server", "127.0.0.1:1", "--token-file", str(path), "--data", str(tmp_path / "data"))
        assert done.returncode == 1
        assert text in done.stderr
