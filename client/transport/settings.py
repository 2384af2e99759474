"""Settings of a connection: address, TLS, token, retries; defaults of deadlines. No `repr` or message has secrets."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, get_args

from styleserve import contract

from ..errors import SettingsError
from ..representation import changed_fields
from .address import complete_address, is_loopback
from .retry import RetryPolicy

Compression = Literal["none", "gzip"]

DEFAULT_SERVER: Final = f"127.0.0.1:{contract.DEFAULT_PORT}"

SECONDS_PER_PIXEL_AND_STEP: Final = 6e-6
"""Cost of a step, one evaluation of the network, on 2 cores of a CPU in bfloat16: 1.6 s for 512 x 512 pixels. float32
without a matrix unit takes twice that. Both optimisers cost the same."""
BASE_TIMEOUT_S: Final = 60.0
"""Part of a deadline that does not grow with the steps: connecting, sending, decoding, tracing."""
ADMIN_TIMEOUT_S: Final = 10.0
"""Deadline of requests that a server answers without work."""
_TIMEOUT_FACTOR: Final = 15
"""Deadline over the cost of the steps: for slower servers, and for requests that wait in a queue."""

SHORTEST_KEEPALIVE_S: Final = 300.0
"""A server with default options closes a connection that pings more often ("Too many pings")."""

ENVIRONMENT: Final = {
    "server": "STYLESERVE_SERVER",
    "model_name": "STYLESERVE_MODEL_NAME",
    "tls": "STYLESERVE_TLS",
    "ca": "STYLESERVE_CA",
    "cert": "STYLESERVE_CERT",
    "key": "STYLESERVE_KEY",
    "token": "STYLESERVE_TOKEN",
    "compression": "STYLESERVE_COMPRESSION",
}
"""Environment variable of each setting that has one."""

_YES: Final = ("1", "true", "yes", "on")
_NO: Final = ("0", "false", "no", "off")

_METADATA_KEY: Final = re.compile(r"[0-9a-z_.-]+")
_METADATA_VALUE: Final = re.compile(r"[!-~]([ -~]*[!-~])?")
_TOKEN: Final = re.compile(r"[!-~]+")
_OWN_KEYS: Final = ("authorization", "x-request-id")


def default_timeout_s(pixels: int, steps: int) -> float:
    """Deadline of a call that works on so many pixels for so many steps, in seconds.

    >>> round(default_timeout_s(512 * 512, 100))
    2419
    """
    return BASE_TIMEOUT_S + _TIMEOUT_FACTOR * SECONDS_PER_PIXEL_AND_STEP * pixels * steps


@dataclass(frozen=True, kw_only=True, repr=False)
class ConnectionSettings:
    """Settings of a connection.

    Attributes:
        server: `host` or `host:port`, or any other gRPC target. With `dns:///host:port` the calls alternate between all
            addresses of the name. The port is 8500 if left out.
        model_name: Name of the model on the server.
        tls: Whether to encrypt, and to check the server's certificate; None is yes if one of the files is given.
        ca: File with the certificates of the authorities to trust, PEM, in place of the system's.
        cert: File with the client's own certificate, PEM, for a server that requires one.
        key: File with its private key, PEM.
        token: Bearer token; only sent with TLS, or to this machine.
        metadata: Further keys and values to send with each call.
        compression: Compression of requests, "none" or "gzip". Pictures are compressed already; the state of a run in
            chunks gains a little, over a slow link.
        keepalive_s: Seconds without a byte after which a running call pings the server; None is never.
        retry: Retry policy.

    Raises:
        SettingsError: A value cannot be used, or two contradict each other.
        ServerUnavailable: `server` is a web address.
    """

    server: str = DEFAULT_SERVER
    model_name: str = contract.DEFAULT_MODEL_NAME
    tls: bool | None = None
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    token: str | None = field(default=None, repr=False)
    metadata: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    compression: Compression = "none"
    keepalive_s: float | None = 360.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    def __post_init__(self) -> None:
        object.__setattr__(self, "server", complete_address(self.server))
        if self.compression not in get_args(Compression):
            raise SettingsError(
                f"the compression is {self.compression!r}; it must be one of: {', '.join(get_args(Compression))}"
            )
        if self.keepalive_s is not None and not SHORTEST_KEEPALIVE_S <= self.keepalive_s < 1e6:
            raise SettingsError(
                f"keepalive_s is {self.keepalive_s}; a server closes connections that ping more often than every "
                f"{SHORTEST_KEEPALIVE_S:g} s",
                hint=f"Give {SHORTEST_KEEPALIVE_S:g} or more, or None.",
            )
        self._check_tls()
        self._check_secrets()

    def __repr__(self) -> str:
        return changed_fields(self)

    @property
    def encrypted(self) -> bool:
        """Whether the connection is encrypted."""
        return self.ca is not None or self.cert is not None if self.tls is None else self.tls

    def call_metadata(self) -> tuple[tuple[str, str], ...]:
        """Metadata of every call."""
        token = () if self.token is None else (("authorization", f"Bearer {self.token}"),)
        return (*token, *self.metadata)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> ConnectionSettings:
        """Settings from the variables of `ENVIRONMENT`; a variable that is not set, or empty, keeps the default.

        Raises:
            SettingsError: A value cannot be used.
        """
        given = {name: value for name, variable in ENVIRONMENT.items() if (value := environment.get(variable))}
        files = {name: Path(given[name]) for name in ("ca", "cert", "key") if name in given}
        tls = given["tls"].lower() if "tls" in given else None
        if tls not in (None, *_YES, *_NO):
            raise SettingsError(f"{ENVIRONMENT['tls']} is {tls!r}; it must be 1 or 0")
        values: dict[str, object] = {**given, **files, "tls": None if tls is None else tls in _YES}
        return cls(**values)  # pyright: ignore[reportArgumentType] - checked above and in __post_init__

    def _check_tls(self) -> None:
        if (self.cert is None) != (self.key is None):
            given, missing = ("key", "cert") if self.cert is None else ("cert", "key")
            raise SettingsError(
                f"a {given} file is given without a {missing} file",
                hint="A client's certificate and its private key belong together.",
            )
        if self.tls is False and (self.ca is not None or self.cert is not None):
            raise SettingsError("TLS is switched off, but files for it are given", hint="Leave one of the two out.")

    def _check_secrets(self) -> None:
        if self.token is not None:
            if not _TOKEN.fullmatch(self.token):
                raise SettingsError("the token has characters that cannot be sent, or is empty", hint="Copy it again.")
            if not self.encrypted and not is_loopback(self.server):
                raise SettingsError(
                    f"a token would go to {self.server} unencrypted",
                    hint="Switch TLS on (--tls or --ca FILE; in Python, tls=True or ca=...), or leave the token out.",
                )
        for key, value in self.metadata:
            if key in _OWN_KEYS or key.startswith("grpc-") or key.endswith("-bin") or not _METADATA_KEY.fullmatch(key):
                raise SettingsError(
                    f"{key!r} cannot be a key of the metadata",
                    hint="It takes a-z, 0-9, '-', '_' and '.'; the token and the request id have their own settings.",
                )
            if not _METADATA_VALUE.fullmatch(value):
                raise SettingsError(f"the metadata {key!r} has characters that cannot be sent, or is empty")
