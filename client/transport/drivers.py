"""The two drivers of flows: one blocks, the other awaits."""

from __future__ import annotations

import asyncio
import sys
import time
from concurrent.futures import Future, wait
from typing import Final, TypeVar

import grpc

from ..errors import ClientClosed
from .channel import Transport
from .effects import Action, Call, Flow, Sleep
from .settings import ConnectionSettings
from .signals import WAKE_S

_T = TypeVar("_T")

_GRACE_S: Final = 2.0
"""Wait after a call's deadline, which gRPC itself keeps, except in a child that was forked at a bad moment."""
_EXIT_HINT: Final = "Make calls in functions of atexit, not in __del__."


class Connection:
    """A channel to a server whose calls block; safe to use from several threads.

    Args:
        settings: of the server; its files are read now, a connection is made at the first call.

    Raises:
        SettingsError: a file of TLS cannot be used.
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        self._transport: Final = Transport(settings)

    def close(self) -> None:
        """Closes the channel and cancels all its calls; closing twice does nothing."""
        self._transport.close()

    def run(self, flow: Flow[_T]) -> _T:
        """What the flow returns."""
        try:
            action = next(flow)
            while True:
                try:
                    outcome = self._perform(action)
                except Exception as error:  # noqa: PERF203 - it is the flow's to handle
                    action = flow.throw(error)
                else:
                    action = flow.send(outcome)
        except StopIteration as end:
            return end.value
        except ImportError as error:
            if sys.is_finalizing():  # modules cannot be imported any more
                raise ClientClosed("the interpreter exits", hint=_EXIT_HINT) from error
            raise
        finally:
            flow.close()

    def _perform(self, action: Action) -> object:
        if isinstance(action, Sleep):
            return time.sleep(action.seconds)
        if not isinstance(action, Call):
            return action.function()
        reply: Future[bytes] = Future()
        try:
            self._transport.send(action, reply)
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
        settings: of the server; its files are read now, a connection is made at the first call.

    Raises:
        SettingsError: a file of TLS cannot be used.
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        self._transport: Final = Transport(settings)

    async def close(self) -> None:
        """Closes the channel and cancels all its calls; closing twice does nothing."""
        self._transport.close()

    async def run(self, flow: Flow[_T]) -> _T:
        """What the flow returns."""
        try:
            action = next(flow)
            while True:
                try:
                    outcome = await self._perform(action)
                except Exception as error:  # noqa: PERF203 - it is the flow's to handle
                    action = flow.throw(error)
                else:
                    action = flow.send(outcome)
        except StopIteration as end:
            return end.value
        except ImportError as error:
            if sys.is_finalizing():  # modules cannot be imported any more
                raise ClientClosed("the interpreter exits", hint=_EXIT_HINT) from error
            raise
        finally:
            flow.close()

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
            self._transport.send(action, reply)
            return await asyncio.wait_for(asyncio.wrap_future(reply), action.timeout_s + _GRACE_S)
        except asyncio.TimeoutError as error:
            raise grpc.FutureTimeoutError from error
        finally:
            reply.cancel()  # the task was cancelled
