"""Ports for servers that tests start."""

from __future__ import annotations

import random
import socket
from contextlib import suppress
from typing import Final

_PORTS: Final = range(20_000, 32_000)
"""Below the ports that Linux (from 32768) and macOS (from 49152) give to connections by themselves."""


def free_port() -> int:
    """A port of the loopback address that nothing uses.

    The system would choose one that any later connection may take before the server does.
    """
    while True:
        port = random.choice(_PORTS)  # noqa: S311 - no secret
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
