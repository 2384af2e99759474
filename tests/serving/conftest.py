"""A model that is small and quick, with names of the wire contract: what serving needs to see of the real one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from styleserve.contract import DEFAULT_MODEL_NAME, PAINT, SERVING_DEFAULT
from styleserve.serving.call import Call
from styleserve.serving.errors import CancelledError

_IMAGE = [None, None, None, 3]
_STEPS = tf.constant([3], tf.int32)
"""A constant of TensorFlow, and not of Python: only so does it become a default of the signature."""


class StandIn(tf.Module):
    """Blurs `content_image` a little in each step, then multiplies by `gain`, which tells one version from another."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self._gain = tf.Variable(gain, dtype=tf.float32)

    @tf.function(
        input_signature=[
            tf.TensorSpec(_IMAGE, tf.float32, name="content_image"),
            tf.TensorSpec([None], tf.int32, name="steps"),
        ]
    )
    def stylize(self, content_image: Any, steps: Any = _STEPS) -> dict[str, Any]:
        image = tf.ensure_shape(content_image, _IMAGE)
        tf.debugging.Assert(tf.reduce_all(steps >= 0), ["steps must not be negative, but is", steps])
        most = tf.reduce_max(steps)

        def blur(index: Any, now: Any) -> Any:
            return index + 1, tf.nn.avg_pool2d(now, 3, 1, "SAME")

        _, image = tf.while_loop(lambda index, _: index < most, blur, [0, image])
        return {"stylized_image": image * self._gain}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="content_bytes")])
    def encoded(self, content_bytes: Any) -> dict[str, Any]:
        return {"image_bytes": tf.strings.join(["PNG ", content_bytes])}


SOON_S = 60.0
"""How long a test waits for what has to come; nothing waits so long for what must not."""


class Held:
    """The calls of a server's model, held where they run until they are let go, or stopped."""

    def __init__(self, server: Any) -> None:
        ((version,),) = (versions.values() for versions in server._manager._table._models.values())
        self._really = version.servable.predict
        self._changed = threading.Condition()
        self._open = False
        self.began = 0
        version.servable.predict = self._predict

    def _predict(self, request: predict_pb2.PredictRequest, call: Call) -> predict_pb2.PredictResponse:
        with self._changed:
            self.began += 1
            self._changed.notify_all()
        with call.on_cancel(self._wake), self._changed:
            assert self._changed.wait_for(lambda: self._open or call.cancelled, SOON_S)
        if call.cancelled:
            raise CancelledError("Cancelled")
        return self._really(request, call)

    def _wake(self) -> None:
        # A thread that cancels holds the call's lock: it must not wait for ours.
        threading.Thread(target=self._notify).start()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def wait_for(self, began: int) -> None:
        """Until so many calls have begun to run."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.began >= began, SOON_S), f"{self.began} began"

    def let_go(self) -> None:
        """Lets run who is held, and who comes."""
        with self._changed:
            self._open = True
            self._changed.notify_all()


@pytest.fixture
def held() -> type[Held]:
    """Holds the calls of a running server's model."""
    return Held


@pytest.fixture(scope="session")
def until() -> Callable[[Callable[[], bool]], None]:
    """Waits for a condition, and fails if it does not come."""

    def wait(condition: Callable[[], bool]) -> None:
        pause = threading.Event()
        for _ in range(int(SOON_S / 0.01)):
            if condition():
                return
            pause.wait(0.01)
        raise AssertionError("it did not come")

    return wait


@pytest.fixture(scope="session")
def add_stand_in() -> Callable[..., Path]:
    """Puts a version of the stand-in into a base path: complete at the moment it appears under its number."""

    def add(base_path: Path, version: int, *, gain: float = 1.0, warmup: bytes | None = None) -> Path:
        staging = base_path / f"staging-{version}"
        module = StandIn(gain)
        signatures = {SERVING_DEFAULT: module.stylize, PAINT: module.encoded}
        tf.saved_model.save(module, str(staging), signatures=signatures)
        if warmup is not None:
            (staging / "assets.extra").mkdir()
            (staging / "assets.extra" / "tf_serving_warmup_requests").write_bytes(warmup)
        return staging.rename(base_path / str(version))

    return add


@pytest.fixture(scope="session")
def stand_in_base(tmp_path_factory: pytest.TempPathFactory, add_stand_in: Callable[..., Path]) -> Path:
    """A base path with version 1. Shared: no test changes it."""
    return add_stand_in(tmp_path_factory.mktemp("stand-in"), 1).parent


@pytest.fixture
def request_of() -> Callable[..., predict_pb2.PredictRequest]:
    """Makes a request for the stand-in."""

    def make(*, steps: int = 1, signature: str = "", name: str = DEFAULT_MODEL_NAME) -> predict_pb2.PredictRequest:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = name
        request.model_spec.signature_name = signature
        request.inputs["content_image"].CopyFrom(tf.make_tensor_proto(0.5, tf.float32, [1, 8, 8, 3]))
        request.inputs["steps"].CopyFrom(tf.make_tensor_proto([steps], tf.int32))
        return request

    return make


@pytest.fixture
def warmup_file(tmp_path: Path) -> Callable[..., bytes]:
    """The bytes of a warm-up file with these requests."""

    def write(*requests: predict_pb2.PredictRequest) -> bytes:
        path = tmp_path / "warmup"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for request in requests:
                log = prediction_log_pb2.PredictionLog()
                log.predict_log.request.CopyFrom(request)
                writer.write(log.SerializeToString())
        return path.read_bytes()

    return write
