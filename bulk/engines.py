"""Engines: how a worker paints, on a server of its own or on given ones."""

from __future__ import annotations

import itertools
import json
import threading
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from styleserve.client.api.client import StyleClient
from styleserve.client.errors import ModelNotFound, ServerUnavailable
from styleserve.client.images.source import PictureSource
from styleserve.client.inputs.controls import Controls
from styleserve.client.inputs.picture_set import PictureSet
from styleserve.client.transport.retry import RetryPolicy
from styleserve.client.transport.settings import ConnectionSettings
from styleserve.client.wire.results import StylizedResult
from styleserve.server_process import ServerProcess, ServerProcessError
from styleserve.version_directories import MODEL_CARD_FILE, misplaced, versions_on_disk

_NO_RETRIES: Final = RetryPolicy(tries=1)
"""A worker retries jobs itself."""
_NO_POLLS: Final = ("--poll-s", "86400")
"""A version that comes during the run must not replace the one that began it."""


class Engine(Protocol):
    """Painter of one worker, safe to use from several threads."""

    def paint(self, pictures: PictureSet[PictureSource], controls: Controls) -> StylizedResult:
        """Stylised picture.

        Raises:
            StyleServeError: As for `StyleClient.stylize`.
        """
        ...

    def recover(self) -> bool:
        """Repairs what can be repaired after a rejected call; returns whether the engine had ended.

        Raises:
            StyleServeError: It cannot be repaired.
        """
        ...

    def close(self) -> None:
        """Ends the engine."""
        ...


class EngineSource(Protocol):
    """Source of an engine for each worker, which can be pickled."""

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the model."""
        ...

    def start(self) -> Engine:
        """Engine that is ready.

        Raises:
            StyleServeError: The model cannot be served, or is another one.
        """
        ...


@dataclass(frozen=True)
class ModelSource:
    """Model that each worker serves for itself.

    Attributes:
        base_path: Base path of the model.
        fingerprint: Fingerprint of its newest version.
    """

    base_path: Path
    fingerprint: str

    @classmethod
    def of(cls, base_path: Path) -> ModelSource:
        """Source of the newest version below a base path.

        Raises:
            ModelNotFound: There is none, or it was exported before models had fingerprints.
        """
        try:
            version = max(versions_on_disk(base_path).items(), default=None)
        except OSError as error:
            raise ModelNotFound(
                f"the model {base_path} cannot be read: {error.strerror}", hint="Export one: styleserve export."
            ) from error
        if version is None:
            wrong = misplaced(base_path)
            why = "has no version of a model" if wrong is None else wrong.fault
            where = "" if wrong is None or wrong.base_path is None else f": --model {wrong.base_path}"
            raise ModelNotFound(f"{base_path} {why}", hint=f"Give the directory that an export wrote{where}.")
        try:
            fingerprint = json.loads((version[1] / MODEL_CARD_FILE).read_bytes())["fingerprint"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelNotFound(
                f"{version[1]} has no fingerprint in its card", hint="Export it again with this version of styleserve."
            ) from error
        return cls(base_path.absolute(), str(fingerprint))

    def start(self) -> Engine:
        """Engine with a server of its own."""
        return OwnServer(self)


@dataclass(frozen=True)
class ServerSource:
    """Servers that run already.

    Attributes:
        connections: Settings of the connection to each.
        fingerprint: Fingerprint of their model.
    """

    connections: tuple[ConnectionSettings, ...]
    fingerprint: str

    @classmethod
    def of(cls, connection: ConnectionSettings, servers: tuple[str, ...]) -> ServerSource:
        """Source of the model on servers.

        Raises:
            ModelNotFound: The servers have different models, or one has a model without a fingerprint.
            ServiceError: One of its subclasses says what else went wrong.
        """
        connections = tuple(replace(connection, server=each, retry=_NO_RETRIES) for each in servers)
        found: dict[str, str] = {}
        for each in connections:
            with StyleClient(settings=replace(each, retry=RetryPolicy())) as client:
                found[each.server] = _fingerprint(client)
        if len(set(found.values())) > 1:
            listed = ", ".join(f"{server} has {fingerprint}" for server, fingerprint in found.items())
            raise ModelNotFound(f"the servers have different models: {listed}", hint="Give servers of one model.")
        return cls(connections, next(iter(found.values())))

    def start(self) -> Engine:
        """Engine that calls the servers in turn."""
        return _GivenServers(self)


class OwnServer:
    """Server of this worker, which ends with it. While one is started again, calls wait for it."""

    def __init__(self, source: ModelSource) -> None:
        self._source: Final = source
        self._lock: Final = threading.Lock()
        self._closing: Final = ExitStack()
        self._start()

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._server.pid

    def paint(self, pictures: PictureSet[PictureSource], controls: Controls) -> StylizedResult:
        """As `Engine.paint`."""
        with self._lock:
            client = self._client
        return client.stylize(**pictures.arguments(), controls=controls)

    def recover(self) -> bool:
        """As `Engine.recover`."""
        with self._lock:
            if self._server.running:
                return False
            self._server.stop()
            self._start()
            return True

    def close(self) -> None:
        """As `Engine.close`."""
        self._closing.close()
        self._server.stop()

    def _start(self) -> None:
        self._server = ServerProcess(self._source.base_path, options=_NO_POLLS)
        try:
            self._server.start()
        except ServerProcessError as error:
            raise ServerUnavailable(str(error), hint="See its output above.") from error
        connection = ConnectionSettings(server=self._server.address, retry=_NO_RETRIES)
        # The client of a server that ended stays open: another thread may be about to call it.
        self._client = self._closing.enter_context(StyleClient(settings=connection))
        try:
            _check(self._client, self._source.fingerprint)
        except BaseException:
            self.close()
            raise


class _GivenServers:
    """Clients of servers that run already."""

    def __init__(self, source: ServerSource) -> None:
        self._clients: Final[list[StyleClient]] = []
        self._closing: Final = ExitStack()
        for connection in source.connections:
            client = self._closing.enter_context(StyleClient(settings=connection))
            _check(client, source.fingerprint)
            self._clients.append(client)
        self._turns: Final = itertools.cycle(self._clients)

    def paint(self, pictures: PictureSet[PictureSource], controls: Controls) -> StylizedResult:
        return next(self._turns).stylize(**pictures.arguments(), controls=controls)

    def recover(self) -> bool:
        return False

    def close(self) -> None:
        self._closing.close()


def _check(client: StyleClient, fingerprint: str) -> None:
    if (found := _fingerprint(client)) != fingerprint:
        raise ModelNotFound(
            f"the model at {client.server} has the fingerprint {found}; this run paints with {fingerprint}",
            hint="All workers need the same model.",
        )


def _fingerprint(client: StyleClient) -> str:
    found = client.metadata(timeout_s=60.0).fingerprint
    if found is None:
        raise ModelNotFound(
            f"the model at {client.server} declares no fingerprint",
            hint="Export it again with this version of styleserve.",
        )
    return found
