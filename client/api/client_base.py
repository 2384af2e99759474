"""The part that both clients share: constructor and properties."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Generic, TypeVar

from ..transport.call import RpcClient
from ..transport.drivers import AsyncConnection, Connection
from ..transport.settings import ConnectionSettings
from ..wire.requests import Target
from .operations import Operations

_Connection = TypeVar("_Connection", Connection, AsyncConnection)


class ClientBase(Generic[_Connection]):
    """Constructor and properties of both clients."""

    def __init__(
        self,
        server: str | None = None,
        *,
        model_name: str | None = None,
        version: int | None = None,
        version_label: str | None = None,
        settings: ConnectionSettings | None = None,
    ) -> None:
        """Makes a client; its first call connects.

        Args:
            server: `host`, `host:port`, or any other gRPC target; that of `settings` if None.
            model_name: Name of the model on the server; that of `settings` if None.
            version: Version of the model; the newest one if neither this nor `version_label` is given.
            version_label: Label of a version in place of its number, as in "stable".
            settings: Settings of the connection: TLS, token, retries and so on.

        Raises:
            ValueError: Both `version` and `version_label` are given.
            SettingsError: A setting cannot be used, or not with this server.
            ServerUnavailable: `server` is not an address.
        """
        given = {name: value for name, value in (("server", server), ("model_name", model_name)) if value is not None}
        self.settings: Final = replace(settings or ConnectionSettings(), **given)
        target = Target(self.settings.model_name, version, version_label)
        self._operations: Final = Operations(RpcClient(self.settings), target)
        self._connection: Final = self._connect()

    @property
    def server(self) -> str:
        """Address of the server."""
        return self.settings.server

    @property
    def model_name(self) -> str:
        """Name of the model on the server."""
        return self.settings.model_name

    @property
    def version(self) -> str | int | None:
        """Number or label of the version that requests name; None for the newest."""
        target = self._operations.target
        return target.version if target.version_label is None else target.version_label

    def _connect(self) -> _Connection:
        raise NotImplementedError
