"""Drivers of operations: one blocks, one is for event loops."""

from __future__ import annotations

import asyncio
import sys
import time
from concurrent.futures import Future, wait
from typing import Final, TypeVar

import grpc

from ..errors import ClientClosed
from .actions import Action, Call, Operation, Sleep
from .channel import Channel
from .settings import ConnectionSettings
from .signals import WAKE_S

_T = TypeVar("_T")

_GRACE_S: Final = 2.0
"""Wait after a call's deadline, which gRPC keeps, except in a child that was forked during a call."""
_EXIT_HINT: Final = "Make calls in functions of atexit, not in __del__."


class Connection:
    """A channel to a server whose calls block; safe to use from several threads.

    Args:
        settings: Settings of the connection. TLS files are read now; the first call connects.

    Raises:
        SettingsError: A TLS file cannot be used.
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        self._channel: Final = Channel(settings)

    def close(self) -> None:
        """Closes the channel and cancels all its calls; closing twice does nothing."""
        self._channel.close()

    def run(self, operation: Operation[_T]) -> _T:
        """Result of the operation."""
        try:
            action = next(operation)
            while True:
                try:
                    outcome = self._perform(action)
                except Exception as error:  # noqa: PERF203 - the operation handles it
                    action = operation.throw(error)
                else:
                    action = operation.send(outcome)
        except StopIteration as end:
            return end.value
        except ImportError as error:
            if sys.is_finalizing():  # no module can be imported
                raise ClientClosed("the interpreter exits", hint=_EXIT_HINT) from error
            raise
        finally:
            operation.close()

    def _perform(self, action: Action) -> object:
        if isinstance(action, Sleep):
            return time.sleep(action.seconds)
        if not isinstance(action, Call):
            return action.function()
        reply: Future[bytes] = Future()
        try:
            self._channel.send(action, reply)
            give_up_at = time.monotonic() + action.timeout_s + _GRACE_S
            while not wait([reply], WAKE_S).done:
                if time.monotonic() > give_up_at:
                    raise grpc.FutureTimeoutError
            return reply.result()
        finally:
            reply.cancel()  # after Ctrl-C, or an exception of another signal handler


class AsyncConnection:
    """A channel to a server whose calls are awaited, in any event loop.

    Args:
        settings: Settings of the connection. TLS files are read now; the first call connects.

    Raises:
        SettingsError: A TLS file cannot be used.
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        self._channel: Final = Channel(settings)

    async def close(self) -> None:
        """Closes the channel and cancels all its calls; closing twice does nothing."""
        self._channel.close()

    async def run(self, operation: Operation[_T]) -> _T:
        """Result of the operation."""
        try:
            action = next(operation)
            while True:
                try:
                    outcome = await self._perform(action)
                except Exception as error:  # noqa: PERF203 - the operation handles it
                    action = operation.throw(error)
                else:
                    action = operation.send(outcome)
        except StopIteration as end:
            return end.value
        except ImportError as error:
            if sys.is_finalizing():  # no module can be imported
                raise ClientClosed("the interpreter exits", hint=_EXIT_HINT) from error
            raise
        finally:
            operation.close()

    async def _perform(self, action: Action) -> object:
        if isinstance(action, Sleep):
            return await asyncio.sleep(action.seconds)
        if not isinstance(action, Call):
            try:
                finished = asyncio.get_running_loop().run_in_executor(None, action.function)
            except RuntimeError:  # at interpreter exit, where no thread starts
                return action.function()
            return await finished
        reply: Future[bytes] = Future()
        try:
            self._channel.send(action, reply)
            return await asyncio.wait_for(asyncio.wrap_future(reply), action.timeout_s + _GRACE_S)
        except asyncio.TimeoutError as error:
            raise grpc.FutureTimeoutError from error
        finally:
            reply.cancel()  # the task was cancelled
