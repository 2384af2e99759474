"""Templates of the pages, and the pages without a studio behind them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.templating import Jinja2Templates

from ..painting.run_facts import duration_text, progress_text
from .context import access_of
from .static import MODULES


def moment_text(seconds: float) -> str:
    """Local time of a moment in seconds since 1970, as in "03 Feb, 14:05"."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%d %b, %H:%M")


_TEMPLATES: Final = Jinja2Templates(directory=Path(__file__).parent.parent / "templates")
_TEMPLATES.env.trim_blocks = _TEMPLATES.env.lstrip_blocks = True
_TEMPLATES.env.filters["duration"] = duration_text
_TEMPLATES.env.filters["moment"] = moment_text
cast("dict[str, object]", _TEMPLATES.env.globals).update(progress_text=progress_text, modules=MODULES)
for _name in _TEMPLATES.env.list_templates():  # compiled now, so that the first page is quick
    _TEMPLATES.env.get_template(_name)


def render(request: Request, name: str, values: dict[str, Any], *, status: int = 200) -> Response:
    """Page of a template."""
    return _TEMPLATES.TemplateResponse(request, name, values, status_code=status)


def sign_in_page(request: Request, *, refused: bool = False) -> Response:
    """Page for a browser without a session."""
    values = {"refused": refused, "takes_tokens": access_of(request).takes_lasting_tokens}
    return render(request, "sign_in.html", values, status=401)


def not_found_page(request: Request, status: int) -> Response:
    """Page for an address that leads nowhere."""
    return render(request, "not_found.html", {}, status=status)
