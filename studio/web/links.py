"""Links with the parameters of a run: pictures by their digests, settings by the names of their fields."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from ..form import fields
from ..store import RunRequest

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_EVERYWHERE: Final = "all"
"""Text in place of the digest of a mask for a style without one."""


def link_of(request: RunRequest) -> str:
    """Path that fills the form with a request.

    >>> link_of(RunRequest("c" * 64, ("d" * 64,), preset="bold", values={"steps": "20"})).replace("c" * 64, "C")
    '/?content=C&style=dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd&preset=bold&steps=20'
    """
    pairs = [
        ("content", request.content),
        *(("style", style) for style in request.styles),
        *(("region", region or _EVERYWHERE) for region in request.regions),
        ("preset", request.preset),
        *request.values.items(),
    ]
    return "/?" + urlencode([(name, value) for name, value in pairs if value])


def request_of(query: QueryParams) -> RunRequest:
    """Request of a link; parts that are none are left out.

    >>> request_of(QueryParams("content=x&preset=bold&steps=20&nosuch=1"))
    RunRequest(content='', styles=(), regions=(), preset='bold', values={'steps': '20'})
    """
    known = {field.name for field in fields()}
    regions = tuple(
        each if _DIGEST.fullmatch(each) else None
        for each in query.getlist("region")
        if _DIGEST.fullmatch(each) or each == _EVERYWHERE
    )
    return RunRequest(
        content=next(iter(_digests(query.getlist("content"))), ""),
        styles=tuple(_digests(query.getlist("style"))),
        regions=regions,
        preset=query.get("preset", "")[:40],
        values={name: value[:200] for name, value in query.items() if name in known},
    )


def _digests(values: list[str]) -> list[str]:
    return [value for value in values if _DIGEST.fullmatch(value)]
