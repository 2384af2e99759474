"""Diagnosis of a closed connection: the server speaks TLS, or it asks for a certificate.

gRPC says "Socket closed" for both. One TLS handshake on a connection of its own shows which it is.
"""

from __future__ import annotations

import socket
import ssl
from typing import Final

from ..errors import ServerUnavailable, ServiceError
from .address import endpoints
from .proxies import proxy_of
from .settings import ConnectionSettings
from .status import NO_TLS_HINT

# "Refused" as well: for a name with several addresses, gRPC may report another address than that of the server.
_CLOSED: Final = ("socket closed", "connection reset", "recvmsg", "sendmsg", "broken pipe", "connection refused")
_NOT_TLS: Final = "WRONG_VERSION_NUMBER"


def may_be_tls(failure: ServiceError) -> bool:
    """Whether the server closed the connection, so that `tls_diagnosis` may find its cause."""
    closed = any(text in failure.server_text.lower() for text in _CLOSED)
    return isinstance(failure, ServerUnavailable) and closed


def tls_diagnosis(failure: ServiceError, settings: ConnectionSettings, timeout_s: float) -> ServiceError:
    """Error that names the cause, where that is TLS; else the failure itself.

    Args:
        failure: Error of the last try.
        settings: Settings of the connection.
        timeout_s: Time for connecting and for the handshake, each.
    """
    server = settings.server
    found = endpoints(server)
    if len(found) != 1 or proxy_of(server) is not None:
        return failure
    try:
        asks = _asks_for_certificate(found[0], settings, timeout_s)
    except (OSError, ValueError) as error:  # also errors of ssl: no TLS
        if settings.encrypted and isinstance(error, ssl.SSLError) and error.reason == _NOT_TLS:
            return _unavailable(failure, f"no encrypted connection to {server}", NO_TLS_HINT)
        return failure
    certificate = "--cert FILE --key FILE; in Python, cert=... and key=..."
    if not settings.encrypted:
        also = f" It asks for a certificate, too: {certificate}." if asks else ""
        message = f"the server at {server} speaks TLS, and this client does not"
        hint = f"Switch TLS on: --tls or --ca FILE; in Python, tls=True or ca=....{also}"
    elif asks and settings.cert is None:
        message = f"the server at {server} asks for a certificate of the client"
        hint = f"Give certificate and key: {certificate}."
    elif asks:
        message = f"the server at {server} does not accept the certificate {settings.cert}"
        hint = "Give one of an authority that the server trusts, which has not expired."
    else:
        return failure
    return _unavailable(failure, message, hint)


def _unavailable(failure: ServiceError, message: str, hint: str) -> ServerUnavailable:
    return ServerUnavailable(
        f"{message}: {failure.server_text}", hint=hint, status=failure.status, server_text=failure.server_text
    )


def _asks_for_certificate(endpoint: tuple[str, int], settings: ConnectionSettings, timeout_s: float) -> bool:
    """Whether the server refuses a client with the certificate of the settings, or without one.

    Raises:
        OSError: The server does not answer, or does not speak TLS.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent, and gRPC has checked the server
    context.set_alpn_protocols(["h2"])
    if settings.cert is not None:
        context.load_cert_chain(settings.cert, settings.key, password="")  # never ask for one on the terminal
    with socket.create_connection(endpoint, timeout_s) as connection:
        try:
            encrypted = context.wrap_socket(connection, server_hostname=endpoint[0])
        except ssl.SSLError as error:
            if "ALERT" in (error.reason or ""):
                return True
            raise
        with encrypted:  # TLS 1.3 refuses after the handshake, with an end or an alert
            try:
                return encrypted.recv(1) == b""
            except TimeoutError:
                return False
            except OSError:
                return True
