"""A TCP proxy with the throughput and the delay of a slow link."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Final, TypeVar

_T = TypeVar("_T")

_READ_BYTES: Final = 16_384


class ThrottledLink:
    """Proxy on a free port of loopback; throttles each direction independently.

    Args:
        port: Port of the server on loopback.
        mbit_s: Throughput each way, in Mbit/s.
        delay_ms: Delay each way, in milliseconds.
    """

    def __init__(self, port: int, *, mbit_s: float, delay_ms: float) -> None:
        self._target: Final = port
        self._byte_s: Final = 8e-6 / mbit_s
        self._delay_s: Final = delay_ms / 1000
        self._loop: Final = asyncio.new_event_loop()
        self._thread: Final = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.moved_bytes = 0

    def __enter__(self) -> ThrottledLink:
        self._thread.start()
        self._server = self._result(asyncio.start_server(self._connect, "127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._result(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _result(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _end(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            with contextlib.suppress(asyncio.CancelledError):  # of `_end`; asyncio would report it
                await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))
        finally:
            for each in (writer, far_writer):
                each.close()
                with contextlib.suppress(OSError):
                    await each.wait_closed()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forwards data; each piece arrives after the pieces before it, its time on the link, and the delay."""
        arriving: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        delivery = asyncio.create_task(self._deliver(arriving, writer))
        free_s = 0.0
        with contextlib.suppress(OSError):
            while data := await reader.read(_READ_BYTES):
                self.moved_bytes += len(data)
                free_s = max(free_s, time.monotonic()) + len(data) * self._byte_s
                arriving.put_nowait((free_s + self._delay_s, data))
        arriving.put_nowait((free_s + self._delay_s, b""))
        await delivery

    @staticmethod
    async def _deliver(arriving: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while True:
                at_s, data = await arriving.get()
                await asyncio.sleep(max(0.0, at_s - time.monotonic()))
                if not data:
                    writer.write_eof()
                    return
                writer.write(data)
                await writer.drain()
