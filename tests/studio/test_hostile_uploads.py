"""Uploads from the fuzz corpus: each ends in a picture or a message, with the studio alive and its memory flat."""

from __future__ import annotations

from pathlib import Path

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.files import READ, hostile_files

from .conftest import StudioProcess

UPLOADS = 200
GROWTH_MB = 60
"""Growth of the memory over the last three quarters of the uploads. A single picture of these files takes more."""


def resident_mb(pid: int) -> float:
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * 4096 / 1e6


def test_hostile_uploads_end_in_messages(own_studio: StudioProcess) -> None:
    answers: list[int] = []
    memory: list[float] = []
    with httpx.Client(base_url=own_studio.url, headers={"origin": own_studio.url}, timeout=60) as client:
        client.get(own_studio.link.removeprefix(own_studio.url))

        @settings(
            max_examples=UPLOADS,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(hostile_files(READ), st.text(max_size=40))
        def upload(data: bytes, name: str) -> None:
            answer = client.post("/pictures", params={"name": name}, content=data)
            facts = answer.json()
            if answer.status_code == 200:
                assert min(facts["width"], facts["height"]) >= 2
                shown = client.get(f"/pictures/{facts['sha256']}/thumbnail.jpg")
                assert (shown.status_code, shown.content[:2]) == (200, b"\xff\xd8")
            else:
                assert answer.status_code == 422
                assert facts["message"]
            answers.append(answer.status_code)
            memory.append(resident_mb(own_studio.pid))

        upload()
        assert client.get("/new").status_code == 200
    assert len(answers) >= UPLOADS
    assert 422 in answers
    assert memory[-1] - memory[len(memory) // 4] < GROWTH_MB, (memory[0], memory[len(memory) // 4], memory[-1])
    assert "Traceback" not in own_studio.output
