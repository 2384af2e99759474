from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from styleserve.contract import SERVING_DEFAULT
from styleserve.serving.call import Call
from styleserve.serving.errors import CancelledError, DeadlineError, GraphError, LoadError
from styleserve.serving.models.bounded_fetches import MAX_SETS
from styleserve.serving.models.servable import Servable
from styleserve.serving.models.session import SessionSettings
from styleserve.serving.models.warmup import warm_up

LONG = 50_000_000
STOP_S = 0.5  # 200 ms are promised; the rest is for a machine shared with others

Make = Callable[..., Any]


@pytest.fixture(scope="module")
def servable(stand_in_base: Path) -> Iterator[Servable]:
    servable = Servable(stand_in_base / "1", 1, SessionSettings(max_calls=4))
    yield servable
    servable.close()


def test_predict(servable: Servable, request_of: Make) -> None:
    response = servable.predict(request_of(steps=0), Call())
    assert np.all(tf.make_ndarray(response.outputs["stylized_image"]) == 0.5)


def test_a_failing_op_gives_its_own_text(servable: Servable, request_of: Make) -> None:
    """Never the error of an op that was cancelled because of it: a race, so it runs often."""
    request = request_of(steps=-1)
    for _ in range(300):
        with pytest.raises(GraphError) as caught:
            servable.predict(request, Call())
        assert caught.value.message == "assertion failed: [steps must not be negative, but is] [-1]"
        assert caught.value.code == grpc.StatusCode.INVALID_ARGUMENT


def test_deadline(servable: Servable, request_of: Make) -> None:
    started = time.monotonic()
    with pytest.raises(DeadlineError):
        servable.predict(request_of(steps=LONG), Call(0.3))
    assert 0.25 < time.monotonic() - started < 0.3 + STOP_S


def test_a_deadline_that_has_passed(servable: Servable, request_of: Make) -> None:
    with pytest.raises(DeadlineError):
        servable.predict(request_of(steps=LONG), Call(-1.0))


def test_giving_up_before_the_start(servable: Servable, request_of: Make) -> None:
    call = Call()
    call.cancel()
    with pytest.raises(CancelledError):
        servable.predict(request_of(steps=LONG), call)


def test_giving_up_at_any_moment_leaves_the_slot_usable(servable: Servable, request_of: Make) -> None:
    """Also at the moment at which the work ends: a stop must hit its own call or none."""
    random = np.random.default_rng(0)
    request = request_of(steps=20)
    for _ in range(100):
        call = Call()
        timer = threading.Timer(float(random.uniform(0, 0.004)), call.cancel)
        timer.start()
        with suppress(CancelledError):
            servable.predict(request, call)
        timer.join()
        assert servable.predict(request, Call()).outputs


def test_giving_up_stops_one_call_and_not_its_neighbour(servable: Servable, request_of: Make) -> None:
    mine, neighbour = Call(), Call(3.0)
    outcomes: dict[str, tuple[type[Exception], float]] = {}

    def run(name: str, call: Call) -> None:
        try:
            servable.predict(request_of(steps=LONG), call)
        except (CancelledError, DeadlineError) as error:
            outcomes[name] = (type(error), time.monotonic())

    threads = [
        threading.Thread(target=run, args=("mine", mine)),
        threading.Thread(target=run, args=("neighbour", neighbour)),
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    stopped = time.monotonic()
    mine.cancel()
    threads[0].join()
    assert outcomes["mine"][0] is CancelledError
    assert outcomes["mine"][1] - stopped < STOP_S
    assert "neighbour" not in outcomes
    threads[1].join()
    assert outcomes["neighbour"][0] is DeadlineError


class Many(tf.Module):
    """`x` times 0, 1, 2 and so on, each an output of its own."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def multiples(self, x: Any) -> dict[str, Any]:
        return {f"times_{factor}": x * float(factor) for factor in range(5)}


def test_sets_of_outputs_without_end(tmp_path: Path) -> None:
    """The session keeps a graph for each set that it ever fetched; every client gets what it asks for all the same."""
    module = Many()
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={SERVING_DEFAULT: module.multiples})
    servable = Servable(tmp_path / "1", 1, SessionSettings(max_calls=1))
    fetched: set[tuple[str, ...]] = set()
    run = servable._session._session.run

    def note(fetches: Any, *args: Any, **options: Any) -> Any:
        if isinstance(fetches, list) and isinstance(fetches[0], list):  # a step, and not what stops one
            fetched.add(tuple(fetches[0]))
        return run(fetches, *args, **options)

    servable._session._session.run = note  # pyright: ignore[reportAttributeAccessIssue]
    names = [f"times_{factor}" for factor in range(5)]
    wanted = [each for size in range(1, 6) for each in itertools.permutations(names, size)]
    for each in wanted:
        request = predict_pb2.PredictRequest(output_filter=each)
        request.inputs["x"].CopyFrom(tf.make_tensor_proto([2.0], tf.float32))
        outputs = servable.predict(request, Call()).outputs
        expected = {name: 2.0 * int(name[-1]) for name in each}
        assert {name: float(tf.make_ndarray(value)[0]) for name, value in outputs.items()} == expected
    servable.close()
    assert len(wanted) == 325
    assert len(fetched) == MAX_SETS
    assert min(map(len, fetched)) == 1  # what is not asked for is not computed, as long as that costs nothing


@pytest.mark.parametrize("content", [None, b"", b"not a SavedModel"], ids=["no file", "empty file", "other file"])
def test_what_is_no_saved_model(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "saved_model.pb").write_bytes(content)
    with pytest.raises(LoadError, match="cannot load"):
        Servable(tmp_path, 1, SessionSettings(max_calls=1))


def test_warm_up(tmp_path: Path, add_stand_in: Make, warmup_file: Make, request_of: Make) -> None:
    # The model's name in a record is not looked at, as in TensorFlow Serving.
    file = warmup_file(request_of(), request_of(name="another"))
    servable = Servable(add_stand_in(tmp_path, 1, warmup=file), 1, SessionSettings(max_calls=1))
    assert warm_up(servable) == 2
    servable.close()


def test_no_warm_up(servable: Servable) -> None:
    assert warm_up(servable) == 0


@pytest.mark.parametrize("case", ["assertion", "unknown signature", "not a record file", "cut short", "no log"])
def test_a_warm_up_that_fails(
    tmp_path: Path, add_stand_in: Make, warmup_file: Make, request_of: Make, case: str
) -> None:
    files: dict[str, tuple[bytes, str]] = {
        "assertion": (warmup_file(request_of(), request_of(steps=-1)), "request 1 failed: assertion failed"),
        "unknown signature": (warmup_file(request_of(signature="nosuch")), 'key "nosuch" not found'),
        "not a record file": (b"warm up, please. " * 10, "not a TFRecord file"),
        "cut short": (warmup_file(request_of())[:-7], "not a TFRecord file"),
        "no log": (_records(tmp_path, b"\xff\xff\xff"), "not a PredictionLog"),
    }
    file, text = files[case]
    servable = Servable(add_stand_in(tmp_path, 1, warmup=file), 1, SessionSettings(max_calls=1))
    with pytest.raises(LoadError, match=text):
        warm_up(servable)
    servable.close()


def _records(tmp_path: Path, *records: bytes) -> bytes:
    path = tmp_path / "records"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return path.read_bytes()
