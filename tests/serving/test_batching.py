"""Requests that are joined: who meets whom, what each gets, and what becomes of the others when one leaves."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2
from typer.testing import CliRunner

import styleserve.serving
from styleserve.__main__ import app
from styleserve.contract import PAINT, SERVING_DEFAULT, Limits
from styleserve.serving.batching import Batcher
from styleserve.serving.batching_settings import BatchingSettings
from styleserve.serving.call import Call
from styleserve.serving.errors import (
    CancelledError,
    DeadlineError,
    GraphError,
    PreconditionError,
    RequestError,
    StartError,
    UnavailableError,
)
from styleserve.serving.joining import joined
from styleserve.serving.limits import ModelLimits
from styleserve.serving.request_work import SHORT_PIXEL_STEPS
from styleserve.serving.servable import Servable, SessionSettings

CALLS = 6
LONG = 50_000_000
NEVER_S = 3600.0
"""A batch that is not full waits longer than any test."""
PATIENCE_S = 60.0

_IMAGE = [None, None, None, 3]
_STEPS = tf.constant([1], tf.int32)


class Witness(tf.Module):
    """Tells how many rows it was run with, and adds the number of an example's own steps to its picture."""

    def __init__(self) -> None:
        super().__init__()
        self._one = tf.Variable(1, dtype=tf.int32)

    @tf.function(
        input_signature=[
            tf.TensorSpec(_IMAGE, tf.float32, name="content_image"),
            tf.TensorSpec([None], tf.int32, name="steps"),
        ]
    )
    def stylize(self, content_image: Any, steps: Any = _STEPS) -> dict[str, Any]:
        tf.debugging.Assert(tf.reduce_all(steps >= 0), ["steps must not be negative, but is", steps])
        most = tf.maximum(tf.reduce_max(steps), 0)
        rows = tf.shape(content_image)[0]
        _, done = tf.while_loop(
            lambda index, _: index < most,
            lambda index, done: (index + 1, done + tf.cast(index < steps, tf.int32) * self._one),
            [0, tf.zeros_like(steps)],
        )
        own = tf.sequence_mask(tf.minimum(steps, 9), tf.minimum(most, 9))
        losses = tf.where(own[..., None], tf.ones([4]), float("nan"))
        return {
            "stylized_image": content_image + tf.cast(done, tf.float32)[:, None, None, None],
            "losses": losses,
            "rows": tf.fill([rows], rows),
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="content_bytes")])
    def encoded(self, content_bytes: Any) -> dict[str, Any]:
        return {"rows": tf.fill([tf.size(content_bytes)], tf.size(content_bytes))}

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, name="number")])
    def scalar(self, number: Any) -> dict[str, Any]:
        return {"number": number[None]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, name="numbers")])
    def total(self, numbers: Any) -> dict[str, Any]:
        return {"total": tf.reduce_sum(numbers)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, name="numbers")])
    def halved(self, numbers: Any) -> dict[str, Any]:
        return {"halved": numbers[::2]}


@pytest.fixture(scope="module")
def servable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servable]:
    path = tmp_path_factory.mktemp("witness") / "1"
    module = Witness()
    signatures = {
        SERVING_DEFAULT: module.stylize,
        PAINT: module.encoded,
        **{name: getattr(module, name) for name in ("scalar", "total", "halved")},
    }
    tf.saved_model.save(module, str(path), signatures=signatures)
    servable = Servable(path, 1, SessionSettings(max_calls=CALLS + 2))
    yield servable
    servable.close()


class Desk:
    """Sends requests to a batcher, each on a thread of its own, and knows who waits in it."""

    def __init__(self, servable: Servable, batcher: Batcher, pool: ThreadPoolExecutor) -> None:
        self._servable, self._batcher, self._pool = servable, batcher, pool
        self._sent = self._entered = 0
        self.tasks: list[weakref.ref[Any]] = []
        enter = batcher._enter

        def counted(servable: Servable, task: Any) -> None:
            self.tasks.append(weakref.ref(task))
            enter(servable, task)
            self._entered += 1

        batcher._enter = counted

    def send(self, call: Call | None = None, signature: str = "", **inputs: Any) -> Future[dict[str, Any]]:
        request = predict_pb2.PredictRequest()
        request.model_spec.signature_name = signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        slot, self._sent = self._sent % CALLS, self._sent + 1

        def run() -> dict[str, Any]:
            short = self._servable.check(request) <= SHORT_PIXEL_STEPS
            response = self._batcher.predict(self._servable, request, call or Call(PATIENCE_S), slot, short=short)
            return {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}

        return self._pool.submit(run)

    def paint(
        self, steps: int = 1, *, call: Call | None = None, grey: float = 0.0, side: int = 4, rows: int = 1
    ) -> Future[dict[str, Any]]:
        image = np.full((rows, side, side, 3), grey, np.float32)
        return self.send(call, content_image=image, steps=np.full(rows, steps, np.int32))

    def waiting(self) -> int:
        return sum(len(batch.tasks) for batch in self._batcher._waiting)

    def at_work(self, requests: int) -> bool:
        """Whether so many requests came in, and none of them waits any more."""
        return self._entered == requests and not self.waiting()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        ends_at = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < ends_at, "it did not come"
            time.sleep(0.005)


@pytest.fixture
def desk(servable: Servable) -> Callable[..., Any]:
    @contextmanager
    def opened(*, wait_s: float = NEVER_S, threads: int = 1, **knobs: Any) -> Generator[Desk]:
        settings = BatchingSettings(batch_timeout_s=wait_s, num_batch_threads=threads, **knobs)
        batcher = Batcher(settings, first_slot=CALLS)
        with ThreadPoolExecutor(CALLS) as pool:
            yield Desk(servable, batcher, pool)
        batcher.close()

    return opened


def test_requests_are_joined_and_each_gets_its_own(desk: Callable[..., Any]) -> None:
    with desk(max_batch_size=4) as open_desk:
        sent = [open_desk.paint(steps, grey=grey) for steps, grey in ((4, 0.25), (7, 0.5))]
        sent.append(open_desk.paint(5, grey=0.75, rows=2))
        got = [each.result(PATIENCE_S) for each in sent]
    assert [each["rows"].tolist() for each in got] == [[4], [4], [4, 4]]
    assert [float(each["stylized_image"].max()) for each in got] == [4.25, 7.5, 5.75]
    # Of its own rows each, and none of NaN for a neighbour that had more steps.
    assert [each["losses"].shape for each in got] == [(1, 4, 4), (1, 7, 4), (2, 5, 4)]
    assert all(np.isfinite(each["losses"]).all() for each in got)


def test_a_batch_that_is_not_full_goes_after_its_timeout(desk: Callable[..., Any]) -> None:
    with desk(max_batch_size=4, wait_s=0.01) as open_desk:
        assert open_desk.paint().result(PATIENCE_S)["rows"].tolist() == [1]


def test_what_comes_while_all_threads_work_is_joined(desk: Callable[..., Any]) -> None:
    with desk(max_batch_size=4, wait_s=0.0) as open_desk:
        call = Call()
        long = open_desk.paint(LONG, call=call, side=5)
        open_desk.wait_for(lambda: open_desk.at_work(1))
        sent = [open_desk.paint(1), open_desk.paint(1)]
        open_desk.wait_for(lambda: open_desk.waiting() == 2 or any(each.done() for each in sent))
        call.give_up()
        assert [each.result(PATIENCE_S)["rows"].tolist() for each in sent] == [[2], [2]]
        assert isinstance(long.exception(PATIENCE_S), CancelledError)


def test_pictures_of_different_sizes_never_meet(desk: Callable[..., Any]) -> None:
    with desk(max_batch_size=2) as open_desk:
        sent = [open_desk.paint(side=side) for side in (4, 6, 4, 6)]
        got = [each.result(PATIENCE_S) for each in sent]
    assert [each["stylized_image"].shape[1] for each in got] == [4, 6, 4, 6]
    assert [each["rows"].tolist() for each in got] == [[2]] * 4


def test_few_steps_never_wait_for_many(desk: Callable[..., Any]) -> None:
    with desk(max_batch_size=2) as open_desk:
        long = open_desk.paint(100)
        open_desk.wait_for(lambda: open_desk.waiting() == 1)
        sent = [open_desk.paint(2), open_desk.paint(3)]
        assert [each.result(PATIENCE_S)["rows"].tolist() for each in sent] == [[2], [2]]
        assert open_desk.waiting() == 1
        open_desk.paint(127).result(PATIENCE_S)
        assert long.result(PATIENCE_S)["rows"].tolist() == [2]


def test_files_are_not_joined(desk: Callable[..., Any]) -> None:
    with desk(max_batch_size=2) as open_desk:
        got = open_desk.send(signature=PAINT, content_bytes=[b"a"]).result(PATIENCE_S)
    assert got["rows"].tolist() == [1]


def test_a_batch_is_filled_up_to_an_allowed_size(desk: Callable[..., Any]) -> None:
    with desk(max_batch_size=4, allowed_batch_sizes=(1, 4), wait_s=0.0) as open_desk:
        assert open_desk.paint().result(PATIENCE_S)["rows"].tolist() == [1]
        got = open_desk.paint(3, rows=2, grey=0.5).result(PATIENCE_S)
    assert got["rows"].tolist() == [4, 4]
    assert got["stylized_image"].shape == (2, 4, 4, 3)
    assert np.all(got["stylized_image"] == 3.5)


def test_padding_is_the_first_row_of_the_last_request() -> None:
    arrays = [np.array([[1], [2]]), np.array([[3], [4]])]
    assert joined(arrays, 2).tolist() == [[1], [2], [3], [4], [3], [3]]


def test_a_batch_is_no_larger_than_the_model_takes(
    desk: Callable[..., Any], servable: Servable, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = ModelLimits(contract_version=2, min_side=1, style_layers=5, **Limits(max_batch=2).numbers())
    monkeypatch.setattr(servable, "limits", limits)
    with desk(max_batch_size=4, allowed_batch_sizes=(1, 4)) as open_desk:
        sent = [open_desk.paint() for _ in range(4)]
        assert [each.result(PATIENCE_S)["rows"].tolist() for each in sent] == [[2]] * 4


@pytest.mark.parametrize(
    ("signature", "inputs", "text"),
    [
        (
            "",
            {"content_image": np.zeros((3, 4, 4, 3), np.float32), "steps": np.ones(3, np.int32)},
            "Task size 3 is larger than maximum input batch size 2",
        ),
        (
            "",
            {"content_image": np.zeros((2, 4, 4, 3), np.float32)},
            "Batching Run() input tensors must have equal 0th-dimension size; got content_image 2, steps 1",
        ),
        (
            "scalar",
            {"number": np.int32(1)},
            "Batching Run() input tensors must have at least one dimension; number has none",
        ),
    ],
    ids=["too many rows", "rows that differ", "no rows"],
)
def test_refusals(desk: Callable[..., Any], signature: str, inputs: dict[str, Any], text: str) -> None:
    with desk(max_batch_size=2) as open_desk:
        error = open_desk.send(signature=signature, **inputs).exception(PATIENCE_S)
    assert isinstance(error, RequestError)
    assert str(error).startswith(text)


@pytest.mark.parametrize(
    ("signature", "text"),
    [
        ("total", "Batched output tensor has 0 dimensions"),
        ("halved", "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the"),
    ],
)
def test_outputs_that_cannot_be_split(desk: Callable[..., Any], signature: str, text: str) -> None:
    with desk(max_batch_size=2, wait_s=0.0) as open_desk:
        error = open_desk.send(signature=signature, numbers=np.ones(2, np.int32)).exception(PATIENCE_S)
    assert isinstance(error, PreconditionError)
    assert str(error).startswith(text)


def test_no_rows_at_all_are_the_models_to_refuse(desk: Callable[..., Any]) -> None:
    """Where TensorFlow Serving waits to the deadline."""
    with desk(max_batch_size=2) as open_desk:
        assert open_desk.paint(rows=0).result(PATIENCE_S)["rows"].size == 0


def test_a_full_queue_refuses_and_other_signatures_go_on(desk: Callable[..., Any]) -> None:
    with desk(max_batch_size=1, max_enqueued_batches=1) as open_desk:
        calls = [Call(), Call()]
        open_desk.paint(LONG, call=calls[0])
        open_desk.wait_for(lambda: open_desk.at_work(1))
        waiting = open_desk.paint(LONG, call=calls[1])
        open_desk.wait_for(lambda: open_desk.waiting() == 1)
        refused = open_desk.paint(LONG).exception(PATIENCE_S)
        assert isinstance(refused, UnavailableError)
        assert refused.code is grpc.StatusCode.UNAVAILABLE
        assert str(refused) == (
            "The batch scheduling queue to which this task was submitted is full; currently 1 batches enqueued and "
            "max_enqueued_batches is 1"
        )
        other = open_desk.send(signature="halved", numbers=np.ones(1, np.int32))
        open_desk.wait_for(lambda: open_desk.waiting() == 2)
        for call in calls:
            call.give_up()
        assert other.result(PATIENCE_S)["halved"].tolist() == [1]
        assert isinstance(waiting.exception(PATIENCE_S), CancelledError)


def test_a_short_request_passes_long_batches(desk: Callable[..., Any]) -> None:
    with desk(max_batch_size=1, threads=2, wait_s=0.0, max_enqueued_batches=1) as open_desk:
        calls = [Call(), Call()]
        long = [open_desk.paint(LONG, call=calls[0])]
        open_desk.wait_for(lambda: open_desk.at_work(1))
        long.append(open_desk.paint(LONG, call=calls[1]))
        open_desk.wait_for(lambda: open_desk.waiting() == 1)
        # A thread is free, but not for the second one, with which the queue of long ones is full.
        for _ in range(3):
            assert open_desk.paint().result(PATIENCE_S)["rows"].tolist() == [1]
        assert open_desk.waiting() == 1
        calls[0].give_up()
        open_desk.wait_for(lambda: open_desk.at_work(5))
        assert not long[1].done()
        calls[1].give_up()
        assert [type(each.exception(PATIENCE_S)) for each in long] == [CancelledError] * 2


def test_short_and_long_requests_never_meet(desk: Callable[..., Any]) -> None:
    side, short, long = 256, 16, 17
    assert side * side * short == SHORT_PIXEL_STEPS
    with desk(max_batch_size=2) as open_desk:
        sent = [open_desk.paint(steps, side=side) for steps in (short, long)]
        open_desk.wait_for(lambda: open_desk.waiting() == 2)
        sent += [open_desk.paint(steps, side=side) for steps in (short, long)]
        assert [each.result(PATIENCE_S)["losses"].shape[1] for each in sent] == [9] * 4
        assert [each.result(PATIENCE_S)["rows"].tolist() for each in sent] == [[2]] * 4


def test_what_failed_or_was_cancelled_is_freed_at_once(desk: Callable[..., Any]) -> None:
    """And not when Python looks for circles, which may be after many more pictures."""
    gc.collect()
    gc.disable()
    try:
        with desk(max_batch_size=1, wait_s=0.0) as open_desk:
            assert isinstance(open_desk.paint(-1).exception(PATIENCE_S), GraphError)
            assert isinstance(open_desk.paint(LONG, call=Call(0.3)).exception(PATIENCE_S), DeadlineError)
            call = Call()
            cancelled = open_desk.paint(LONG, call=call)
            open_desk.wait_for(lambda: open_desk.at_work(3))
            call.give_up()
            assert isinstance(cancelled.exception(PATIENCE_S), CancelledError)
            del cancelled
            open_desk.wait_for(lambda: all(task() is None for task in open_desk.tasks))
            assert len(open_desk.tasks) == 3
    finally:
        gc.enable()


def test_a_bad_request_is_refused_alone(desk: Callable[..., Any]) -> None:
    with desk(max_batch_size=2) as open_desk:
        bad = open_desk.paint(-1)
        open_desk.wait_for(lambda: open_desk.waiting() == 1)
        good = open_desk.paint(1, grey=0.5)
        assert float(good.result(PATIENCE_S)["stylized_image"].max()) == 1.5
        error = bad.exception(PATIENCE_S)
    assert isinstance(error, GraphError)
    assert str(error) == "assertion failed: [steps must not be negative, but is] [-1]"


def test_one_that_gives_up_does_not_end_the_others(desk: Callable[..., Any]) -> None:
    with desk(max_batch_size=3) as open_desk:
        first, second = Call(), Call()
        sent = [open_desk.paint(LONG, call=call) for call in (first, second, Call(1.0))]
        assert isinstance(sent[2].exception(PATIENCE_S), DeadlineError)
        first.give_up()
        assert isinstance(sent[0].exception(PATIENCE_S), CancelledError)
        assert not sent[1].done()
        # The last one stops the work: the only thread is free for others.
        second.give_up()
        assert isinstance(sent[1].exception(PATIENCE_S), CancelledError)
        assert open_desk.paint(rows=3).result(PATIENCE_S)["rows"].tolist() == [3] * 3


def test_one_that_gives_up_while_it_waits_leaves_its_batch(desk: Callable[..., Any]) -> None:
    with desk(max_batch_size=2) as open_desk:
        call = Call()
        gone = open_desk.paint(call=call)
        open_desk.wait_for(lambda: open_desk.waiting() == 1)
        call.give_up()
        assert isinstance(gone.exception(PATIENCE_S), CancelledError)
        assert open_desk.waiting() == 0
        assert isinstance(open_desk.paint(call=Call(0.05)).exception(PATIENCE_S), DeadlineError)
        assert open_desk.waiting() == 0
        sent = [open_desk.paint(grey=grey) for grey in (0.25, 0.5)]
        assert [float(each.result(PATIENCE_S)["stylized_image"].max()) for each in sent] == [1.25, 1.5]


def test_many_at_once_each_get_their_own(desk: Callable[..., Any]) -> None:
    random = np.random.default_rng(0)
    with desk(max_batch_size=4, threads=2, wait_s=0.001, max_enqueued_batches=100) as open_desk:
        wanted = [
            (int(steps), float(grey))
            for steps, grey in zip(random.integers(0, 9, 200), random.random(200), strict=True)
        ]
        sent = [(steps, grey, open_desk.paint(steps, grey=grey)) for steps, grey in wanted]
        for steps, grey, future in sent:
            got = future.result(PATIENCE_S)
            assert np.all(got["stylized_image"] == np.float32(grey) + np.float32(steps))
            assert got["losses"].shape == (1, steps, 4)


def test_settings_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "batching.config"
    path.write_text("max_batch_size { value: 4 } batch_timeout_micros { value: 20000 } allowed_batch_sizes: [1, 4]")
    settings = BatchingSettings.from_file(path)
    assert (settings.max_batch_size, settings.batch_timeout_s, settings.allowed_batch_sizes) == (4, 0.02, (1, 4))
    assert settings.max_enqueued_batches == 10


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_batch_size { value: 0 }", "max_batch_size is 0; it must be at least 1"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros is -1"),
        ("max_batch_size { value: 4 } allowed_batch_sizes: [1, 2]", "must match max_batch_size; last entry was 2"),
        ("max_batch_size { value: 4 } allowed_batch_sizes: [2, 1, 4]", r"allowed_batch_sizes are \[2, 1, 4\]"),
        ("pad_variable_length_inputs: true", "pictures of different sizes are never put into one batch"),
    ],
)
def test_settings_that_cannot_be_used(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "batching.config"
    path.write_text(text)
    with pytest.raises(StartError, match=said):
        BatchingSettings.from_file(path)


def test_a_file_without_the_option_is_a_mistake(tmp_path: Path) -> None:
    options = ["serve", "--model-base-path", str(tmp_path), "--batching-parameters-file", str(tmp_path / "file")]
    ran = CliRunner().invoke(app, options)
    assert ran.exit_code == 1
    assert "batching is not on: add --enable-batching" in ran.output
    ran = CliRunner().invoke(app, [*options, "--enable-batching"])
    assert ran.exit_code == 1
    assert "cannot read" in ran.output


def test_the_file_that_comes_with_it_suits_the_model() -> None:
    path = Path(styleserve.serving.__file__).resolve().parent / "config" / "batching.config"
    settings = BatchingSettings.from_file(path)
    assert settings.max_batch_size <= Limits().max_batch
    assert settings.padded(1) == 1
