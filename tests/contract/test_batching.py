"""Answers of a TensorFlow Serving that joins requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
import tensorflow as tf

from styleserve.contract import DESCRIBE, LOSS_COLUMNS, SERVING_DEFAULT, STYLIZE_LBFGS

from .pictures import noise

if TYPE_CHECKING:
    from .conftest import Target


def _pair(target: Target, signature: str) -> list[Any]:
    """Two requests that may be joined, of different pictures, controls and numbers of steps."""
    random = np.random.default_rng(0)
    return [
        target.images(
            signature,
            content_image=random.random((1, 32, 32, 3), np.float32),
            style_image=random.random((1, 24, 24, 3), np.float32),
            steps=steps,
            style_weight=np.array([style_weight], np.float32),
        )
        for steps, style_weight in ((2, 1e6), (3, 1e4))
    ]


@pytest.mark.parametrize("signature", [SERVING_DEFAULT, STYLIZE_LBFGS])
def test_each_gets_what_it_gets_alone(joining: Target, single: Target, signature: str) -> None:
    requests = _pair(joining, signature)
    calls = [joining.prediction.Predict.future(request, timeout=60.0) for request in requests]
    for steps, request, call in zip((2, 3), requests, calls, strict=True):
        joined, alone = call.result().outputs, single.predict(request).outputs
        losses = tf.make_ndarray(joined["losses"])
        assert np.isnan(losses[:, steps:]).all()
        # A convolution over two examples adds in another order than over one: the last bits differ.
        np.testing.assert_allclose(losses[:, :steps], tf.make_ndarray(alone["losses"]), rtol=1e-4)
        images = [tf.make_ndarray(each["stylized_image"]) for each in (joined, alone)]
        np.testing.assert_allclose(*images, atol=1e-3)


def test_a_request_that_stays_alone_is_answered(joining: Target) -> None:
    """After it waited for more in vain."""
    requests = [
        joining.images(STYLIZE_LBFGS, steps=2),
        joining.paint(steps=2, style_bytes=[[noise(8, 8), noise(8, 8, seed=1)]]),
        joining.request(DESCRIBE, image=np.full((1, 16, 16, 3), 0.5, np.float32)),
    ]
    for request in requests:
        assert joining.predict(request).outputs
    state = joining.predict(requests[1]).outputs["state"].string_val[0]
    resumed = joining.predict(joining.resume(state, steps=3))
    assert tf.make_ndarray(resumed.outputs["losses"]).shape == (1, 3, len(LOSS_COLUMNS))


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (3, "Task size 3 is larger than maximum input batch size 2"),
        (2, "Batching Run() input tensors must have equal 0th-dimension size"),
    ],
)
def test_refusals(joining: Target, rows: int, text: str) -> None:
    image = np.full((rows, 32, 32, 3), 0.5, np.float32)
    controls = {
        name: np.full(rows, value, np.float32)
        for name, value in (("content_weight", 1), ("style_weight", 1), ("total_variation_weight", 1))
    }
    request = joining.images(STYLIZE_LBFGS, content_image=image, style_image=image, **(controls if rows == 3 else {}))
    if rows == 3:
        request.inputs["steps"].CopyFrom(tf.make_tensor_proto([1] * rows, tf.int32))
    with pytest.raises(grpc.RpcError) as caught:
        joining.predict(request)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert (caught.value.details() or "").startswith(text)
