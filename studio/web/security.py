"""Guard of the application: names of hosts, origin of changes, sessions, and headers of every response.

A request passes if its Host header is one of the studio's names (against DNS rebinding), if a change comes from a page
of the studio itself (against forged requests), and if its cookie is a session, which a token begins.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS: Final = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
_OPEN_PATHS: Final = ("/enter", "/static/")
_READING: Final = ("GET", "HEAD")
_LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")


class Access:
    """Tokens of a studio and the names of its host.

    Args:
        port: Port of the studio.
        names: Names that a Host header may have beside those of this machine's loopback address.
        any_address: Whether it may also be any IP address; a rebound name is none.
        lasting: Tokens that can be used again and again; empty for one-time tokens alone.
    """

    def __init__(
        self, port: int, *, names: Sequence[str] = (), any_address: bool = False, lasting: Sequence[str] = ()
    ) -> None:
        self.port: Final = port
        self._names: Final = {name.lower() for name in (*_LOOPBACK_NAMES, *names)}
        self._any_address: Final = any_address
        self._lasting: Final = tuple(lasting)
        self._once: Final[set[str]] = set()

    @property
    def cookie(self) -> str:
        """Name of the cookie; browsers share cookies between the ports of a host."""
        return f"styleserve_studio_{self.port}"

    @property
    def takes_lasting_tokens(self) -> bool:
        """Whether tokens are typed in."""
        return bool(self._lasting)

    def new_token(self) -> str:
        """Token for one use."""
        token = secrets.token_urlsafe(32)
        self._once.add(token)
        return token

    def accepts(self, token: str) -> bool:
        """Whether a token is right; one for one use is used up."""
        given = token.encode()
        for known in self._once:
            if hmac.compare_digest(known.encode(), given):
                self._once.discard(known)
                return True
        return any([hmac.compare_digest(known.encode(), given) for known in self._lasting])  # noqa: C419 - in equal time

    def knows_host(self, host: str) -> bool:
        """Whether a Host header names this studio.

        >>> access = Access(8600, names=["studio.lan"])
        >>> [access.knows_host(host) for host in ("127.0.0.1:8600", "Studio.lan", "evil.example:8600", "10.0.0.7")]
        [True, True, False, False]
        """
        name, port = _split(host)
        if port is None:
            return False
        if name in self._names:
            return True
        return self._any_address and _is_address(name)


def _split(host: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(f"//{host}")
        name = parts.hostname or ""
        return (f"[{name}]" if ":" in name else name), parts.port or 80
    except ValueError:
        return "", None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


class Guard:
    """Middleware that checks every request and adds headers to every response.

    Args:
        app: Application behind it.
        access: Names and cookie of the studio.
        holds: Tells whether a secret is that of a session.
        sign_in: Page for browsers without a session.
    """

    def __init__(
        self, app: ASGIApp, *, access: Access, holds: Callable[[str], bool], sign_in: Callable[[Request], Response]
    ) -> None:
        self._app: Final = app
        self._access: Final = access
        self._holds: Final = holds
        self._sign_in: Final = sign_in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or passes it to the application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refusal = self._refusal(Request(scope))
        await (refusal or self._app)(scope, receive, send_with_headers)

    def _refusal(self, request: Request) -> Response | None:
        host = request.headers.get("host", "")
        if not self._access.knows_host(host):
            text = f"this studio has no name {host!r}"
            return _error(421, text, "Open the address that the studio printed, or start it with --allow-host NAME.")
        if request.method not in _READING and not _is_own(request.headers):
            return _error(403, "the request comes from another page", "Use the page of the studio.")
        path = request.url.path
        if path.startswith(_OPEN_PATHS) or self._holds(request.cookies.get(self._access.cookie, "")):
            return None
        if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            return self._sign_in(request)
        return _error(401, "there is no session", "Open the link that the studio printed.")


def _is_own(headers: Headers) -> bool:
    """Whether the Origin header is this host; a browser that sends none must call the request of the same origin."""
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site") == "same-origin"
    return urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""


def _error(status: int, message: str, hint: str) -> Response:
    return JSONResponse({"field": "", "message": message, "hint": hint}, status)
