"""Answers with a file that may be replaced or removed at any moment: it is opened once, then measured."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

_PART_BYTES: Final = 256 * 1024


def file_response(path: Path, kind: str, *, cache: str, download: str | None = None) -> Response:
    """Answer with a file.

    Args:
        path: Path of the file.
        kind: Its media type.
        cache: Value of Cache-Control.
        download: Name, in ASCII, under which the browser saves it; None to show it.

    Raises:
        HTTPException: There is no such file; 404.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        raise HTTPException(404) from error
    headers = {"cache-control": cache, "content-length": str(os.fstat(file.fileno()).st_size)}
    if download is not None:
        headers["content-disposition"] = f'attachment; filename="{download}"'
    return StreamingResponse(_parts(file), media_type=kind, headers=headers)


def _parts(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while part := file.read(_PART_BYTES):
            yield part
