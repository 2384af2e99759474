"""The client for event loops: the same operations, behind another driver."""

from __future__ import annotations

import asyncio
import inspect
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest

from styleserve.client import (
    AsyncStyleClient,
    BadReply,
    ControlError,
    Controls,
    DeadlineExceeded,
    ImageError,
    ModelNotReady,
    Overloaded,
    ServerUnavailable,
    StyleClient,
)


def test_both_clients_offer_the_same() -> None:
    def calls(client: type[Any]) -> dict[str, inspect.Signature]:
        return {
            name: inspect.signature(value)
            for name, value in vars(client).items()
            if callable(value) and not name.startswith("_") and name != "close"
        }

    blocking, awaited = calls(StyleClient), calls(AsyncStyleClient)
    assert {name: list(each.parameters.values()) for name, each in blocking.items()} == {
        name: list(each.parameters.values()) for name, each in awaited.items()
    }
    names = ("stylize", "stylize_iter", "describe", "report", "load_picture", "status", "metadata", "wait_until_ready")
    assert tuple(blocking) == names
    for name in names:
        is_iteration = name == "stylize_iter"
        returned = blocking[name].return_annotation
        assert awaited[name].return_annotation == ("AsyncGenerator[Progress]" if is_iteration else returned)
        assert inspect.iscoroutinefunction(getattr(AsyncStyleClient, name)) != is_iteration
        assert f"`StyleClient.{name}`" in getattr(AsyncStyleClient, name).__doc__


def test_every_operation(stub: Any, content: Path, style: Path) -> None:
    async def use() -> None:
        async with AsyncStyleClient(stub.address) as client:
            assert (await client.wait_until_ready(10)).available
            assert (await client.status())[0].version == 42
            assert (await client.metadata()).model_version == 42
            result = await client.stylize(content, style, Controls(steps=3))
            assert result.losses.shape == (3, 5)
            assert (await client.describe(content)).total_variation == 12.5
            assert (await client.report(content, style, result)).width == 1400

    asyncio.run(use())


def test_both_clients_send_the_same(stub: Any, content: Path, style: Path) -> None:
    async def use() -> bytes:
        async with AsyncStyleClient(stub.address, model_name="m", version=3) as client:
            return (await client.stylize(content, style, Controls(steps=3, max_side=32))).image_bytes

    with StyleClient(stub.address, model_name="m", version=3) as client:
        blocking = client.stylize(content, style, Controls(steps=3, max_side=32)).image_bytes
    assert asyncio.run(use()) == blocking
    assert stub.requests[0] == stub.requests[1]


def test_calls_of_one_loop_run_side_by_side(stub: Any, content: Path) -> None:
    """Three calls are in the server at once, or the barrier breaks."""
    together = threading.Barrier(3, timeout=20)
    good = stub.predict

    def predict(request: Any) -> Any:
        together.wait()
        return good(request)

    async def use() -> list[int]:
        async with AsyncStyleClient(stub.address) as client:
            results = await asyncio.gather(
                *(client.stylize(content, content, Controls(steps=steps)) for steps in (1, 2, 3))
            )
        return [result.steps for result in results]

    stub.predict = predict
    assert asyncio.run(use()) == [1, 2, 3]


def test_a_task_that_is_cancelled_cancels_its_call(stub: Any, content: Path) -> None:
    arrived, cancelled = threading.Event(), threading.Event()

    def hang(_: Any, context: grpc.ServicerContext) -> Any:
        context.add_callback(cancelled.set)
        arrived.set()
        cancelled.wait(30)

    async def use() -> None:
        async with AsyncStyleClient(stub.address) as client:
            task = asyncio.create_task(client.stylize(content, content))
            assert await asyncio.to_thread(arrived.wait, 20)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(cancelled.wait, 20)

    stub.predict_in_context = hang
    asyncio.run(use())


def test_what_goes_wrong_is_the_same(stub: Any, refusal: Any, content: Path) -> None:
    async def use() -> None:
        async with AsyncStyleClient("127.0.0.1:1") as unreachable:
            with pytest.raises(ServerUnavailable, match="after 4 tries"):
                await unreachable.status()
            with pytest.raises(ModelNotReady, match="no server answers"):
                await unreachable.wait_until_ready(0.3)
        async with AsyncStyleClient(stub.address) as client:
            with pytest.raises(ControlError, match="steps is -1"):
                await client.stylize(content, content, Controls(steps=-1))
            with pytest.raises(ImageError, match="the style is not a picture"):
                await client.stylize(content, b"no picture")
            stub.predict = refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
            with pytest.raises(Overloaded) as caught:
                await client.stylize(content, content, Controls(steps=9, max_side=32))
            assert (caught.value.status, caught.value.tries) == ("RESOURCE_EXHAUSTED", 4)
            stub.predict = lambda _: b"\x0a\xff\xff\xff"  # pyright: ignore
            with pytest.raises(BadReply, match="damaged"):
                await client.stylize(content, content, request_id="abc")
            stub.predict = lambda _: threading.Event().wait(1)  # pyright: ignore
            with pytest.raises(DeadlineExceeded, match=r"within 0\.(2|1\d+) s"):
                await client.stylize(content, content, timeout_s=0.2)

    asyncio.run(use())
