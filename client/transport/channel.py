"""The gRPC channel of a client: it begins calls, also in a forked child, at interpreter exit and in any event loop."""

from __future__ import annotations

import contextlib
import sys
import threading
from concurrent.futures import Future, InvalidStateError
from typing import Final

import grpc

from ..errors import ClientClosed
from .actions import Call
from .channel_arguments import channel_arguments
from .forking import PerProcess
from .settings import ConnectionSettings


class Channel:
    """A channel to a server; safe to use from several threads.

    `grpc.aio` is not used: its threads do not survive a fork, and its channels are bound to one event loop.

    Args:
        settings: Server, TLS and channel options. TLS files are read now; the first call connects.

    Raises:
        SettingsError: A TLS file cannot be used.
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        self._server: Final = settings.server
        self._channel: Final = PerProcess(channel_arguments(settings).open)
        self._closed = False

    def close(self) -> None:
        """Closes the channel and cancels all its calls; closing twice does nothing."""
        if not self._closed:
            self._closed = True
            self._channel.get().close()

    def send(self, call: Call, reply: Future[bytes]) -> None:
        """Begins a call.

        A thread of its own begins it, because a KeyboardInterrupt, which Python raises in the main thread alone, would
        leave a half-begun call in gRPC, and closing the channel would wait for that call forever.

        Args:
            call: Method, request, deadline and metadata.
            reply: Receives the reply or the failure. Cancelling it cancels the call.
        """
        thread = threading.Thread(target=self._begin, args=(call, reply), name="styleserve-call", daemon=True)
        # While the interpreter exits no thread starts. gRPC's blocking call needs none.
        if sys.is_finalizing():
            self._block(call, reply)
            return
        try:
            thread.start()
        except RuntimeError:
            self._block(call, reply)

    def _begin(self, call: Call, reply: Future[bytes]) -> None:
        def settle(outgoing: grpc.Future[bytes]) -> None:
            with contextlib.suppress(InvalidStateError):  # cancelled
                try:
                    reply.set_result(outgoing.result())
                except Exception as error:
                    reply.set_exception(self._failure(error))

        try:
            outgoing = self._method(call).future(call.request, timeout=call.timeout_s, metadata=call.metadata)
        except Exception as error:
            with contextlib.suppress(InvalidStateError):
                reply.set_exception(self._failure(error))
        else:
            reply.add_done_callback(lambda reply: outgoing.cancel() if reply.cancelled() else None)
            outgoing.add_done_callback(settle)

    def _block(self, call: Call, reply: Future[bytes]) -> None:
        try:
            reply.set_result(self._method(call)(call.request, timeout=call.timeout_s, metadata=call.metadata))
        except Exception as error:
            reply.set_exception(self._failure(error))

    def _method(self, call: Call) -> grpc.UnaryUnaryMultiCallable[bytes, bytes]:
        if self._closed:
            raise ValueError("closed")
        return self._channel.get().unary_unary(call.method)

    def _failure(self, error: Exception) -> Exception:
        """The error itself, or `ClientClosed` where the channel was closed before or during the call."""
        if sys.is_finalizing() and isinstance(error, ValueError):  # the garbage collector may close the channel first
            message = f"the interpreter exits, and the client of {self._server} is closed"
        elif not self._closed:
            return error
        elif isinstance(error, ValueError):  # of gRPC, for a call that begins on a closed channel
            message = f"the client of {self._server} is closed"
        elif isinstance(error, grpc.RpcError) and error.code() is grpc.StatusCode.CANCELLED:
            message = f"the client of {self._server} was closed during the call"
        else:
            return error
        closed = ClientClosed(message, hint="Make a new client, and close it after its last call.")
        closed.__cause__ = error
        return closed
