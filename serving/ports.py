"""Ports: addresses, checks and error messages."""

from __future__ import annotations

import socket

from .errors import StartError


def address_of(host: str, port: int) -> str:
    """`host:port`, an IPv6 address in brackets.

    >>> address_of("127.0.0.1", 8500), address_of("::1", 8500)
    ('127.0.0.1:8500', '[::1]:8500')
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_port(host: str, port: int, *, metrics: bool = False) -> None:
    """Checks that a port can be opened.

    Raises:
        StartError: The port cannot be opened.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # A port whose last connections are still closing counts as free; one with a listener does not.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except OSError as error:
        raise StartError(port_text(host, port, error.strerror or str(error), metrics=metrics)) from error


def port_text(host: str, port: int, why: str, *, metrics: bool = False) -> str:
    """Message for a port that cannot be opened: that of gRPC, or that of the metrics."""
    what, options = (
        (" for the metrics", "--rest-api-host and --rest-api-port") if metrics else ("", "--host and --port")
    )
    return f"cannot listen on {address_of(host, port)}{what}: {why}. Choose another with {options}."
