"""The client in forked children, at interpreter exit, after `close` and in several event loops."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from styleserve.client import AsyncStyleClient, ClientClosed, Controls, StyleClient, StyleServeError

START = """
import asyncio, atexit, multiprocessing, os, sys, threading, time
from styleserve.client import AsyncStyleClient, Controls, StyleClient, StyleServeError

server = sys.argv[1]
client, aclient = StyleClient(server), AsyncStyleClient(server)

def show(name, call, sys=sys, StyleServeError=StyleServeError):
    try:
        outcome = call()
    except StyleServeError as error:
        outcome = type(error).__name__
    sys.stdout.write(f"{name} {outcome}\\n")  # one write, so that threads do not mix
    sys.stdout.flush()

def ask(): return client.status(timeout_s=5)[0].version
def ask_async(): return asyncio.run(aclient.status(timeout_s=5))[0].version

def forked(run):
    pid = os.fork()
    if pid == 0:
        run()
        sys.exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
"""


FORKS_WITH_THREADS = "ignore:This process:DeprecationWarning"
"""Warning of Python 3.12 and later: gRPC has threads."""


def script(text: str, address: str, **environment: str) -> subprocess.Popen[str]:
    """The text as a program of its own, with two clients of the server."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-W", FORKS_WITH_THREADS, "-c", START + textwrap.dedent(text), address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def output(text: str, address: str, **environment: str) -> list[str]:
    """The lines that the program prints; it must end by itself, without a trace of an error."""
    with script(text, address, **environment) as process:
        try:
            stdout, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, "Traceback" in stderr) == (0, False), stderr
    return stdout.splitlines()


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@forks
def test_a_child_makes_calls_and_so_does_its_parent(stub: Any) -> None:
    text = """
    show("parent", ask)
    def child():
        show("child", ask)
        forked(lambda: show("grandchild", ask))
        show("child again", ask)
    forked(child)
    show("parent again", ask)
    """
    expected = ["parent 42", "child 42", "grandchild 42", "child again 42", "parent again 42"]
    assert output(text, stub.address) == expected


@forks
def test_a_client_that_is_first_used_after_the_fork(stub: Any) -> None:
    assert output("forked(lambda: show('child', ask))\nshow('parent', ask)", stub.address) == ["child 42", "parent 42"]


@forks
def test_a_child_with_an_event_loop(stub: Any) -> None:
    text = """
    show("parent", ask_async)
    forked(lambda: show("child", ask_async))
    show("parent again", ask_async)
    """
    assert output(text, stub.address) == ["parent 42", "child 42", "parent again 42"]


@forks
def test_a_fork_beside_calls_of_other_threads(stub: Any) -> None:
    """Locks that the other threads may hold, of the retry budget for one, are no concern of the child."""
    released, waiting, good = threading.Event(), threading.Semaphore(0), stub.status

    def status(request: Any) -> Any:
        if request.model_spec.name == "slow":
            waiting.release()
            released.wait(30)
        return good(request)

    stub.status = status
    text = """
    client.status()
    slow = StyleClient(server, model_name="slow")
    def call(): show("slow", lambda: slow.status(timeout_s=30)[0].version)
    threads = [threading.Thread(target=call) for _ in range(3)]
    [thread.start() for thread in threads]
    sys.stdin.readline()
    forked(lambda: (show("child", ask), show("child async", ask_async)))
    print("end", flush=True)
    [thread.join() for thread in threads]
    show("parent", ask)
    """
    with script(text, stub.address) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert all(waiting.acquire(timeout=20) for _ in range(3))
            process.stdin.write("\n")
            process.stdin.flush()
            assert [process.stdout.readline() for _ in range(3)] == ["child 42\n", "child async 42\n", "end\n"]
            released.set()
            assert sorted(process.stdout.read().splitlines()) == ["parent 42", "slow 42", "slow 42", "slow 42"]
            assert process.wait(20) == 0
        finally:
            released.set()
            process.kill()


@forks
def test_a_child_keeps_its_deadlines(stub: Any) -> None:
    good, released = stub.status, threading.Event()
    stub.status = lambda request: (released.wait(20 * (request.model_spec.name == "slow")), good(request))[1]  # pyright: ignore
    text = """
    slow = StyleClient(server, model_name="slow")
    def late(): return slow.status(timeout_s=0.2)
    show("parent", late)
    forked(lambda: (show("child", late), show("child again", ask)))
    """
    expected = ["parent DeadlineExceeded", "child DeadlineExceeded", "child again 42"]
    assert output(text, stub.address) == expected
    released.set()


@forks
def test_a_child_in_which_grpc_does_not_work_keeps_its_deadlines(stub: Any) -> None:
    """The pause is for gRPC's threads: of a lock that they hold during the fork, gRPC waits for ever, with the GIL."""
    text = """
    ask()
    time.sleep(0.3)
    def late():
        try:
            client.status(timeout_s=0.2)
        except StyleServeError as error:
            print(type(error).__name__, error.hint, flush=True)
        os._exit(7)
    forked(late)
    """
    (line,) = output(text, stub.address, GRPC_ENABLE_FORK_SUPPORT="0")
    assert line.startswith("DeadlineExceeded gRPC may not work in this forked process: do not set GRPC_ENABLE_FORK")


@forks
def test_a_pool_of_forked_workers(stub: Any) -> None:
    text = """
    def work(_): return ask()
    ask()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(pool.map(work, range(4)))
    """
    assert output(text, stub.address) == ["[42, 42, 42, 42]"]


@forks
def test_an_iteration_continues_in_a_child(stub: Any, content: Path) -> None:
    text = f"""
    path, controls = {str(content)!r}, Controls(steps=8, max_side=64)
    chunks = client.stylize_iter(path, path, controls, chunk_steps=3)
    print(next(chunks).steps_done, flush=True)
    forked(lambda: print("child", [each.steps_done for each in chunks][-1], flush=True))
    print("parent", [each.steps_done for each in chunks][-1], flush=True)
    """
    first, *rest = output(text, stub.address)
    assert int(first) < 8
    assert rest == ["child 8", "parent 8"]


@forks
def test_children_draw_their_own_pauses(stub: Any) -> None:
    """Workers with one generator would all retry at the same moments."""
    text = """
    def draw(): return client._operations.rpc._random.get().random()
    forked(lambda: print(draw(), flush=True))
    forked(lambda: print(draw(), flush=True))
    print(draw())
    """
    assert len(set(output(text, stub.address))) == 3


def test_calls_while_the_interpreter_exits(stub: Any) -> None:
    text = """
    show("first", ask)
    show("first async", ask_async)
    atexit.register(lambda: show("atexit", ask))
    atexit.register(lambda: show("atexit async", ask_async))
    class Last:
        def __init__(self, client): self.client = client
        def __del__(self, show=show): show("teardown", lambda: self.client.status()[0].version)
    last = Last(client)
    def later():
        time.sleep(0.2)
        show("thread", ask)
    threading.Thread(target=later).start()
    """
    *before, last = output(text, stub.address)
    assert before == ["first 42", "first async 42", "thread 42", "atexit async 42", "atexit 42"]
    # The garbage collector ends the client's channel before or after it calls `__del__`.
    assert last in ("teardown 42", "teardown ClientClosed")


def test_painting_at_teardown_ends_with_a_picture_or_a_typed_error(stub: Any, content: Path) -> None:
    """Modules that are imported at first use, such as plugins of Pillow, cannot be imported any more."""
    text = f"""
    path = {str(content)!r}
    class Last:
        def __init__(self, client): self.client = client
        def __del__(self, show=show, path=path):
            show("teardown", lambda: self.client.stylize(path, path, Controls(steps=3)).steps)
    last = Last(client)
    """
    (line,) = output(text, stub.address)
    assert line in ("teardown 3", "teardown ClientClosed", "teardown ImageError")


def test_a_daemon_thread_that_calls_does_not_disturb_the_exit(stub: Any) -> None:
    text = """
    def always():
        while True: ask()
    ask()
    threading.Thread(target=always, daemon=True).start()
    atexit.register(lambda: show("atexit", ask))
    """
    assert output(text, stub.address) == ["atexit 42"]


def test_pictures_are_painted_at_exit(stub: Any, content: Path) -> None:
    """The event loop's worker threads, which read pictures, have ended by then."""
    text = f"""
    path = {str(content)!r}
    atexit.register(lambda: print(asyncio.run(aclient.stylize(path, path, Controls(steps=3))).steps))
    """
    assert output(text, stub.address) == ["3"]


def test_a_call_after_close(stub: Any, content: Path) -> None:
    client = StyleClient(stub.address)
    begun, unbegun = (client.stylize_iter(content, content, Controls(steps=50), chunk_steps=8) for _ in range(2))
    assert next(begun).steps_done < 50
    client.close()
    client.close()
    calls: list[Callable[[], object]] = [
        client.status,
        client.wait_until_ready,
        lambda: client.stylize(content, content),
        lambda: next(begun),
        lambda: next(unbegun),
    ]
    for call in calls:
        with pytest.raises(ClientClosed, match=r"^the client of 127\.0\.0\.1:\d+ is closed\nMake a new client"):
            call()
    with StyleClient(stub.address) as client:
        client.close()


def test_an_awaited_call_after_close(stub: Any, content: Path) -> None:
    async def use() -> None:
        client = AsyncStyleClient(stub.address)
        chunks = client.stylize_iter(content, content, Controls(steps=50), chunk_steps=8)
        await anext(chunks)
        await client.close()
        await client.close()
        for call in (client.status, client.wait_until_ready, lambda: anext(chunks)):
            with pytest.raises(ClientClosed, match="is closed\nMake a new client"):
                await call()

    asyncio.run(use())


@contextmanager
def call_under_way(stub: Any) -> Generator[threading.Event]:
    """The server's next call hangs; the event says that it has arrived."""
    arrived, released = threading.Event(), threading.Event()

    def hang(_: Any) -> Any:
        arrived.set()
        released.wait(20)

    stub.status = hang
    yield arrived
    released.set()


def test_close_ends_a_call(stub: Any) -> None:
    client, ended = StyleClient(stub.address), list[BaseException]()

    def call() -> None:
        try:
            client.status(timeout_s=30)
        except StyleServeError as error:
            ended.append(error)

    with call_under_way(stub) as arrived:
        thread = threading.Thread(target=call)
        thread.start()
        assert arrived.wait(20)
        client.close()
        thread.join(20)
    assert isinstance(ended[0], ClientClosed)
    assert "was closed during the call" in str(ended[0])


def test_close_ends_an_awaited_call(stub: Any) -> None:
    async def use(arrived: threading.Event) -> None:
        client = AsyncStyleClient(stub.address)
        call = asyncio.create_task(client.status(timeout_s=30))
        assert await asyncio.to_thread(arrived.wait, 20)
        await client.close()
        with pytest.raises(ClientClosed, match="was closed during the call"):
            await call

    with call_under_way(stub) as arrived:
        asyncio.run(use(arrived))


def test_one_client_in_several_event_loops(stub: Any) -> None:
    client, versions = AsyncStyleClient(stub.address), list[int]()

    async def ask() -> None:
        versions.append((await client.status())[0].version)

    asyncio.run(ask())
    asyncio.run(ask())
    threads = [threading.Thread(target=lambda: asyncio.run(ask())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    asyncio.run(client.close())
    gc.collect()
    assert versions == [42] * 5


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers")
def test_an_exception_of_a_signal_handler_cancels_the_call(stub: Any) -> None:
    """As Celery's soft time limit does."""

    class SoftTimeLimit(Exception):  # noqa: N818 - named as Celery's
        pass

    def stop(*_: object) -> None:
        raise SoftTimeLimit

    arrived, cancelled = threading.Event(), threading.Event()

    def hang(_: Any, context: Any) -> Any:
        context.add_callback(cancelled.set)
        arrived.set()
        cancelled.wait(20)

    stub.predict_in_context = hang
    before = signal.signal(signal.SIGALRM, stop)
    try:
        with StyleClient(stub.address) as client:
            threading.Thread(target=lambda: arrived.wait(20) and os.kill(os.getpid(), signal.SIGALRM)).start()
            with pytest.raises(SoftTimeLimit):
                client.stylize(*[b"P6 2 2 255 " + bytes(12)] * 2)
            assert cancelled.wait(20)
    finally:
        signal.signal(signal.SIGALRM, before)
