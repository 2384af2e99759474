"""Answers with files that change while they are sent."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

from styleserve.atomic_write import atomic_write
from styleserve.studio.web.files import file_response


async def sent(response: StreamingResponse) -> bytes:
    return b"".join([cast("bytes", part) async for part in response.body_iterator])


@pytest.mark.parametrize("change", ["replaced", "removed"])
def test_a_file_that_changes_is_sent_as_it_was(tmp_path: Path, change: str) -> None:
    path = tmp_path / "preview.jpg"
    path.write_bytes(b"before")
    response = file_response(path, "image/jpeg", cache="no-cache", download="a.jpg")
    if change == "replaced":
        with atomic_write(path) as file:
            file.write(b"longer than before")
    else:
        path.unlink()
    assert isinstance(response, StreamingResponse)
    assert asyncio.run(sent(response)) == b"before"
    assert response.headers["content-length"] == "6"
    assert response.headers["content-disposition"] == 'attachment; filename="a.jpg"'


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(HTTPException) as caught:
        file_response(tmp_path / "gone.jpg", "image/jpeg", cache="no-cache")
    assert caught.value.status_code == 404
