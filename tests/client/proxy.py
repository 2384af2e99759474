"""A TCP proxy that does to a connection what networks do: cut it, slow it down, go silent, refuse."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType

_CHUNK_BYTES = 65536


class Proxy:
    """Listens on a port of its own on loopback and passes everything on, in a thread for each direction.

    Faults are armed with its methods, and hold for what comes after; several threads may do so.

    Args:
        port: Port of the server on loopback. The server may start later.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._changing = threading.Lock()
        self._open: set[socket.socket] = set()
        self._cut_after: int | None = None
        self._silent_until_s = 0.0
        self._slowness = 1.0
        self._refusing = False
        self._closed = False
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def cut_after(self, reply_bytes: int) -> None:
        """Cuts the connection that carries the next so many bytes of replies, in the middle of them."""
        with self._changing:
            self._cut_after = reply_bytes

    def go_silent(self, seconds: float) -> None:
        """Passes nothing on for a while; what comes is kept."""
        self._silent_until_s = time.monotonic() + seconds

    def slow_down(self, factor: float) -> None:
        """Replies take so many times the time that the server took."""
        self._slowness = factor

    def refuse(self, refusing: bool = True) -> None:
        """Closes connections, and refuses new ones, until called with False."""
        self._refusing = refusing
        if refusing:
            self._drop_all()

    def close(self) -> None:
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()
        self._drop_all()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                if self._refusing:
                    raise ConnectionRefusedError
                far = socket.create_connection(self._target)
            except OSError:
                near.close()
                continue
            with self._changing:
                self._open |= {near, far}
            asked = _LastAsked()
            threading.Thread(target=self._pass_on, args=(near, far, asked, False), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(far, near, asked, True), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, asked: _LastAsked, is_reply: bool) -> None:
        with contextlib.suppress(OSError):
            began_s = time.monotonic()
            while data := source.recv(_CHUNK_BYTES):
                time.sleep(max(0.0, self._silent_until_s - time.monotonic()))
                if is_reply:
                    # The other direction may have moved on since.
                    took_s = max(0.0, time.monotonic() - max(began_s, asked.at_s))
                    time.sleep((self._slowness - 1) * took_s)
                    data, cut = self._cut(data)
                    sink.sendall(data)
                    if cut:
                        break
                else:
                    asked.at_s = time.monotonic()
                    sink.sendall(data)
                began_s = time.monotonic()
        self._drop(source, sink)

    def _cut(self, data: bytes) -> tuple[bytes, bool]:
        with self._changing:
            if self._cut_after is None:
                return data, False
            if len(data) < self._cut_after:
                self._cut_after -= len(data)
                return data, False
            data, self._cut_after = data[: self._cut_after], None
            self.cuts += 1
            return data, True

    def _drop_all(self) -> None:
        with self._changing:
            connections = list(self._open)
        self._drop(*connections)

    def _drop(self, *connections: socket.socket) -> None:
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads from it
            connection.close()
        with self._changing:
            self._open -= set(connections)


class _LastAsked:
    def __init__(self) -> None:
        self.at_s = time.monotonic()
