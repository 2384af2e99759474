"""Access control: TLS by TensorFlow Serving's SSLConfig, and bearer tokens, which TensorFlow Serving lacks."""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Final

import grpc

from ..config_files import SSLConfig, read_config
from ..errors import StartError

MAX_TOKEN_CHARS: Final = 4096
"""Longest token; gRPC refuses headers of more than 8 KiB in all."""

NONE_SENT: Final = (
    'This server needs a token, and the call has none: send the header "authorization: Bearer TOKEN" '
    "(in the environment of styleserve's client, STYLESERVE_TOKEN)."
)
NOT_ACCEPTED: Final = "This server does not accept the token of the call."

_TOKEN: Final = re.compile(r"[!-~]+")
_CERTIFICATE: Final = "-----BEGIN CERTIFICATE-----"
_PRIVATE_KEY: Final = re.compile(r"-----BEGIN (\w+ )*PRIVATE KEY-----")


class Tokens:
    """Accepted tokens, of which only hashes are kept.

    Args:
        tokens: One or more tokens.
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        self._digests: Final = [sha256(token.encode()).digest() for token in tokens]

    @classmethod
    def from_file(cls, path: Path) -> Tokens:
        """Tokens of a file, one on each line; empty lines are ignored.

        Raises:
            StartError: The file is not readable, or holds anything else.
        """
        try:
            lines = path.read_text(encoding="ascii").splitlines()
        except OSError as error:
            raise StartError(f"cannot read {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise StartError(f"{path} holds characters that no token may have") from error
        tokens: list[str] = []
        for number, line in enumerate(lines, 1):
            token = line.strip()
            if not token:
                continue
            if not _TOKEN.fullmatch(token) or len(token) > MAX_TOKEN_CHARS:
                # Without the line itself, which may be secret.
                raise StartError(
                    f"line {number} of {path} is no token: it must be up to {MAX_TOKEN_CHARS} visible ASCII "
                    "characters, without spaces"
                )
            tokens.append(token)
        if not tokens:
            raise StartError(f"{path} holds no token. Make one: openssl rand -hex 32 > {path}")
        return cls(tokens)

    def refusal(self, authorizations: Iterable[str]) -> str | None:
        """Message that refuses a call with these authorization headers; None if one is accepted."""
        received = [value.partition(" ") for value in authorizations]
        bearers = [token.strip() for scheme, _, token in received if scheme.lower() == "bearer"]
        if not bearers:
            return NONE_SENT
        return None if any(map(self._accepts, bearers)) else NOT_ACCEPTED

    def _accepts(self, token: str) -> bool:
        digest = sha256(token.encode()).digest()
        # Compares with every token in constant time, so that timing reveals nothing.
        return sum(hmac.compare_digest(digest, known) for known in self._digests) > 0


def server_credentials(path: Path) -> tuple[grpc.ServerCredentials, bool]:
    """TLS credentials of an SSLConfig file, and whether clients need a certificate.

    The file holds keys and certificates as PEM text, not their paths.

    Raises:
        StartError: The file is not readable, or its contents are invalid.
    """
    config = read_config(path, SSLConfig)
    if not _PRIVATE_KEY.search(config.server_key):
        raise StartError(_missing(path, "server_key", "a private key, not encrypted"))
    if _CERTIFICATE not in config.server_cert:
        raise StartError(_missing(path, "server_cert", "a certificate"))
    if (config.client_verify or config.custom_ca) and _CERTIFICATE not in config.custom_ca:
        raise StartError(_missing(path, "custom_ca", "the certificate of the authority that signs those of clients"))
    authority = config.custom_ca.encode() or None
    pair = (config.server_key.encode(), config.server_cert.encode())
    credentials = grpc.ssl_server_credentials([pair], authority, require_client_auth=config.client_verify)
    return credentials, config.client_verify


def is_loopback(host: str) -> bool:
    """Whether an address is reachable from this machine alone.

    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "10.0.0.7", "example.org")]
    [True, True, True, False, False, False]
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _missing(path: Path, field: str, what: str) -> str:
    return f"{path}: {field} must hold {what}, in PEM form (the text itself, not the path of a file)"
