"""HTTP proxies in the environment, as gRPC reads them: for error messages."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from .address import endpoints, is_this_machine

# The first one that is set counts, for TLS and plain text alike; empty means no proxy.
_VARIABLES: Final = ("grpc_proxy", "https_proxy", "http_proxy")
_EXCEPTIONS: Final = ("no_grpc_proxy", "no_proxy")


@dataclass(frozen=True)
class Proxy:
    """A proxy between client and server.

    Attributes:
        variable: Name of the environment variable that names it.
        url: Its address, without user and password.
    """

    variable: str
    url: str


def proxy_of(server: str, environment: Mapping[str, str] = os.environ) -> Proxy | None:
    """The proxy through which gRPC calls a server; None for a direct connection.

    >>> proxy_of("styles.example.org:8500", {"http_proxy": "http://me:secret@proxy:3128"})
    Proxy(variable='http_proxy', url='http://proxy:3128')
    >>> proxy_of("styles.example.org:8500", {"http_proxy": "http://proxy:3128", "no_proxy": ".example.org"})
    """
    variable = next((name for name in _VARIABLES if name in environment), None)
    hosts = [host for host, _ in endpoints(server)]
    if variable is None or not environment[variable] or not hosts or is_this_machine(server):
        return None
    exceptions = next((environment[name] for name in _EXCEPTIONS if name in environment), "")
    if any(_matches(hosts[0], each.strip()) for each in exceptions.split(",")):
        return None
    url = urlsplit(environment[variable])
    if url.scheme != "http":  # gRPC ignores all others
        return None
    return Proxy(variable, f"http://{url.netloc.rpartition('@')[2]}")


def _matches(host: str, exception: str) -> bool:
    """Whether an entry of no_proxy, the end of a name or a network, holds for a host."""
    if not exception:
        return False
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(exception, strict=False)
    except ValueError:
        return host.lower().endswith(exception.lower())
