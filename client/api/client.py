"""The client, blocking and for event loops: what is in `operations` and `questions`, behind a driver."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from dataclasses import replace
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, Final, Generic, ParamSpec, TypeVar

from ..transport.call import Caller
from ..transport.drivers import AsyncConnection, Connection
from ..transport.effects import Flow
from ..transport.settings import ConnectionSettings
from ..wire.requests import Target
from .chunked_run import Run
from .operations import Operations
from .progress import Progress

_P = ParamSpec("_P")
_T = TypeVar("_T")
_C = TypeVar("_C", Connection, AsyncConnection)


class _Client(Generic[_C]):
    """What both clients are made of."""

    def __init__(
        self,
        server: str | None = None,
        *,
        model_name: str | None = None,
        version: int | None = None,
        version_label: str | None = None,
        settings: ConnectionSettings | None = None,
    ) -> None:
        """A client that has made no connection yet.

        Args:
            server: `host`, `host:port`, or any other gRPC target; if None, that of `settings`.
            model_name: under which the server has the model; if None, that of `settings`.
            version: of the model; the newest one if neither this nor `version_label` is given.
            version_label: in place of a number, as in "stable".
            settings: how to reach the server: TLS, a token, retries and so on.

        Raises:
            ValueError: both `version` and `version_label` are given.
            SettingsError: the settings cannot be used, or not with this server.
            ServerUnavailable: `server` is no address.
        """
        given = {name: value for name, value in (("server", server), ("model_name", model_name)) if value is not None}
        self.settings: Final = replace(settings or ConnectionSettings(), **given)
        self._operations: Final = Operations(
            Caller(self.settings), Target(self.settings.model_name, version, version_label)
        )
        self._connection: Final = self._connect()

    @property
    def server(self) -> str:
        """Where the requests go."""
        return self.settings.server

    @property
    def model_name(self) -> str:
        """Under which the server has the model."""
        return self.settings.model_name

    @property
    def version(self) -> str | int | None:
        """Which version of the model is asked, by number or by label; None is the newest."""
        target = self._operations.target
        return target.version if target.version_label is None else target.version_label

    def _connect(self) -> _C:
        raise NotImplementedError


def _documented(method: Callable[..., object], operation: Callable[..., object], returned: str = "") -> None:
    """Lets `help` tell what comes of the operation, and not of the flow."""
    signature = inspect.signature(operation)
    returned = returned or str(signature.return_annotation).removeprefix("Flow[").removesuffix("]")
    method.__signature__ = signature.replace(return_annotation=returned)  # pyright: ignore[reportFunctionMemberAccess]
    method.__annotations__ = {**operation.__annotations__, "return": returned}


def _blocking(operation: Callable[Concatenate[Operations, _P], Flow[_T]]) -> Callable[Concatenate[StyleClient, _P], _T]:
    @wraps(operation)
    def method(self: StyleClient, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return self._connection.run(operation(self._operations, *args, **kwargs))  # pyright: ignore[reportPrivateUsage]

    _documented(method, operation)
    return method


def _awaiting(
    operation: Callable[Concatenate[Operations, _P], Flow[_T]],
) -> Callable[Concatenate[AsyncStyleClient, _P], Coroutine[Any, Any, _T]]:
    @wraps(operation)
    async def method(self: AsyncStyleClient, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return await self._connection.run(operation(self._operations, *args, **kwargs))  # pyright: ignore[reportPrivateUsage]

    _documented(method, operation)
    return method


def _iterating(
    operation: Callable[Concatenate[Operations, _P], Run],
) -> Callable[Concatenate[StyleClient, _P], Generator[Progress, None, None]]:
    @wraps(operation)
    def method(self: StyleClient, /, *args: _P.args, **kwargs: _P.kwargs) -> Generator[Progress, None, None]:
        run = operation(self._operations, *args, **kwargs)  # pyright: ignore[reportPrivateUsage]
        return chunks(self._connection, run)  # pyright: ignore[reportPrivateUsage]

    def chunks(connection: Connection, run: Run) -> Generator[Progress, None, None]:
        while not run.done:
            yield connection.run(run.advance())

    _documented(method, operation, "Generator[Progress]")
    return method


def _async_iterating(
    operation: Callable[Concatenate[Operations, _P], Run],
) -> Callable[Concatenate[AsyncStyleClient, _P], AsyncGenerator[Progress, None]]:
    @wraps(operation)
    def method(self: AsyncStyleClient, /, *args: _P.args, **kwargs: _P.kwargs) -> AsyncGenerator[Progress, None]:
        run = operation(self._operations, *args, **kwargs)  # pyright: ignore[reportPrivateUsage]
        return chunks(self._connection, run)  # pyright: ignore[reportPrivateUsage]

    async def chunks(connection: AsyncConnection, run: Run) -> AsyncGenerator[Progress, None]:
        while not run.done:
            yield await connection.run(run.advance())

    _documented(method, operation, "AsyncGenerator[Progress]")
    return method


class StyleClient(_Client[Connection]):
    """A client of one model on one server, whose calls block; safe to use from several threads.

    To be closed, or used as a context manager::

        with StyleClient("127.0.0.1:8500") as client:
            client.stylize("photo.jpg", "painting.jpg").save("result.png")
    """

    stylize = _blocking(Operations.stylize)
    stylize_iter = _iterating(Operations.stylize_iter)
    describe = _blocking(Operations.describe)
    report = _blocking(Operations.report)
    status = _blocking(Operations.status)
    metadata = _blocking(Operations.metadata)
    wait_until_ready = _blocking(Operations.wait_until_ready)

    def __enter__(self) -> StyleClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection, and with it all calls."""
        self._connection.close()

    def _connect(self) -> Connection:
        return Connection(self.settings)


class AsyncStyleClient(_Client[AsyncConnection]):
    """The same to be awaited, in one event loop or in several, one after another or at once.

    To be closed, or used as a context manager::

        async with AsyncStyleClient("127.0.0.1:8500") as client:
            (await client.stylize("photo.jpg", "painting.jpg")).save("result.png")

    A task that is cancelled cancels its call on the server.
    """

    stylize = _awaiting(Operations.stylize)
    stylize_iter = _async_iterating(Operations.stylize_iter)
    describe = _awaiting(Operations.describe)
    report = _awaiting(Operations.report)
    status = _awaiting(Operations.status)
    metadata = _awaiting(Operations.metadata)
    wait_until_ready = _awaiting(Operations.wait_until_ready)

    async def __aenter__(self) -> AsyncStyleClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection, and with it all calls."""
        await self._connection.close()

    def _connect(self) -> AsyncConnection:
        return AsyncConnection(self.settings)
