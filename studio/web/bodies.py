"""Bodies of requests, read within a bound."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Final, cast

from starlette.requests import Request

from ..form import FieldError

_JSON_BYTES: Final = 64 * 1024


class TooLargeError(Exception):
    """A body has more bytes than are allowed."""


async def body_within(request: Request, most: int) -> bytes:
    """Body of a request.

    Raises:
        TooLargeError: It has, or declares, more bytes than `most`.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise TooLargeError
    body = bytearray()
    async for part in cast("AsyncIterator[bytes]", request.stream()):
        if len(body) + len(part) > most:
            raise TooLargeError
        body += part
    return bytes(body)


async def json_object(request: Request) -> dict[str, Any]:
    """JSON object in the body of a request.

    Raises:
        FieldError: The body is too large, or no JSON object.
    """
    try:
        found = json.loads(await body_within(request, _JSON_BYTES))
    except (TooLargeError, ValueError, RecursionError) as error:
        raise FieldError("", "the request cannot be read", "Load the page again.") from error
    if not isinstance(found, dict):
        raise FieldError("", "the request cannot be read", "Load the page again.")
    return cast("dict[str, Any]", found)


def texts(value: object) -> list[str]:
    """Texts of a JSON list.

    Raises:
        FieldError: It is no list of texts.
    """
    if not isinstance(value, list) or not all(isinstance(each, str) for each in cast("list[object]", value)):
        raise FieldError("", "the request cannot be read", "Load the page again.")
    return cast("list[str]", value)


def text_values(value: object) -> dict[str, str]:
    """Texts of a JSON object, by name.

    Raises:
        FieldError: It is no object of texts.
    """
    if not isinstance(value, dict):
        raise FieldError("", "the request cannot be read", "Load the page again.")
    named = cast("dict[str, object]", value)
    texts(list(named.values()))
    return cast("dict[str, str]", named)
