"""Batches through the library, against servers and connections that fail."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from PIL import Image

from styleserve.client import (
    BatchProgress,
    BatchSettings,
    ClientClosed,
    ConnectionSettings,
    ControlError,
    Controls,
    Job,
    JobListError,
    JobResult,
    OutputError,
    PictureSet,
    Record,
    RetryPolicy,
    StyleClient,
    run_batch,
)
from styleserve.client.api.state_size import StateSize
from styleserve.client.batch import scheduler as module
from styleserve.client.batch import worker as painting
from styleserve.client.batch.manifest import MANIFEST_NAME, Manifest
from styleserve.client.wire.tensors import to_array
from tests.client.conftest import STATE
from tests.client.proxy import Proxy

JOBS = 40


class Restartable:
    """The fake server's answers, on a port that it can leave and come back to."""

    def __init__(self, stub: Any) -> None:
        self._handlers = stub.handlers()
        self.port = 0
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        self._server = grpc.server(ThreadPoolExecutor(max_workers=8), options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers(self._handlers)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    def stop(self) -> None:
        self._server.stop(grace=None).wait()


@pytest.fixture
def server(stub: Any) -> Iterator[Restartable]:
    server = Restartable(stub)
    yield server
    server.stop()


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    """Jobs with different contents and one style."""
    style = tmp_path / "style.png"
    Image.linear_gradient("L").resize((32, 32)).save(style)
    made: list[Job] = []
    for number in range(JOBS):
        content = tmp_path / f"{number}.png"
        shifted = [(level + 6 * number) % 256 for level in range(256)]
        Image.radial_gradient("L").resize((40, 24 + number % 3)).point(shifted).save(content)
        made.append(
            Job(
                pictures=PictureSet(content=content, styles=(style,)),
                output=f"{number % 4}/{number}.png",
                controls=Controls(max_side=32, steps=7),
            )
        )
    return made


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def client_of(address: str) -> StyleClient:
    """As the command makes them: a batch has retries of its own."""
    return StyleClient(settings=ConnectionSettings(server=address, retry=RetryPolicy(tries=1)))


def run(jobs: list[Job], *addresses: str, out: Path, **settings: Any) -> list[JobResult]:
    with ExitStack() as stack:
        clients = [stack.enter_context(client_of(address)) for address in addresses]
        return list(run_batch(jobs, clients, out, settings=BatchSettings(**settings)))


def pictures(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def records(folder: Path) -> list[Record]:
    return [Record.from_line(line) for line in (folder / MANIFEST_NAME).read_bytes().splitlines()]


def slowly(stub: Any, seconds: float) -> None:
    good = stub.predict

    def predict(request: Any) -> Any:
        time.sleep(seconds)
        return good(request)

    stub.predict = predict


def after_requests(stub: Any, count: int, do: Callable[[], None]) -> threading.Thread:
    """Does something as soon as so many requests have come."""

    def wait() -> None:
        while len(stub.requests) < count:
            time.sleep(0.002)
        do()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def assert_all_there(out: Path, jobs: list[Job], expected: dict[str, bytes]) -> None:
    """Exactly the pictures of a run without faults, and one record of success for each."""
    found = pictures(out)
    del found[MANIFEST_NAME]
    assert found == expected
    assert sorted(record.output for record in records(out) if record.error is None) == sorted(
        job.output for job in jobs
    )


@pytest.fixture
def expected(stub: Any, jobs: list[Job], tmp_path: Path) -> dict[str, bytes]:
    """The pictures of a run without faults."""
    folder = tmp_path / "expected"
    assert all(result.error is None for result in run(jobs, stub.address, out=folder))
    stub.requests.clear()
    found = pictures(folder)
    del found[MANIFEST_NAME]
    assert len(set(found.values())) == len(jobs)
    return found


def test_every_job_is_painted_and_recorded(stub: Any, jobs: list[Job], out: Path) -> None:
    jobs = jobs[:5]
    results = run(jobs, stub.address, out=out)
    assert {result.job.output for result in results} == {job.output for job in jobs}
    for result in results:
        record = result.record
        assert (result.error, result.was_there, record.tries, record.model_version) == (None, False, 1, 42)
        assert record.controls == {"max_side": 32, "steps": 7}
        assert (record.loss_first, record.loss_last) == (1e6, pytest.approx(1e6 * 0.97**6))
        with Image.open(out / record.output) as image:
            assert max(image.size) == 32
    assert sorted(record.output for record in records(out)) == sorted(job.output for job in jobs)


def test_a_second_run_does_only_what_is_missing(stub: Any, jobs: list[Job], out: Path) -> None:
    jobs = jobs[:6]
    run(jobs, stub.address, out=out)
    stub.requests.clear()
    assert all(result.was_there for result in run(jobs, stub.address, out=out))
    assert stub.requests == []

    (out / jobs[0].output).unlink()
    (out / jobs[1].output).write_bytes(b"another file")
    Image.new("L", (40, 24), 7).save(jobs[2].pictures.content)
    asked_otherwise = Job(pictures=jobs[3].pictures, output=jobs[3].output, controls=Controls(max_side=16))
    results = run([*jobs[:3], asked_otherwise, *jobs[4:]], stub.address, out=out)
    assert {result.job.output for result in results if not result.was_there} == {job.output for job in jobs[:4]}
    assert len(stub.paints) == 4


def test_wrong_jobs_fail_alone(stub: Any, jobs: list[Job], out: Path) -> None:
    good = stub.predict

    def predict(request: Any, context: grpc.ServicerContext) -> Any:
        if to_array(request.inputs["steps"], "steps")[0] > 100:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "assertion failed: [too many steps]")
        return good(request)

    stub.predict_in_context = predict
    jobs = jobs[:6]
    jobs[0].pictures.content.unlink()
    jobs[1].pictures.content.write_text("no picture")
    jobs[2] = Job(pictures=jobs[2].pictures, output="2.png", controls=Controls(steps=9000))
    results = {result.job.output: result for result in run(jobs, stub.address, out=out)}
    kinds = [type(results[job.output].error).__name__ for job in jobs]
    assert kinds == ["ImageError", "ImageError", "RequestRefused", *["NoneType"] * 3]
    assert len(chunks_of(stub)) == 4  # none of them twice
    failures = {record.output: record for record in records(out) if record.error is not None}
    assert failures["0/0.png"].key is None
    assert failures["2.png"].error == {
        "kind": "RequestRefused",
        "message": "the server refused the request: too many steps",
    }
    assert failures["2.png"].tries == 1
    # Fixed, they are done at the next run.
    Image.new("L", (30, 30)).save(jobs[0].pictures.content)
    assert [r.job.output for r in run(jobs[:1], stub.address, out=out) if r.error is None] == ["0/0.png"]


def test_transient_errors_are_retried_so_many_times(stub: Any, jobs: list[Job], out: Path) -> None:
    good, seen = stub.predict, dict[bytes, int]()

    def predict(request: Any, context: grpc.ServicerContext) -> Any:
        content = request.inputs["content_bytes"].string_val[0]
        seen[content] = seen.get(content, 0) + 1
        if content == jobs[0].pictures.content.read_bytes() or (
            content == jobs[1].pictures.content.read_bytes() and seen[content] < 3
        ):
            context.abort(grpc.StatusCode.INTERNAL, "out of luck")
        return good(request)

    stub.predict_in_context = predict
    results = {result.job.output: result for result in run(jobs[:3], stub.address, out=out, retries=2)}
    assert [results[job.output].record.tries for job in jobs[:3]] == [3, 3, 1]
    assert [results[job.output].error is None for job in jobs[:3]] == [False, True, True]


def test_a_busy_server_is_given_less(stub: Any, jobs: list[Job], out: Path, expected: dict[str, bytes]) -> None:
    good, running, refused = stub.predict, 0, 0
    changing = threading.Lock()

    def predict(request: Any, context: grpc.ServicerContext) -> Any:
        nonlocal running, refused
        with changing:
            running += 1
            full = running > 2
            refused += full
        try:
            if full:
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
            time.sleep(0.02)
            return good(request)
        finally:
            with changing:
                running -= 1

    stub.predict_in_context = predict
    results = run(jobs, stub.address, out=out)
    assert all(result.error is None for result in results)
    assert 0 < refused < len(jobs) / 2  # it was found out, and then kept to
    assert_all_there(out, jobs, expected)


def test_a_fixed_concurrency_is_kept_to(stub: Any, jobs: list[Job], out: Path) -> None:
    slowly(stub, 0.01)
    progress: list[BatchProgress] = []
    with StyleClient(stub.address) as client:
        results = run_batch(
            jobs[:12], [client], out, settings=BatchSettings(concurrency=4), on_progress=progress.append
        )
        assert len(list(results)) == 12
    assert {each.limit for each in progress} == {4}
    assert max(each.running for each in progress) == 4
    assert progress[0].waiting == 8


def test_a_server_that_dies_and_comes_back_and_connections_that_break(
    stub: Any, server: Restartable, jobs: list[Job], out: Path, expected: dict[str, bytes]
) -> None:
    slowly(stub, 0.01)
    with Proxy(server.port) as proxy:

        def restart() -> None:
            server.stop()
            time.sleep(0.3)
            server.start()

        threads = [
            after_requests(stub, 5, lambda: proxy.cut_after(700)),
            after_requests(stub, 12, restart),
            after_requests(stub, 24, lambda: proxy.cut_after(10)),
            after_requests(stub, 34, lambda: proxy.cut_after(1000)),
        ]
        results = run(jobs, proxy.address, out=out)
        for thread in threads:
            thread.join(10)
        assert proxy.cuts == 3
    assert all(result.error is None for result in results)
    assert len(stub.requests) > len(jobs)  # some were lost on the way
    assert_all_there(out, jobs, expected)


def test_silence_and_slow_replies_are_waited_out(
    stub: Any, server: Restartable, jobs: list[Job], out: Path, expected: dict[str, bytes]
) -> None:
    slowly(stub, 0.002)
    with Proxy(server.port) as proxy:
        after_requests(stub, 10, lambda: proxy.go_silent(1.0))
        after_requests(stub, 20, lambda: proxy.slow_down(10))
        results = run(jobs, proxy.address, out=out)
    assert all(result.record.tries == 1 for result in results)
    assert_all_there(out, jobs, expected)


def test_a_server_that_refuses_for_a_while(
    server: Restartable, jobs: list[Job], out: Path, expected: dict[str, bytes]
) -> None:
    with Proxy(server.port) as proxy:
        proxy.refuse()
        progress: list[BatchProgress] = []

        def watch(each: BatchProgress) -> None:
            progress.append(each)
            if each.stuck is not None:
                proxy.refuse(False)

        with StyleClient(proxy.address) as client:
            results = list(run_batch(jobs, [client], out, on_progress=watch))
    assert all(result.error is None for result in results)
    assert progress[-1].stuck is None
    assert_all_there(out, jobs, expected)


def test_servers_absent_for_too_long(jobs: list[Job], out: Path) -> None:
    results = run(jobs[:3], "127.0.0.1:1", out=out, patience_s=0.5)
    assert [type(result.error).__name__ for result in results] == ["ServerUnavailable"] * 3
    assert "given up, as no job ended for 0.5 s: no server answers at 127.0.0.1:1" in str(results[0].error)
    assert len(records(out)) == 3


def shifted(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Function that moves the clock of the batch forward."""
    offset = 0.0

    def move(seconds: float) -> None:
        nonlocal offset
        offset += seconds

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + offset))
    return move


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL], ids=lambda code: code.name)
def test_the_retry_window_stands_still_while_a_server_works(
    stub: Any, jobs: list[Job], out: Path, monkeypatch: pytest.MonkeyPatch, code: grpc.StatusCode
) -> None:
    """One server was never there; the other works on a job for longer than that, and then loses it."""
    good, move = stub.predict, shifted(monkeypatch)

    def predict(request: Any, context: grpc.ServicerContext) -> Any:
        if len(stub.requests) == 1:
            move(10_000)
            context.abort(code, "lost")
        return good(request)

    stub.predict_in_context = predict
    (result,) = run(jobs[:1], "127.0.0.1:1", stub.address, out=out, patience_s=5000)
    assert result.error is None
    assert len(stub.requests) == 2


def test_one_of_two_servers_dies_for_good(
    stub: Any, server: Restartable, jobs: list[Job], out: Path, expected: dict[str, bytes]
) -> None:
    slowly(stub, 0.01)
    killer = after_requests(stub, 10, server.stop)
    results = run(jobs, server.address, stub.address, out=out)
    killer.join(10)
    assert all(result.error is None for result in results)
    assert_all_there(out, jobs, expected)


def test_several_servers_share_the_work(stub: Any, server: Restartable, jobs: list[Job], out: Path) -> None:
    peers: list[str] = []
    good = stub.predict

    def predict(request: Any, context: grpc.ServicerContext) -> Any:
        peers.append(context.peer())
        time.sleep(0.01)
        return good(request)

    stub.predict_in_context = predict
    run(jobs, server.address, stub.address, out=out)
    assert min(peers.count(peer) for peer in set(peers)) > len(jobs) / 10
    assert len(set(peers)) == 2  # a connection each


def test_an_abandoned_batch_cancels_its_calls_and_is_resumed(
    stub: Any, jobs: list[Job], out: Path, expected: dict[str, bytes]
) -> None:
    good, arrived, cancelled = stub.predict, threading.Event(), threading.Event()

    def predict(request: Any, context: grpc.ServicerContext) -> Any:
        if len(stub.paints) > 7:
            this_one = threading.Event()
            context.add_callback(this_one.set)
            arrived.set()
            this_one.wait(30)
            cancelled.set()
        return good(request)

    stub.predict_in_context = predict
    with StyleClient(stub.address) as client, closing(run_batch(jobs, [client], out)) as results:
        for number, _ in enumerate(results, start=1):
            if number == 7:
                assert arrived.wait(30)
                break
    assert cancelled.wait(5)
    done = len(records(out))
    assert done == 7
    assert sum(".part" in name for name in pictures(out)) == 0

    stub.predict_in_context = None
    results = run(jobs, stub.address, out=out)
    assert sum(result.was_there for result in results) == done
    assert_all_there(out, jobs, expected)


def test_a_client_that_is_closed_stops_the_batch(stub: Any, jobs: list[Job], out: Path) -> None:
    with StyleClient(stub.address) as client, closing(run_batch(jobs, [client], out)) as results:
        next(results)
        client.close()
        with pytest.raises(ClientClosed):
            list(results)
    assert [record for record in records(out) if record.error is not None] == []


# --- runs in chunks --------------------------------------------------------------------------------------------------


@pytest.fixture
def in_chunks(stub: Any, jobs: list[Job], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stub with whose model a chunk takes a few evaluations, of jobs of 60."""
    monkeypatch.setattr(painting, "CHUNK_S", 0.05)
    monkeypatch.setattr(StateSize, "usual_bytes", lambda *_: len(STATE))
    jobs[:] = [replace(job, controls=Controls(max_side=32, steps=60)) for job in jobs]
    good = stub.predict

    def predict(request: Any) -> Any:
        time.sleep(0.005 * int(to_array(request.inputs["steps"], "steps")[0]))
        return good(request)

    stub.predict = predict
    return stub


def chunks_of(stub: Any) -> list[Any]:
    """The requests that paint; a first run also measures with a call without steps."""
    return [request for request in stub.paints if to_array(request.inputs["steps"], "steps")[0]]


def steps_done(request: Any) -> int:
    """Evaluations before this chunk, by the stub's state."""
    state = request.inputs["state"].string_val[0] if "state" in request.inputs else b""
    return int.from_bytes(state[len(STATE) :][:4], "big")


def refuse_the_first_state(
    stub: Any, code: grpc.StatusCode, text: str, *, meanwhile: Callable[[], None] = lambda: None
) -> list[Any]:
    """Has the stub refuse the first request with a state; the list gets that request, after `meanwhile` was called."""
    good, refused = stub.predict, list[Any]()

    def predict(request: Any, context: grpc.ServicerContext) -> Any:
        if "state" in request.inputs and not refused:
            refused.append(request)
            meanwhile()
            context.abort(code, text)
        return good(request)

    stub.predict_in_context = predict
    return refused


def test_a_run_in_chunks_moves_the_count_before_a_picture_is_done(in_chunks: Any, jobs: list[Job], out: Path) -> None:
    stub = in_chunks
    seen: list[BatchProgress] = []
    with client_of(stub.address) as client:
        settings = BatchSettings(concurrency=1)
        results = list(run_batch(jobs[:2], [client], out, settings=settings, on_progress=seen.append))
    assert [result.error for result in results] == [None, None]
    counts = [each.evaluations for each in seen]
    assert {each.evaluations_total for each in seen} == {120}  # of two jobs
    chunks = [steps_done(request) for request in chunks_of(stub)]
    assert counts == sorted(counts)
    assert set(chunks[: chunks.index(0, 1)]) | {60, 120} <= set(counts)
    assert [each.record.loss_last for each in results] == [pytest.approx(1e6 * 0.97**59)] * 2
    assert results[0].record.controls == {"max_side": 32, "steps": 60}


def test_a_job_in_octaves(stub: Any, jobs: list[Job], out: Path) -> None:
    controls = Controls(max_side=64, steps=10, octaves=3)
    seen: list[BatchProgress] = []
    with client_of(stub.address) as client:
        made = replace(jobs[0], controls=controls)
        (result,) = run_batch([made], [client], out, on_progress=seen.append)
        single = client.stylize(**made.pictures.arguments(), controls=controls)
    assert result.error is None
    assert seen[-1].evaluations == seen[-1].evaluations_total == 10
    with Image.open(out / made.output) as image:
        assert image.tobytes() == single.image.tobytes()
    assert result.record.controls == {"max_side": 64, "steps": 10, "octaves": 3}
    assert all(each.was_there for each in run([made], stub.address, out=out))


def test_a_refused_chunk_is_asked_for_again_from_the_last_state(in_chunks: Any, jobs: list[Job], out: Path) -> None:
    stub = in_chunks
    good, refused = stub.predict, list[int]()

    def predict(request: Any, context: grpc.ServicerContext) -> Any:
        done = steps_done(request)
        if done and done not in refused:  # each chunk but the first one time
            refused.append(done)
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
        return good(request)

    (expected,) = run(jobs[:1], stub.address, out=out.with_name("alone"))
    stub.predict_in_context = predict
    stub.requests.clear()
    (result,) = run(jobs[:1], stub.address, out=out)
    assert refused
    assert result.error is None
    assert result.record.tries == 1 + len(refused)
    assert [steps_done(request) for request in chunks_of(stub)].count(0) == 1  # no evaluation is done twice
    assert (result.record.sha256, result.record.loss_last) == (expected.record.sha256, expected.record.loss_last)


def test_a_run_begins_anew_where_the_state_is_refused(in_chunks: Any, jobs: list[Job], out: Path) -> None:
    """By another version of the model."""
    stub = in_chunks
    (expected,) = run(jobs[:1], stub.address, out=out.with_name("alone"))
    text = "assertion failed: [the state is of another model]"
    refusals = refuse_the_first_state(stub, grpc.StatusCode.INVALID_ARGUMENT, text)
    (result,) = run(jobs[:1], stub.address, out=out)
    assert (result.error, result.record.tries, len(refusals)) == (None, 2, 1)
    assert result.record.sha256 == expected.record.sha256


def test_a_picture_that_changes_between_two_tries_is_painted_anew(in_chunks: Any, jobs: list[Job], out: Path) -> None:
    stub = in_chunks
    refusals = refuse_the_first_state(
        stub,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "Server Threadpool Exhausted",
        meanwhile=lambda: Image.new("L", (40, 24), 7).save(jobs[0].pictures.content),
    )
    (result,) = run(jobs[:1], stub.address, out=out)
    assert (result.error, len(refusals)) == (None, 1)
    stub.predict_in_context = None
    assert all(each.was_there for each in run(jobs[:1], stub.address, out=out))


def test_a_full_disk_stops_the_batch(stub: Any, jobs: list[Job], out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OutputError("cannot write: No space left on device")

    monkeypatch.setattr(Manifest, "append", fail)
    with pytest.raises(OutputError, match="No space left"):
        run(jobs, stub.address, out=out)
    assert len(stub.requests) < 4  # nothing more is painted for nothing


def test_results_that_have_no_place(stub: Any, jobs: list[Job], out: Path, tmp_path: Path) -> None:
    def job(output: str) -> Job:
        return Job(pictures=jobs[0].pictures, output=output)

    (out / "there").mkdir(parents=True)
    (out / "link").symlink_to("there")
    (out / "a-link.png").symlink_to("a.png")
    (out / "away").symlink_to(tmp_path)
    (out / "file.png").write_bytes(b"")
    cases: list[tuple[list[Job], type[Exception], str]] = [
        ([job("a.png"), job("./a.png")], JobListError, "two jobs would both be saved as a.png"),
        ([job("a.png"), job("A.png")], JobListError, "be saved as a.png and as A.png, which may be one file"),
        ([job("a.png"), job("a-link.png")], JobListError, "be saved as a.png and as a-link.png, which may be one file"),
        ([job("there/b.png"), job("link/B.png")], JobListError, "be saved as there/b.png and as link/B.png"),
        ([job("away/b.png")], OutputError, "leads out of"),
        ([job("file.png/a.png")], OutputError, "cannot make the folder"),
    ]
    for wrong, kind, message in cases:
        with pytest.raises(kind, match=message):
            run([*jobs[:2], *wrong], stub.address, out=out)
    for over in ("0.png", "0.PNG", "out/away/0.png"):
        with pytest.raises(JobListError, match=r"would be saved over .*0\.png, which a job reads"):
            run([job(over)], stub.address, out=tmp_path)
    (out / "hard.png").hardlink_to(jobs[0].pictures.content)
    with pytest.raises(JobListError, match=r"would be saved over .*0\.png, which a job reads"):
        run([job("hard.png")], stub.address, out=out)
    assert stub.requests == []


def test_what_makes_no_batch(stub: Any, jobs: list[Job], out: Path) -> None:
    with pytest.raises(ValueError, match="needs clients"):
        run(jobs, out=out)
    with StyleClient(stub.address) as one, StyleClient(stub.address, model_name="other") as another:
        with pytest.raises(ValueError, match="models of one name"):
            list(run_batch(jobs, [one, another], out))
        with StyleClient(stub.address, version=7) as old, pytest.raises(ValueError, match="one version or label"):
            list(run_batch(jobs, [one, old], out))
        # The same pictures by another model are other pictures.
        list(run_batch(jobs[:1], [one], out))
        assert [result.was_there for result in run_batch(jobs[:1], [another], out)] == [False]
    wrong: list[dict[str, Any]] = [{"concurrency": 0}, {"retries": -1}, {"patience_s": -1.0}, {"timeout_s": 0.0}]
    for settings in wrong:
        with pytest.raises(ControlError):
            BatchSettings(**settings)


def test_no_jobs_are_no_work(stub: Any, out: Path) -> None:
    assert run([], stub.address, out=out) == []
    assert pictures(out) == {MANIFEST_NAME: b""}
