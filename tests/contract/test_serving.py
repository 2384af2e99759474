"""Replies to valid requests, alone and while others run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_service_pb2_grpc

from styleserve.contract import DEFAULT_MODEL_NAME, SERVING_DEFAULT, SIGNATURES, STYLIZE_LBFGS

if TYPE_CHECKING:
    from .conftest import Target

# Work has to stop within 200 ms. Another 300 ms are for the machine that the tests share with others, and for the way
# of measuring: the next call has to get in and be answered.
STOP_S = 0.5

OF_IMAGES = pytest.mark.parametrize("signature", [SERVING_DEFAULT, STYLIZE_LBFGS])


def _array(proto: Any) -> np.ndarray[Any, Any]:
    return tf.make_ndarray(proto)


@OF_IMAGES
def test_predict(server: Target, signature: str) -> None:
    response = server.predict(server.images(signature, steps=2))
    assert set(response.outputs) == {"stylized_image", "losses"}
    assert response.model_spec.name == DEFAULT_MODEL_NAME
    assert response.model_spec.signature_name == signature
    assert response.model_spec.version.value in server.available()
    image = _array(response.outputs["stylized_image"])
    assert image.shape == (1, 32, 32, 3)
    assert image.min() >= 0
    assert image.max() <= 1
    assert _array(response.outputs["losses"]).shape == (1, 2, 4)
    assert response.outputs["losses"].float_val
    assert not response.outputs["losses"].tensor_content


def test_an_empty_signature_name_is_the_default(server: Target) -> None:
    assert server.predict(server.images("", steps=0)).model_spec.signature_name == SERVING_DEFAULT


@OF_IMAGES
def test_output_filter(server: Target, signature: str) -> None:
    request = server.images(signature)
    request.output_filter.append("losses")
    assert list(server.predict(request).outputs) == ["losses"]


@OF_IMAGES
def test_defaults_are_the_signatures_own(server: Target, signature: str) -> None:
    defaults = server.signatures()[signature].defaults
    explicit = server.images(signature, steps=2)
    for name, proto in defaults.items():
        if name != "steps":
            explicit.inputs[name].CopyFrom(proto)
    left_out = server.predict(server.images(signature, steps=2)).outputs["losses"]
    assert _array(left_out).tolist() == _array(server.predict(explicit).outputs["losses"]).tolist()


def test_values_in_float_val_are_as_good_as_content(server: Target) -> None:
    request = server.images()
    proto = request.inputs["content_image"]
    values = np.frombuffer(proto.tensor_content, np.float32)
    want = server.predict(request).outputs["stylized_image"]
    proto.ClearField("tensor_content")
    proto.float_val.extend(values.tolist())
    assert server.predict(request).outputs["stylized_image"] == want


@OF_IMAGES
def test_examples_have_their_own_steps(server: Target, signature: str) -> None:
    """The first example of a batch ends after one step, the second after three."""
    random = np.random.default_rng(1)
    inputs = {
        "content_image": random.random((2, 16, 16, 3), np.float32),
        "style_image": random.random((1, 16, 16, 3), np.float32),
        "steps": np.array([1, 3], np.int32),
    }
    losses = _array(server.predict(server.request(signature, **inputs)).outputs["losses"])
    assert np.isfinite(losses[..., 0]).tolist() == [[True, False, False], [True, True, True]]


def test_metadata(server: Target) -> None:
    response = server.metadata("signature_def")
    assert response.model_spec.version.value in server.available()
    # A SavedModel has its initialiser as a signature, too.
    assert {name for name in server.signatures() if not name.startswith("__")} == set(SIGNATURES)


def test_health(server: Target) -> None:
    assert server.is_healthy()


def test_deadline(server: Target) -> None:
    started = time.monotonic()
    with pytest.raises(grpc.RpcError) as caught:
        server.start(timeout_s=0.5).result()
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - started < 0.5 + STOP_S


def _gets_in(single: Target) -> bool:
    call = single.prediction.Predict.future(single.images(steps=0), timeout=30.0)
    if call.exception() is None:
        return True
    assert call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert call.details() == "Server Threadpool Exhausted"
    return False


def _seconds_until_free(single: Target) -> float:
    started = time.monotonic()
    while not _gets_in(single):
        time.sleep(0.005)
    return time.monotonic() - started


@OF_IMAGES
def test_work_stops_at_the_deadline(single: Target, signature: str) -> None:
    assert single.start(signature, timeout_s=0.5).exception().code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert _seconds_until_free(single) < STOP_S


@OF_IMAGES
def test_work_stops_when_the_client_cancels(single: Target, signature: str) -> None:
    for _ in range(3):  # a stopped call leaves nothing behind for the next
        call = single.start(signature)
        time.sleep(0.3)
        assert not call.done()
        call.cancel()
        assert _seconds_until_free(single) < STOP_S


def test_work_stops_when_the_channel_closes(single: Target) -> None:
    another = grpc.insecure_channel(single.address)
    request = single.images(steps=5000)
    call = prediction_service_pb2_grpc.PredictionServiceStub(another).Predict.future(request)  # no deadline at all
    time.sleep(0.3)
    assert not call.done()
    another.close()
    assert _seconds_until_free(single) < STOP_S


def test_long_loops_delay_neither_status_nor_a_short_request(
    server: Target,
) -> None:
    calls = [server.start() for _ in range(3)]
    try:
        time.sleep(0.5)
        started = time.monotonic()
        assert server.states()
        assert server.metadata("signature_def").metadata
        assert server.is_healthy()
        # A few milliseconds, were the processors not all busy.
        assert time.monotonic() - started < 1.0
        server.predict(server.images(steps=0))
        assert time.monotonic() - started < 5.0
        assert not any(call.done() for call in calls)
    finally:
        for call in calls:
            call.cancel()


def test_too_many_calls_are_refused_at_once(single: Target) -> None:
    call = single.start()
    try:
        time.sleep(0.3)
        started = time.monotonic()
        with pytest.raises(grpc.RpcError, match="Server Threadpool Exhausted") as caught:
            single.predict(single.images())
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert time.monotonic() - started < 1.0
    finally:
        call.cancel()
        _seconds_until_free(single)
