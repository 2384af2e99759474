"""Work of requests, estimated from shapes, headers and controls, and steps behind answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from styleserve.contract import LOSS_COLUMNS, TUTORIAL_LOSS_COLUMNS
from styleserve.serving.requests.request_header import RequestHeader
from styleserve.serving.requests.work import SHORT_PIXEL_STEPS, pixel_steps, pixels_at_a_time, steps_done

DEFAULTS: dict[str, Any] = {
    "steps": np.array([100], np.int32),
    "max_side": np.array([512], np.int32),
    "style_scale": np.array([[1.0]], np.float32),
}
STATE = bytes(48 * 1000)
"""State of a run of Adam on 1000 pixels, or of more by L-BFGS."""


def image(*sizes: int) -> tensor_pb2.TensorProto:
    """A shape without values."""
    proto = tensor_pb2.TensorProto(dtype=1)
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    return proto


def ints(*values: int) -> tensor_pb2.TensorProto:
    return tf.make_tensor_proto(values, tf.int32)


def in_content(*values: int) -> tensor_pb2.TensorProto:
    proto = tensor_pb2.TensorProto(dtype=3, tensor_content=np.array(values, np.int32).tobytes())
    proto.tensor_shape.dim.add(size=len(values))
    return proto


def png(height: int, width: int) -> bytes:
    """Beginning of a PNG file, with its size."""
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big")


def files(*values: Any) -> tensor_pb2.TensorProto:
    return tf.make_tensor_proto(np.array(values, object), tf.string)


def work(inputs: dict[str, tensor_pb2.TensorProto], defaults: Any = None) -> float:
    return pixel_steps(RequestHeader(inputs, DEFAULTS if defaults is None else defaults))


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({"content_image": image(1, 64, 32, 3)}, 64 * 32 * 100),
        ({"content_image": image(1, 64, 32, 3), "style_image": image(1, 128, 64, 3), "steps": ints(2)}, 128 * 64 * 2),
        ({"content_image": image(4, 64, 32, 3), "steps": in_content(1, 7, 2, 3)}, 4 * 64 * 32 * 7),
        ({"content_image": image(1, 64, 32, 3), "steps": ints(0)}, 0),
        ({"steps": ints(9)}, 0),
        ({"content_image": image(1, 64, 32, 3), "steps": tensor_pb2.TensorProto(tensor_content=b"abc")}, 64 * 32),
    ],
)
def test_work_of_images(inputs: dict[str, Any], expected: float) -> None:
    assert work(inputs) == expected


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        # A file without a size, of another format, counts as a square.
        ({"content_bytes": files(b"GIF89a")}, 512**2 * 100),
        ({"content_bytes": files(png(100, 200)), "max_side": ints(64), "steps": ints(3)}, 32 * 64 * 3),
        # Each example has its own size and steps.
        (
            {"content_bytes": files(png(100, 200), png(9, 9)), "max_side": ints(64, 20), "steps": ints(3, 5)},
            32 * 64 * 3 + 20 * 20 * 5,
        ),
        # One content for two examples.
        (
            {"content_bytes": files(png(9, 9)), "max_side": ints(20), "steps": ints(3, 5)},
            20 * 20 * 8,
        ),
        # Each style counts as one step, at its own size.
        (
            {
                "content_bytes": files(png(50, 50)),
                "style_bytes": files([png(10, 20), png(40, 40)]),
                "style_scale": tf.make_tensor_proto([[2.0, 0.5]], tf.float32),
                "max_side": ints(50),
                "steps": ints(0),
            },
            50 * 100 + 100 * 100,
        ),
        ({"state": files(STATE), "steps": ints(10)}, 1000 * 10),
        ({"state": files(STATE, STATE + STATE), "steps": ints(10, 1)}, 1000 * 10 + 2000),
        ({"state": files(b""), "content_bytes": files(b""), "style_bytes": files([b""])}, 0),
    ],
)
def test_work_of_files(inputs: dict[str, Any], expected: float) -> None:
    assert work(inputs) == expected


def test_only_a_few_values_are_read() -> None:
    """A model without limits may be sent a control of any length, and files in any number."""
    steps = tf.make_tensor_proto([1], tf.int32)
    steps.tensor_shape.dim[0].size = 50_000_000
    contents = files(png(64, 64))
    contents.tensor_shape.dim[0].size = 50_000_000
    assert work({"content_image": image(1, 64, 32, 3), "steps": steps}) == 64 * 32 * 50_000_000
    assert work({"content_bytes": contents, "steps": ints(1)}) == 0


@pytest.mark.parametrize("columns", [len(LOSS_COLUMNS), len(TUTORIAL_LOSS_COLUMNS)])
def test_steps_done_by_the_losses(columns: int) -> None:
    losses = np.ones((2, 3, columns), np.float32)
    losses[0, 1:] = np.nan
    proto = tensor_pb2.TensorProto(dtype=1, float_val=losses.reshape(-1))
    for size in losses.shape:
        proto.tensor_shape.dim.add(size=size)
    header = RequestHeader({"content_bytes": files(b"x", b"y"), "steps": ints(1, 3)}, DEFAULTS)
    assert steps_done({"losses": proto}, header) == 4


def test_steps_done_by_the_request() -> None:
    assert steps_done({}, RequestHeader({"content_image": image(2, 64, 32, 3), "steps": ints(7)}, DEFAULTS)) == 14
    assert steps_done({}, RequestHeader({"content_image": image(1, 64, 32, 3)}, DEFAULTS)) == 100
    assert steps_done({}, RequestHeader({"image": image(1, 64, 32, 3)}, {})) == 0
    assert steps_done({}, RequestHeader({}, {})) == 0


def test_a_description_of_the_largest_picture_is_short_and_painting_it_is_not() -> None:
    largest = {"image": image(1, 1024, 1024, 3)}
    assert work(largest, {}) <= SHORT_PIXEL_STEPS
    assert work({"content_image": largest["image"]}) > SHORT_PIXEL_STEPS


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({"content_image": image(3, 64, 32, 3), "style_image": image(1, 16, 16, 3)}, 3 * 64 * 32),
        ({"content_bytes": files(png(300, 400)), "max_side": ints(200)}, 150 * 200),
        ({"content_bytes": files(png(300, 400), png(100, 100)), "max_side": ints(200)}, 200 * 200),  # one at a time
        ({"content_bytes": files(png(9, 9)), "style_bytes": files([png(50, 100)]), "max_side": ints(64)}, 64 * 64),
        ({"style_bytes": files([png(50, 100)]), "max_side": ints(64)}, 32 * 64),
        ({"state": files(STATE)}, len(STATE) / 36),
        ({}, 0),
    ],
)
def test_pixels_at_a_time(inputs: dict[str, tensor_pb2.TensorProto], expected: float) -> None:
    assert pixels_at_a_time(RequestHeader(inputs, DEFAULTS)) == expected
    larger = {**inputs, "style_scale": tf.make_tensor_proto([[2.0]])}
    styles = "style_bytes" in inputs
    assert (pixels_at_a_time(RequestHeader(larger, DEFAULTS)) > expected) == styles
