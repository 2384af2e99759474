"""Who may call the embedded server: TLS from TensorFlow Serving's SSLConfig, and bearer tokens, which it has not."""

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
"""gRPC refuses headers of more than 8 KiB in all."""

NONE_CAME: Final = (
    'This server wants a token, and none came: send the header "authorization: Bearer TOKEN" '
    "(in the environment of styleserve's client, STYLESERVE_TOKEN)."
)
NOT_ACCEPTED: Final = "The token that came is none that this server accepts."

_TOKEN: Final = re.compile(r"[!-~]+")
_CERTIFICATE: Final = "-----BEGIN CERTIFICATE-----"
_PRIVATE_KEY: Final = re.compile(r"-----BEGIN (\w+ )*PRIVATE KEY-----")


class Tokens:
    """Tokens that are accepted. Their hashes are kept, and not they themselves.

    Args:
        tokens: one or more.
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        self._digests: Final = [sha256(token.encode()).digest() for token in tokens]

    @classmethod
    def from_file(cls, path: Path) -> Tokens:
        """The tokens of a file, one a line; empty lines are passed over.

        Raises:
            StartError: the file cannot be read, or holds something else.
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
                # Without the line itself: what is in this file is secret, also where it is wrong.
                raise StartError(
                    f"line {number} of {path} is no token: it must be up to {MAX_TOKEN_CHARS} visible ASCII "
                    "characters, without spaces"
                )
            tokens.append(token)
        if not tokens:
            raise StartError(f"{path} holds no token. Make one: openssl rand -hex 32 > {path}")
        return cls(tokens)

    def refusal(self, authorizations: Iterable[str]) -> str | None:
        """Why a call with these authorization headers is refused; None where it is not."""
        came = [value.partition(" ") for value in authorizations]
        bearers = [token.strip() for scheme, _, token in came if scheme.lower() == "bearer"]
        if not bearers:
            return NONE_CAME
        return None if any(map(self._accepts, bearers)) else NOT_ACCEPTED

    def _accepts(self, token: str) -> bool:
        digest = sha256(token.encode()).digest()
        # All are looked at, and each for as long as the others, so that the time taken tells nothing.
        return sum(hmac.compare_digest(digest, known) for known in self._digests) > 0


def server_credentials(path: Path) -> tuple[grpc.ServerCredentials, bool]:
    """TLS as an SSLConfig file says it, and whether clients have to show a certificate.

    The file holds keys and certificates themselves, as PEM, and not their paths.

    Raises:
        StartError: the file cannot be read, or what it holds cannot be used.
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
    """Whether only this machine reaches what listens on an address.

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
