"""The two drivers of flows: a channel that blocks, and one of an event loop."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import grpc

from .channel import ChannelArguments, channel_arguments
from .flow import Action, Call, Flow, Sleep
from .settings import ConnectionSettings

_T = TypeVar("_T")


class Connection:
    """A channel to a server whose calls block; safe to use from several threads.

    Args:
        settings: of the server; its files are read now, a connection is made at the first call.

    Raises:
        SettingsError: a file of TLS cannot be used.
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        made_of = channel_arguments(settings)
        if made_of.credentials is None:
            self._channel = grpc.insecure_channel(made_of.target, made_of.options, made_of.compression)
        else:
            self._channel = grpc.secure_channel(
                made_of.target, made_of.credentials, made_of.options, made_of.compression
            )

        # Python raises KeyboardInterrupt in the main thread alone. In the midst of gRPC's own beginning of a call it
        # would leave a call that nobody attends to, for whose end the channel then waits for ever when it is closed.
        self._beginner: Final = ThreadPoolExecutor(1, thread_name_prefix="styleserve-client")

    def close(self) -> None:
        """Ends the channel, and with it all calls."""
        self._beginner.shutdown()
        self._channel.close()

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
        finally:
            flow.close()

    def _perform(self, action: Action) -> object:
        if isinstance(action, Sleep):
            return time.sleep(action.seconds)
        if not isinstance(action, Call):
            return action.function()
        method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(action.method)
        begun = self._beginner.submit(method.future, action.request, timeout=action.timeout_s, metadata=action.metadata)
        try:
            return begun.result().result()
        except (KeyboardInterrupt, SystemExit):  # tell the server, rather than let it work for nobody
            begun.add_done_callback(lambda call: call.result().cancel())
            raise


class AsyncConnection:
    """The same for an event loop: the one in which the first call is made.

    Args:
        settings: of the server; its files are read now, a connection is made at the first call.

    Raises:
        SettingsError: a file of TLS cannot be used.
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        self._made_of: Final[ChannelArguments] = channel_arguments(settings)
        self._channel: grpc.aio.Channel | None = None

    async def close(self) -> None:
        """Ends the channel, and with it all calls."""
        if self._channel is not None:
            await self._channel.close()

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
        finally:
            flow.close()

    async def _perform(self, action: Action) -> object:
        if isinstance(action, Sleep):
            return await asyncio.sleep(action.seconds)
        if not isinstance(action, Call):
            return await asyncio.to_thread(action.function)
        # A call whose task is cancelled is cancelled on the server by gRPC itself.
        method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._opened().unary_unary(action.method)
        return await method(action.request, timeout=action.timeout_s, metadata=action.metadata)

    def _opened(self) -> grpc.aio.Channel:
        """The channel, which belongs to the loop it is made in."""
        if self._channel is None:
            made_of = self._made_of
            if made_of.credentials is None:
                self._channel = grpc.aio.insecure_channel(made_of.target, made_of.options, made_of.compression)
            else:
                self._channel = grpc.aio.secure_channel(
                    made_of.target, made_of.credentials, made_of.options, made_of.compression
                )
        return self._channel
