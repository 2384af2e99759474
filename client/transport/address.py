"""Addresses of servers: gRPC targets, checked and completed, and whether they are on this machine."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any, Final

from styleserve import contract

from ..errors import ServerUnavailable, SettingsError

_PREFIX: Final = re.compile(r"dns:(//[^/]*/)?|ipv[46]:(///)?")
_OTHER_TARGETS: Final = ("unix:", "unix-abstract:", "vsock:", "xds:", "google-c2p:", "passthrough:")
_BRACKETS: Final = re.compile(r"\[([^\]]*)\](:.*)?")
_HOST: Final = re.compile(r"[^\s/@:,?#\[\]]+")
_HINT: Final = "Give HOST or HOST:PORT, as in 127.0.0.1:8500, [::1]:8500 or styles.example.org."
_LOCAL_NAMES: Final = ("ip6-localhost", "ip6-loopback")


def complete_address(server: str) -> str:
    """The address with its port; targets of gRPC that have none, as `unix:`, stay the same.

    >>> [complete_address(server) for server in ("127.0.0.1", "::1", "[::1]:443", "dns:///styles", "unix:/run/a")]
    ['127.0.0.1:8500', '[::1]:8500', '[::1]:443', 'dns:///styles:8500', 'unix:/run/a']

    Raises:
        SettingsError: Host or port is not valid.
        ServerUnavailable: It is a web address.
    """
    if re.match(r"(?i)(https?|grpcs?)://", server):
        raise ServerUnavailable(
            f"{server} is a web address; the server is named as host:port",
            hint=f"Leave the {server.partition('//')[0]}// out, and give the gRPC port, usually 8500 (8501 is REST).",
        )
    if server.startswith(_OTHER_TARGETS):
        return server
    prefix, addresses = _split(server)
    return prefix + ",".join(f"{host}:{port}" for host, port in _hosts_and_ports(server, addresses))


def endpoints(server: str) -> list[tuple[str, int]]:
    """Hosts, without brackets, and ports of a complete address; none for targets that have none.

    >>> endpoints("ipv6:[::1]:8500,[::2]:8501"), endpoints("unix:/run/a")
    ([('::1', 8500), ('::2', 8501)], [])
    """
    if server.startswith(_OTHER_TARGETS):
        return []
    return [(host.strip("[]"), port) for host, port in _hosts_and_ports(server, _split(server)[1])]


def is_loopback(server: str) -> bool:
    """Whether a complete address is a loopback address, so that packets cannot leave this machine.

    >>> [is_loopback(f"{host}:8500") for host in ("LOCALHOST.", "127.1.2.3", "0.0.0.0", "[::]", "[::ffff:127.0.0.1]")]
    [True, True, True, True, True]
    >>> [is_loopback(server) for server in ("dns:///[::1]:8500", "unix:/run/a", "dns://10.0.0.1/localhost:8500")]
    [True, True, False]
    >>> is_loopback("127.0.0.1.example.org:8500"), is_loopback("ipv4:127.0.0.1:8500,10.0.0.5:8500")
    (False, False)
    """
    if server.startswith(("unix:", "unix-abstract:")):
        return True
    return _all_hosts(server, _is_loopback)


def is_this_machine(server: str) -> bool:
    """Whether a complete address is this machine's, also by its own name or by an address in its network.

    A name is looked up only where it may be this machine's own.
    """
    return is_loopback(server) or _all_hosts(server, _is_own)


def _all_hosts(server: str, condition: Callable[[str], bool]) -> bool:
    """Whether the condition holds for every host; False where the target has its own name server (dns://10.0.0.1/)."""
    found = [] if re.match(r"dns://[^/]", server) else endpoints(server)
    return bool(found) and all(condition(host) for host, _ in found)


def _split(server: str) -> tuple[str, str]:
    prefix = match[0] if (match := _PREFIX.match(server)) else ""
    return prefix, server[len(prefix) :]


def _hosts_and_ports(server: str, addresses: str) -> Iterator[tuple[str, int]]:
    for address in addresses.split(","):
        if brackets := _BRACKETS.fullmatch(address):
            host, port, valid = f"[{brackets[1]}]", brackets[2], _is_ipv6(brackets[1])
        elif address.count(":") > 1:
            host, port, valid = f"[{address}]", None, _is_ipv6(address)
            start, _, end = address.rpartition(":")
            if re.fullmatch(r"\d{4,5}", end) and _is_ipv6(start):
                raise SettingsError(
                    f"{server!r} may be an IPv6 address, or one with a port",
                    hint=f"Write [{start}]:{end} for the port, [{address}] for the address.",
                )
        else:
            host, colon, end = address.partition(":")
            port, valid = colon + end, _HOST.fullmatch(host) is not None
            if host.lower() == "localhost.":  # gRPC's resolver does not know it
                host = host.rstrip(".")
        if not valid:
            raise SettingsError(f"{server!r} is not an address of a server", hint=_HINT)
        yield host, _port(server, port)


def _port(server: str, port: str | None) -> int:
    """Port number, or the default."""
    if not port:
        return contract.DEFAULT_PORT
    if not re.fullmatch(r":[0-9]{1,5}", port) or not 1 <= int(port[1:]) <= 65535:
        raise SettingsError(f"the port of {server!r} is {port[1:]!r}; it must be a number from 1 to 65535", hint=_HINT)
    return int(port[1:])


def _is_ipv6(host: str) -> bool:
    with contextlib.suppress(ValueError):
        ipaddress.IPv6Address(host)
        return True
    return False


def _is_loopback(host: str) -> bool:
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified  # a call to 0.0.0.0 reaches this machine


def _is_own(host: str) -> bool:
    """Whether the host is this machine: packets to it would have its address as their source."""
    name = host.lower().rstrip(".")
    own = socket.gethostname().lower()
    first = name.split(".")[0]
    may_be_own = name.endswith(".localhost") or first in ("localhost", *_LOCAL_NAMES, own.split(".")[0])
    flags = 0 if may_be_own else socket.AI_NUMERICHOST
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_DGRAM, flags=flags)
        return all(_is_loopback(str(address[0])) or _is_source(family, address) for family, _, _, _, address in found)
    except OSError:  # unknown, or not reachable
        return False


def _is_source(family: int, address: tuple[Any, ...]) -> bool:
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((address[0], 9, *address[2:]))  # UDP: nothing is sent
        return probe.getsockname()[0] == address[0]
