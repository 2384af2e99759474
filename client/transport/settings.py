"""How to reach a server: address, TLS, who one is, retries. Secrets stay out of every `repr` and every message."""

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
from .defaults import DEFAULT_SERVER
from .retry import RetryPolicy

Compression = Literal["none", "gzip"]

SHORTEST_KEEPALIVE_S: Final = 300.0
"""A server in its own configuration ends a connection that pings more often ("Too many pings")."""

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
"""The environment variable of each setting that has one."""

_YES: Final = ("1", "true", "yes", "on")
_NO: Final = ("0", "false", "no", "off")

_METADATA_KEY: Final = re.compile(r"[0-9a-z_.-]+")
_METADATA_VALUE: Final = re.compile(r"[!-~]([ -~]*[!-~])?")
_TOKEN: Final = re.compile(r"[!-~]+")
_OWN_KEYS: Final = ("authorization", "x-request-id")


@dataclass(frozen=True, kw_only=True, repr=False)
class ConnectionSettings:
    """How to reach a server.

    Attributes:
        server: `host` or `host:port`, or any other gRPC target; with `dns:///host:port` the calls go in turn to every
            address that the name has. A port that is left out is 8500.
        model_name: under which the server has the model.
        tls: whether to encrypt, and to hold the server's certificate against the system's authorities or `ca`; None is
            yes where one of the files is given, else no.
        ca: file with the certificates of the authorities to trust, PEM, in place of the system's.
        cert: file with the client's own certificate, PEM, for a server that asks for one.
        key: file with its private key, PEM.
        token: sent as a bearer token; only with TLS, or to this very machine.
        metadata: more keys and values to send with each call.
        compression: Compression of requests, "none" or "gzip". Pictures are compressed already; the state of a run in
            chunks gains a little, over a slow link.
        keepalive_s: seconds without a byte after which a call under way asks whether the server is still there; None
            is never.
        retry: when a call is made again.

    Raises:
        SettingsError: a value cannot be used, or two contradict each other.
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
                f"keepalive_s is {self.keepalive_s}; a server ends connections that ask more often than every "
                f"{SHORTEST_KEEPALIVE_S:g} s",
                hint="Give more, or None.",
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
        """What goes with every call."""
        token = () if self.token is None else (("authorization", f"Bearer {self.token}"),)
        return (*token, *self.metadata)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> ConnectionSettings:
        """The settings that the variables of `ENVIRONMENT` name; what is not set, or empty, keeps its default.

        Raises:
            SettingsError: a value cannot be used.
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
            there, missing = ("key", "cert") if self.cert is None else ("cert", "key")
            raise SettingsError(
                f"a {there} file is given without a {missing} file",
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
                    f"a token would go to {self.server} unencrypted, for everybody on the way to read",
                    hint="Switch TLS on (--tls or --ca FILE; in Python, tls=True or ca=...), or leave the token out.",
                )
        for key, value in self.metadata:
            if key in _OWN_KEYS or key.startswith("grpc-") or key.endswith("-bin") or not _METADATA_KEY.fullmatch(key):
                raise SettingsError(
                    f"{key!r} cannot be a key of the metadata",
                    hint="It takes a-z, 0-9, '-', '_' and '.'; the token and the request's id have their own settings.",
                )
            if not _METADATA_VALUE.fullmatch(value):
                raise SettingsError(f"the metadata's {key!r} has characters that cannot be sent, or is empty")
