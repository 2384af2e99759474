"""Refusals of the server against those of TensorFlow itself."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from styleserve.serving.requests.refusals import refusal


@pytest.mark.parametrize(
    "came",
    [
        np.array([5000, -1], np.int32),
        np.arange(9, dtype=np.int32),
        np.array([0.1, 1 / 3, 123456789.0, np.nan, -0.0, 3e38], np.float32),
        np.array([0.011, 1e300, 1 / 3]),
        np.ones((1, 2), np.int32),
        np.full((2, 5), 0.1, np.float32),
        np.ones((9, 1), np.int32),
        np.ones((2, 4), np.int32),
        np.ones((1, 9), np.int32),
        np.array([b"sepia", b'it\'s "new"\\\n\r\t\x01\x7f', "\N{GRINNING FACE}".encode()], object),
        np.array([[b"a", b"b"], [b"", b"c"]], object),
    ],
    ids=str,
)
def test_the_text_is_that_of_an_assertion(came: np.ndarray) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        tf.raw_ops.Assert(condition=tf.constant(False), data=["steps must be few; got", came], summarize=8)
    own = str(refusal("steps", "must be few; got", came))
    assert own.startswith("assertion failed: [steps must be few; got] [")
    assert own in caught.value.message


def test_long_strings_are_cut() -> None:
    error = refusal("colors", "must be one of a, b; got", np.array([b"x" * 10**6], object))
    assert len(str(error)) < 2000
    assert len(error.message) == 1024
