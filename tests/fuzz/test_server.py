"""The embedded server under hostile requests: `make fuzz` in short, with the same cases at each run."""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import predict_pb2

from styleserve.serving.requests.picture_headers import picture_size

from .attack import Attack, export_target, run_attack
from .files import good_file, resized
from .good import good_request
from .replies import reply_fault
from .requests import METADATA, PREDICT, RELOAD, STATUS, Case

CASES = 300
"""About ten seconds on two processors, beside a start of the server and an export."""


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base_path = tmp_path_factory.mktemp("fuzz") / "model"
    export_target(base_path)
    return base_path


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_case_is_answered_as_it_should_be(target: Path, tmp_path: Path) -> None:
    outcome = run_attack(target, tmp_path, count=CASES, seed=0)
    assert sum(outcome.answers.values()) >= CASES
    seen = {method for method, _ in outcome.answers}
    assert seen == {method.rpartition("/")[2] for method in (PREDICT, METADATA, STATUS, RELOAD)}
    # Cases that are all refused at the door would prove little.
    assert outcome.answers["Predict", "OK"] > CASES / 20


@pytest.mark.parametrize(
    ("welcome", "code", "text", "fault"),
    [
        (True, grpc.StatusCode.OK, "", False),
        (True, grpc.StatusCode.INVALID_ARGUMENT, "bad", False),
        (True, grpc.StatusCode.INVALID_ARGUMENT, "", True),
        (True, grpc.StatusCode.INTERNAL, "The server failed unexpectedly", True),
        (True, grpc.StatusCode.UNKNOWN, "oops", True),
        (True, grpc.StatusCode.UNAVAILABLE, "Socket closed", True),
        (True, grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", True),
        (False, grpc.StatusCode.UNAUTHENTICATED, "no token", False),
        (False, grpc.StatusCode.OK, "", True),
        (False, grpc.StatusCode.INVALID_ARGUMENT, "bad", True),
    ],
)
def test_what_counts_as_a_fault(welcome: bool, code: grpc.StatusCode, text: str, fault: bool) -> None:
    assert (Case(PREDICT, b"", (), welcome).fault(code, text) is not None) is fault


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "webp lossless", "webp extended"])
def test_bombs_tell_the_size_they_were_given(kind: str) -> None:
    more = kind in ("webp lossless", "webp extended")  # they count from 1
    assert picture_size(resized(good_file(kind), 12_345, 9_876)) == (9_876 + more, 12_345 + more)


STEPS_OF_TWO = np.ones((2, 3, 4), np.float32)
"""The losses of three steps of two examples."""


def encoded(mode: str = "RGB", kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (24, 20)).save(file, kind)
    return file.getvalue()


def changed(values: np.ndarray, at: tuple[int, ...], value: float) -> np.ndarray:
    values = values.copy()
    values[at] = value
    return values


GOOD = np.full((1, 16, 20, 3), 0.5, np.float32)


@pytest.mark.parametrize(
    ("outputs", "fault"),
    [
        ({}, "no output"),
        ({"stylized_image": GOOD, "losses": STEPS_OF_TWO, "image_bytes": [encoded()]}, None),
        ({"stylized_image": changed(GOOD, (0, 3, 4, 1), np.nan)}, "stylized_image is not finite"),
        ({"stylized_image": changed(GOOD, (0, 3, 4, 1), 1.01)}, "stylized_image is not in [0, 1]"),
        ({"stylized_image": changed(GOOD, (0, 3, 4, 1), -0.01)}, "stylized_image is not in [0, 1]"),
        ({"stylized_image": GOOD[:0]}, "stylized_image has no example"),
        ({"gram_block1_conv1": changed(GOOD, (0, 0, 0, 0), np.inf)}, "gram_block1_conv1 is not finite"),
        ({"losses": changed(STEPS_OF_TWO, (0, 2), np.nan)}, None),
        ({"losses": STEPS_OF_TWO[:, :0]}, None),
        ({"losses": changed(STEPS_OF_TWO, (0, 2, 1), np.inf)}, "losses are not finite"),
        ({"losses": changed(STEPS_OF_TWO, (0, 1), np.nan)}, "losses are NaN before"),
        ({"losses": STEPS_OF_TWO * np.nan}, "losses are NaN before"),
        ({"image_bytes": [encoded(), encoded()[:-20]]}, "image_bytes does not decode"),
        ({"image_bytes": [encoded(kind="JPEG")]}, None),
        ({"image_bytes": [encoded(kind="GIF")]}, "image_bytes does not decode"),
        ({"image_bytes": [b""]}, "image_bytes does not decode"),
        ({"image_bytes": [encoded("L")]}, "image_bytes is of mode L"),
    ],
)
def test_an_answer_that_says_ok_is_looked_at(outputs: dict[str, Any], fault: str | None) -> None:
    reply = predict_pb2.PredictResponse()
    for name, values in outputs.items():
        reply.outputs[name].CopyFrom(tf.make_tensor_proto(values))
    found = reply_fault(reply.SerializeToString())
    assert found is None if fault is None else fault in (found or "")


def test_a_forged_answer_is_seen() -> None:
    """By the attack itself, of a server that answers a request of NaN with a picture of NaN."""

    def forge(message: bytes, _: grpc.ServicerContext) -> bytes:
        request, reply = predict_pb2.PredictRequest.FromString(message), predict_pb2.PredictResponse()
        reply.outputs["stylized_image"].CopyFrom(request.inputs["content_image"])
        return reply.SerializeToString()

    service, method = PREDICT.strip("/").split("/")
    handler = grpc.method_handlers_generic_handler(service, {method: grpc.unary_unary_rpc_method_handler(forge)})
    good, bad = good_request(), good_request()
    bad.inputs["content_image"].CopyFrom(tf.make_tensor_proto(GOOD * np.nan))
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool, [handler])
        attack = Attack(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}", os.getpid(), Path())
        server.start()
        try:
            attack.send([Case(PREDICT, good.SerializeToString(), (), welcome=True)])
            with pytest.raises(AssertionError, match="stylized_image is not finite"):
                attack.send([Case(PREDICT, bad.SerializeToString(), (), welcome=True)])
        finally:
            attack.close()
            server.stop(None).wait()
